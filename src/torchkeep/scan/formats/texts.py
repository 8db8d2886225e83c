"""Files that are nothing that scanning knows: text, data of other kinds, or nothing at all.

By here it is known that an unpickler would get nowhere with it (:mod:`torchkeep.scan.pickle.bare`).
What is left to tell is whether a loader would be pointed at it: by its name.
"""

from __future__ import annotations

import re
from typing import Final

from torchkeep.core.source import Readable
from torchkeep.scan.job import Job
from torchkeep.scan.pickle.bare import Bare, known_dangers
from torchkeep.scan.verdict import Verdict

MODEL_SUFFIXES: Final = frozenset(
    {".pt", ".pth", ".pt2", ".ptl", ".ptc", ".bin", ".ckpt", ".pkl", ".pickle", ".p", ".joblib"}
    | {".jit", ".mar", ".model", ".dill", ".dat", ".data", ".npy", ".npz", ".tar", ".th", ".pk"}
    | {".safetensors", ".onnx", ".gguf", ".ggml", ".h5", ".hdf5", ".keras", ".weights", ".sav"}
    | {".distcp", ".metadata", ".params", ".nemo", ".pb", ".tflite"}
    | {".pte", ".engine", ".plan", ".trt", ".mlmodel", ".caffemodel", ".pdmodel", ".pdparams"}
    | {".pdiparams", ".msgpack", ".ot"}
)
"""Names under which loaders look for models."""

_TEMPLATES: Final = (".jinja", ".jinja2", ".j2")
_YAML: Final = (".yaml", ".yml")
_LONGEST: Final = 8 << 20  # bytes of a text that is read
_MOST: Final = 1 << 16  # bytes that are looked at to tell text from data
_SEARCHED: Final = 64 << 20  # bytes of data of no known kind that are searched for pickles
_MOST_TRIED: Final = 10_000
_HEADER: Final = re.compile(rb"\x80[\x02-\x05]")
_CONTROLS: Final = bytes(set(range(32)) - set(b"\t\n\r\f\x1b"))
_POINTER: Final = b"version https://git-lfs.github.com/spec/"

# Data that no loader of models opens, by its first bytes.
_OTHER: Final = (
    b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*", b"%PDF-",
    b"PAR1", b"ARROW1", b"OggS", b"fLaC", b"ID3", b"\0\0\0\x18ftyp", b"\0\0\0\x20ftyp", b"wOFF",
    b"wOF2", b"\0\x01\0\0\0", b"SQLite format 3\0", b"\0\0\x01\0",
)  # fmt: skip


def look(job: Job, source: Readable, member: str, depth: int) -> None:
    """Say what a file is that is of no kind that scanning knows."""
    from torchkeep.scan.formats import configs, targets

    named = is_named_like_model(member or job.report.path)
    head = source.read(0, min(_MOST, source.size))
    if head.startswith(_POINTER):
        job.issue(60, Verdict.NOT_SCANNED, "lfs-pointer", member=member)
    elif is_text(head, source.size):
        if suffix(member or job.report.path) in _TEMPLATES and source.size <= _LONGEST:
            text = source.read(0, source.size).decode("utf-8", "replace")
            configs.template(job, text, member)
        elif suffix(member or job.report.path) in _YAML and source.size <= _LONGEST:
            targets.check_text(job, source.read(0, source.size).decode("utf-8", "replace"), member)
        if member:
            return  # notes and code within an archive: its own reader knows what they mean
        if named:
            text = "text-as-model" if head else "empty-model"
            job.issue(62, Verdict.MALFORMED, text)
        job.report.is_model = named
    elif _hidden(job, source, member):
        return
    elif member or named or not head.startswith(_OTHER):
        job.issue(61, Verdict.NOT_SCANNED, "unknown-kind", member=member, kind="unknown")
    else:
        job.report.is_model = False


def _hidden(job: Job, source: Readable, member: str) -> bool:
    """Note a pickle in the midst of data of no known kind, if it looks up what can run code.

    Only a loader of that kind would find it; what it would then run is known here already.
    """
    from torchkeep.scan.formats import pickles

    tried = 0
    for base in range(0, min(source.size, _SEARCHED), _MOST):
        data = source.read(base, min(_MOST + 1, source.size - base))
        for match in _HEADER.finditer(data):
            tried += 1
            machine = Bare(source, base + match.start(), job.policy)
            outcome = machine.run()
            if machine.calls and known_dangers(outcome):
                pickles.note_hits(job, outcome, member)
                return True
            if tried > _MOST_TRIED:
                return False
    return False


def is_named_like_model(path: str) -> bool:
    """Whether loaders of models look for files with such a name."""
    path = path.replace("\\", "/")
    return suffix(path) in MODEL_SUFFIXES or path.rpartition("/")[2] in MODEL_SUFFIXES


def suffix(path: str) -> str:
    """The suffix of a name, in lower case: as pathlib finds it, and many times as fast."""
    stem, _, last = path.rstrip("/").rpartition("/")[2].rpartition(".")
    return f".{last.lower()}" if stem and last else ""


def is_text(head: bytes, size: int) -> bool:
    """Whether a file is text, by its first bytes."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16, as Windows writes it
        return _is_wide(head[: len(head) & ~1])
    if b"\0" in head or _controls(head) * 50 > len(head):
        return False
    # A letter may be cut in two at the end of what is looked at; and not all text is UTF-8.
    return _decodes(head[: len(head) - (3 if size > len(head) else 0)]) or _is_latin(head)


def _decodes(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(data) - 4
    return True


def _is_wide(head: bytes) -> bool:
    """Nearly any bytes can be read as UTF-16; only text has no controls in that reading."""
    text = head.decode("utf-16", "replace")
    is_cut = text.endswith("\N{REPLACEMENT CHARACTER}")
    return text.count("\N{REPLACEMENT CHARACTER}") <= is_cut and not _controls(
        text.encode("latin-1", "ignore")
    )


def _is_latin(head: bytes) -> bool:
    high = sum(byte > 126 for byte in head)
    return _controls(head) == 0 and high * 3 < len(head)


def _controls(head: bytes) -> int:
    """Bytes that no text needs; messages of protocol buffers are full of them."""
    return len(head) - len(head.translate(None, _CONTROLS))
