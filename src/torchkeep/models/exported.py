"""Exported programs (``.pt2``): torch reads them with pickle, eval and exec, so they are checked.

:func:`torch.export.load` of torch 2.13 falls back to unpickling without limits wherever the safe
way fails, loads native libraries where an archive brings some, and evaluates strings of the program
(:mod:`torchkeep.models.program`). So the same bytes are looked at first, through torch's own
reader, and only what is known to be harmless passes:

- records of known names only: no native code, no objects that C++ or Python unpickles, none of the
  older layouts, and no name that only another zip reader would see;
- the sample inputs load under ``weights_only=True``, so that torch never takes the other way;
- no weight or constant asks to be unpickled.
"""

from __future__ import annotations

import inspect
import io
import json
import logging
import re
import types
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from torchkeep.core.errors import Foreign, Refused, UsageError
from torchkeep.core.text import visible
from torchkeep.models import program

_PROGRAM: Final = "models/model.json"
_INPUTS: Final = "data/sample_inputs/model.pt"
_WEIGHTS: Final = "data/weights/model_weights_config.json"
_CONSTANTS: Final = "data/constants/model_constants_config.json"
_RECORDS: Final = re.compile(
    r"models/model\.json|data/sample_inputs/model\.pt"
    r"|data/weights/(?:weight_\d+|model_weights_config\.json)"
    r"|data/constants/(?:tensor_\d+|model_constants_config\.json)"
    r"|archive_format|archive_version|version|byteorder|\.data/(?:version|serialization_id)|extra/.*"
)
_PAYLOAD: Final = re.compile(r"(?:weight|tensor)_\d+")
_NEXT: Final = "ask for safetensors weights and the code that builds the module"


def load(data: bytes, name: str) -> tuple[nn.Module, Mapping[str, Tensor]]:
    """The module of an exported program and its weights.

    It is what was exported: its mode, its device and the shapes that it takes are in the file.

    Args:
        data: The file.
        name: What to call it in a message.

    Raises:
        Refused: Loading it could run code.
        Foreign: torch cannot load it.
        UsageError: It was exported in training mode, or this torch is too old to load it safely.
    """
    if "check_guards" not in inspect.signature(ExportedProgram.module).parameters:
        raise UsageError(
            f"torch {torch.__version__} cannot load an exported program without running strings"
            f" of {name}",
            next="update torch, or name safetensors weights and a `build`",
        )
    try:
        check(data, name)
        with _unlogged():
            found = torch.export.load(io.BytesIO(data))
        module = found.module(check_guards=False)  # guards are Python text of the file
    except (Refused, UsageError):
        raise
    except Exception as error:  # torch raises anything over a file of another form
        raise Foreign(
            f"{name} is no exported program that torch {torch.__version__} can load:"
            f" {visible(str(error).strip().partition(chr(10))[0])}",
            next="export it again with this torch",
        ) from error
    return _in_eval_mode(module), found.state_dict


def check(data: bytes, name: str) -> None:
    """Refuse an archive that :func:`torch.export.load` could not load without running code.

    Raises:
        Refused: It holds a record, a reference or a string that could run.
        UsageError: It was exported in training mode.
    """
    reader = torch._C.PyTorchFileReader(io.BytesIO(data))
    records = reader.get_all_records()
    for record in records:
        if not _RECORDS.fullmatch(record):
            raise _refused(name, f"it holds {visible(record)}")
    _check_names(data, records, name)
    if inputs := reader.get_record(_INPUTS):
        _check_pickle(inputs, name)
    for config in (_WEIGHTS, _CONSTANTS):
        for key, entry in json.loads(reader.get_record(config))["config"].items():
            if entry["use_pickle"] is not False or not _PAYLOAD.fullmatch(entry["path_name"]):
                raise _refused(name, f"{visible(key)} is to be unpickled")
    program.check(json.loads(reader.get_record(_PROGRAM)), name)


def _check_names(data: bytes, records: list[str], name: str) -> None:
    """Where torch's reader fails it opens the file with zipfile, which must see the same names."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
    root = names[0].partition("/")[0]
    if sorted(names) != sorted({f"{root}/{record}" for record in records}):
        raise _refused(name, "its directory can be read in two ways")


def _check_pickle(data: bytes, name: str) -> None:
    try:
        torch.load(io.BytesIO(data), weights_only=True)
    except Exception as error:  # whatever stops it, torch would go on without limits
        raise _refused(name, "its sample inputs hold more than tensors") from error


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keep torch from logging the traceback of an error that it then raises."""
    log = logging.getLogger("torch.export")
    log.addFilter(_nothing)
    try:
        yield
    finally:
        log.removeFilter(_nothing)


def _nothing(_record: logging.LogRecord) -> bool:
    return False


def _refused(name: str, why: str) -> Refused:
    return Refused(f"loading {name} could run code: {why}", next=_NEXT)


def _in_eval_mode(module: nn.Module) -> nn.Module:
    """Make ``eval`` the nothing that it is here; an exported module raises in its place."""
    for part in module.modules():
        part.training = False
    module.eval = types.MethodType(_itself, module)  # type: ignore[method-assign]
    return module


def _itself(module: Any) -> Any:
    return module
