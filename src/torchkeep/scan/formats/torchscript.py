"""TorchScript in an archive: code as text, and the classes that its pickles may name.

The code runs in torch's own interpreter, which knows torch's operators only. Few of those reach
out of the process; where the text names one, a person should look. Nothing is run here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from torchkeep.core.source import Readable
from torchkeep.scan import zip as archives
from torchkeep.scan.job import Job
from torchkeep.scan.pickle.policy import Grant, Policy, Use
from torchkeep.scan.verdict import Verdict
from torchkeep.scan.zip import Member

Complain = Callable[[str], None]

_CLASS: Final = re.compile(r"^class ([A-Za-z_]\w*)\(", re.MULTILINE | re.ASCII)
_COMMENT: Final = re.compile(r"#[^\n]*")
_LONGEST: Final = 1 << 24  # bytes of one file of code that is read

# aten::save and aten::from_file write and read any file; the others speak to the network.
_OUTWARD: Final = re.compile(
    r"""\.\s*(save|from_file|rpc_sync|rpc_async|rpc_remote|read_file|write_file)\b"""
    r"""|["'](save|from_file|rpc_sync|rpc_async|rpc_remote|read_file|write_file)["']"""
)
_OPERATOR: Final = re.compile(r"\bops\s*\.\s*([A-Za-z_]\w*)", re.ASCII)
_NATIVE: Final = re.compile(r"\b__torch__\s*\.\s*torch\s*\.\s*classes\s*\.\s*(\w+)", re.ASCII)
_ENCODED: Final = re.compile(rb"aten::(save|from_file)|(rpc_\w+|image::\w*file)")

# Operators of torch, torchvision and torchaudio; others come with a library of somebody else.
_LIBRARIES: Final = frozenset(
    """
    aten prim prims quantized _quantized sparse mkldnn mkldnn_prepacked prepacked xnnpack metal
    torchvision torchaudio quantized_decomposed vulkan_prepack metal_prepack rnn onednn nnapi
    torch_sparse torch_scatter torch_cluster
    """.split()
)
_CLASSES: Final = {
    "quantized": "LinearPackedParamsBase Conv2dPackedParamsBase Conv3dPackedParamsBase "
    "EmbeddingPackedParamsBase",
    "rnn": "CellParamsBase",
    "sparse": "LinearPackedParamsBase",
    "xnnpack": "LinearOpContext Conv2dOpContext TransposeConv2dOpContext",
    "mkldnn": "ConvOpContext",
}
_LISTS: Final = (
    "build_intlist build_tensorlist build_doublelist build_boollist build_tensor_from_id "
    "restore_type_tag"
)


def look(
    job: Job,
    source: Readable,
    records: dict[str, list[Member]],
    name: Callable[[str], str],
) -> Policy:
    """Read the code of an archive.

    Args:
        job: Where issues are noted.
        source: The archive.
        records: Its members by their names in lower case, without the folder around them.
        name: What to call a record in an issue.

    Returns:
        What the pickles of the archive may look up.
    """
    grants: dict[tuple[str, str], Grant] = {}
    for record, found in records.items():
        if not (record.startswith("code/") and record.endswith(".py")):
            continue
        for reading in found:
            text = _text(job, source, reading, name(record))
            check_code(job, text, name(record))
            path = reading.name[len(reading.name) - len(record) :].removesuffix(".py")
            path = path[len("code/") :]
            for cls in _CLASS.findall(text):
                grants[path.replace("/", "."), cls] = Grant(Use.CLASS, state=True)
    if "constants.pkl" not in records or not grants:  # to torch.load it is no TorchScript
        return job.policy
    return {**job.policy, **_own(grants)}


def _own(grants: dict[tuple[str, str], Grant]) -> Policy:
    """Classes of the archive itself; its names shadow no module of Python."""
    own = {key: grant for key, grant in grants.items() if key[0].split(".")[0] == "__torch__"}
    for library, classes in _CLASSES.items():
        for cls in classes.split():
            own[f"__torch__.torch.classes.{library}", cls] = Grant(Use.CLASS, state=True)
    for function in _LISTS.split():
        own["torch.jit._pickle", function] = Grant(Use.CALL, check=_is_data)
    return own


def _is_data(args: tuple[object, ...]) -> bool:
    return len(args) in (1, 2)


def _text(job: Job, source: Readable, found: Member, name: str) -> str:
    from torchkeep.scan.formats import zips

    if found.encrypted:
        job.issue(31, Verdict.NOT_SCANNED, "zip-encrypted", member=name)
        return ""
    if found.size > _LONGEST:
        job.issue(33, Verdict.NOT_SCANNED, "over-budget", member=name)
        return ""
    if not zips.may_open(job, found, name):
        return ""

    def complain(text: str) -> None:
        job.issue(30, Verdict.MALFORMED, text, member=name, about="")

    with archives.opened(source, found, complain) as content:
        return content.read(0, content.size).decode("utf-8", "replace")


def check_code(job: Job, text: str, name: str) -> None:
    """Note what in a file of code reaches out of the process, or is not torch's own."""
    for form in (text, _COMMENT.sub("", text)):
        if match := _OUTWARD.search(form):
            _note(job, name, match[1] or match[2])
            return
        for match in _OPERATOR.finditer(form):
            if match[1] not in _LIBRARIES:
                _note(job, name, f"ops.{match[1]}")
                return
        for match in _NATIVE.finditer(form):
            if match[1] not in _CLASSES:
                _note(job, name, f"torch.classes.{match[1]}")
                return


def check_operators(job: Job, content: Readable, name: str) -> None:
    """Note operators in code for phones, which names them as texts in a pickle."""
    step, size = 1 << 20, content.size
    for start in range(0, size, step):
        data = content.read(start, min(step + 64, size - start))
        if match := _ENCODED.search(data):
            _note(job, name, match[0].decode("ascii", "replace"))
            return


def _note(job: Job, name: str, operator: str) -> None:
    job.issue(44, Verdict.NEEDS_REVIEW, "script-operator", member=name, operator=operator[:60])
