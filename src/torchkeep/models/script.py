r"""TorchScript archives: programs in a language of their own, searched before torch runs them.

TorchScript cannot call Python, but :func:`torch.jit.load` runs the ``__setstate__`` of every class
in the archive, and writing a file (``torch.save``) and mapping one (``torch.from_file``) are
operators of the language: with torch 2.13 an archive can overwrite any file while it is loaded.
Remote calls are operators too, and classes that C++ registers reach further. So the text of every
code record is searched for the words that lead there. Words, not syntax: an alias, a comment or a
line break that hides a call from a parser hides no word. An archive with a method or an attribute
of such a name is refused with them.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from torchkeep.core.errors import Foreign, Refused
from torchkeep.core.text import visible

_CODE: Final = (
    re.compile(r"\b(?:save|from_file|rpc_\w+)\b"),
    # Operators and C++ classes of other namespaces do more than compute.
    re.compile(r"\bops\b(?!\.(?:aten|prim|quantized|torchvision)\.)"),
    re.compile(r"\bclasses\b(?!\.quantized\b)"),
    # A name in an escaped or pieced-together string would be none of these words.
    re.compile(r"\bgetattr\b(?!\(\w+(?:\.\w+)*, \"\w*\"\))"),
)
_PICKLES: Final = (re.compile(r"\bclasses\b(?!\.quantized\b)"),)
_OLD: Final = (re.compile(r"^"),)  # the form of before 2020, which torch still reads

_DEPRECATED: Final = r"`torch\.jit\.\w+` is deprecated"


def load(data: bytes, name: str) -> tuple[nn.Module, Mapping[str, Tensor]]:
    """The module in a TorchScript archive, in eval mode on the CPU, and its weights.

    Args:
        data: The file.
        name: What to call it in a message.

    Raises:
        Refused: It uses something that reaches beyond computing.
        Foreign: torch cannot load it.
    """
    try:
        check(torch._C.PyTorchFileReader(io.BytesIO(data)), name)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", _DEPRECATED, DeprecationWarning)
            module = torch.jit.load(io.BytesIO(data), map_location="cpu")  # type: ignore[no-untyped-call]
    except Refused:
        raise
    except Exception as error:  # torch raises anything over a file of another form
        raise Foreign(
            f"{name} is no TorchScript archive that torch {torch.__version__} can load:"
            f" {visible(str(error).strip().partition(chr(10))[0])}",
            next="fetch it again: it may be cut short or damaged",
        ) from error
    return module.eval(), module.state_dict()


def check(reader: torch._C.PyTorchFileReader, name: str) -> None:
    """Refuse an archive that could do more than compute.

    Args:
        reader: The archive, through torch's own reader: another one might see other records.
        name: What to call it in a message.

    Raises:
        Refused: It holds one of the words above, or code in another form.
    """
    for record in reader.get_all_records():
        words = _words(record.lower())  # torch finds a record whatever its case
        text = reader.get_record(record).decode("latin-1") if words else ""
        for word in words:
            if found := word.search(text):
                raise Refused(
                    f"{name} could do more than compute: {visible(found[0]) or 'old code'}"
                    f" in {visible(record)}",
                    next="ask for safetensors weights and the code that builds the module",
                )


def _words(record: str) -> tuple[re.Pattern[str], ...]:
    if record == "model.json":
        return _OLD
    if record.startswith("code/") and record.endswith(".py"):
        return _CODE
    return _PICKLES if record.endswith(".pkl") else ()
