"""HDF5 as Keras saves models: the layers stand in a JSON text among the attributes.

There is no reader of HDF5 in the standard library, and none is needed to see code: attributes lie
in the file as they are, and JSON starts and ends visibly. A file that holds such a text is judged
by it. One without is weights, whatever its groups are: nothing in it is ever called.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from torchkeep.core.source import Readable
from torchkeep.scan.formats import configs
from torchkeep.scan.job import Job
from torchkeep.scan.verdict import Verdict

_WINDOW: Final = 1 << 22
_OVERLAP: Final = 1 << 12
_LONGEST: Final = 32 << 20  # bytes of one text
_MOST: Final = 1000
_NEAR: Final = 64  # characters before the end at which the JSON reader stumbles over a cut
_NAMES: Final = (b"model_config", b"layer_config")
_START: Final = re.compile(rb'\{\s*"[^"\x00-\x1f]{1,200}"\s*:')
_CODE: Final = re.compile(rb'"(Lambda|__lambda__|TorchModuleWrapper)"')


def look(job: Job, source: Readable, member: str, depth: int) -> None:
    """Search the file for layers that bring code with them."""
    named = found = tried = past = 0
    code: tuple[int, str] | None = None
    for base, data in _windows(source):
        named += sum(data.count(name) for name in _NAMES)
        if code is None and (match := _CODE.search(data)):
            code = base + match.start(), match[1].decode()
        for match in _START.finditer(data):
            if base + match.start() >= past and tried < _MOST:
                tried += 1
                value, length = _json(source, base + match.start())
                past = base + match.start() + length
                if isinstance(value, configs.Pairs):
                    found += configs.is_keras(value)
                    configs.check(job, value, member)
    if any(issue.rule == "TK-SCAN-055" for issue in job.report.issues):
        return
    if code is not None:  # in a text that is stored in a way that is not followed here
        at, name = code
        job.issue(55, Verdict.DANGEROUS, "keras-code", member=member, offset=at, name=name)
    elif (named and not found) or tried == _MOST:
        job.issue(54, Verdict.NOT_SCANNED, "hdf5-config", member=member)


def _windows(source: Readable) -> Iterator[tuple[int, bytes]]:
    for at in range(0, source.size, _WINDOW):
        yield at, source.read(at, min(_WINDOW + _OVERLAP, source.size - at))


def _json(source: Readable, start: int) -> tuple[Any, int]:
    """The JSON value that starts at a byte, and its length; None where it does not end well."""
    decoder = json.JSONDecoder(object_pairs_hook=configs.Pairs)
    most = min(source.size - start, _LONGEST)
    length = 1 << 12
    while True:
        length = min(length * 8, most)
        text = source.read(start, length).decode("utf-8", "replace")
        try:
            value, end = decoder.raw_decode(text)
        except RecursionError:
            return None, 1
        except json.JSONDecodeError as error:
            # Only a text that is cut by the end of what was read is worth reading further.
            is_cut = error.msg.startswith("Unterminated") or len(text) - error.pos < _NEAR
            if length == most or not is_cut:
                return None, 1
        else:
            return value, end
