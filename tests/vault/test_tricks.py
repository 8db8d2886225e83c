"""JSON, tables and key blocks that two readers could take differently, from who holds the key."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from doubles.forge import Forge, canonical, following, held
from doubles.sealed import BUT_PUBLIC, EVERYWHERE, NOWHERE, both, identity, verdicts

from torchkeep.core.errors import TorchkeepError
from torchkeep.vault import opening
from torchkeep.vault.unsealing import unseal

HUGE = 2**53 - 1
TRICKS = {
    "twice": lambda body: body[:-1] + b"," + body[1:],
    "space": lambda body: body.replace(b":", b": ", 1),
    "line feed": lambda body: body + b"\n",
    "mark": lambda body: b"\xef\xbb\xbf" + body,
    "wide": lambda body: body.decode().encode("utf-16"),
    "unknown key": lambda body: b'{"aaa":1,' + body[1:],
    "order": lambda body: canonical_but_turned(json.loads(body)),
    "array": lambda body: b"[" + body + b"]",
    "null": lambda body: b"null",
    "nothing": lambda body: b"",
    "escaped": lambda body: body.replace(b'"p', b'"\\u0070', 1),
    "deep": lambda body: b"[" * 30_000,
    "deep and closed": lambda body: b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
}


def canonical_but_turned(value: dict) -> bytes:
    return json.dumps(dict(reversed(value.items())), separators=(",", ":")).encode()


def test_json_of_another_spelling_is_refused(tmp_path):
    forge, keys = held("file")
    body = forge.build()
    at = body.index(b'{"data":')
    manifest = body[at : at + int.from_bytes(body[at - 4 : at], "little")]
    for name, trick in TRICKS.items():
        made = replace(forge, spelled=trick(manifest) or b"-").build()
        assert verdicts(tmp_path, made, keys) == NOWHERE, name
        made = replace(forge, index=trick(forge.index)).build()
        assert verdicts(tmp_path, made, keys) == BUT_PUBLIC, name
        start = replace(forge, header=trick(forge.header)).start
        assert verdicts(tmp_path, start + body[len(forge.start) :], keys) == NOWHERE, name


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_a_header_of_any_depth_is_refused(tmp_path, opening):
    """Parsing and encoding reach the end of the stack at different depths."""
    forge, keys = held("file")
    rest = forge.build()[len(forge.start) :]
    closing = {"[": "]", '{"a":': "1}"}[opening][-1]
    for depth in range(850, 1010):
        body = opening * depth + "1" + closing * depth
        start = replace(forge, header=body.encode()).start
        assert both(tmp_path / "x.tks", start + rest, keys, "public") is None


NUMBERS = ["1.0", "1e0", "-0", "-1", "true", '"1"', "null", "[]", str(2**53), str(2**64),
           "9" * 5000, "NaN", "Infinity", "01", "0x1", "1e400"]  # fmt: skip


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("key", ["data", "index", "sealed", "segments"])
def test_other_numbers_in_the_manifest_are_refused(tmp_path, key, number):
    forge, keys = held("file")
    body = canonical(manifest_of(forge) | {key: "HERE"}).replace(b'"HERE"', number.encode())
    assert verdicts(tmp_path, replace(forge, spelled=body).build(), keys) == NOWHERE


def manifest_of(forge: Forge) -> dict:
    data = forge.build()
    at = data.index(b'{"data":')
    return json.loads(data[at : at + int.from_bytes(data[at - 4 : at], "little")])


@pytest.mark.parametrize(
    "policy", [None, [], {"x": 1}, {"not_before": -1}, {"not_before": 1.0}, {"versions": [1]},
               {"versions": [7, 3]}, {"versions": [1, 2, 3]}, {"versions": [0, 9]},
               {"not_after": 2**53}, {"recipients": ["ab"]}, {"recipients": ["0" * 64] * 2},
               {"recipients": ["1" * 64, "0" * 64]}, {"recipients": ["A" * 64]},
               {"recipients": "0" * 64}, {"not_before": HUGE}, {"not_after": 0}]
)  # fmt: skip
def test_other_policies_are_refused(tmp_path, policy):
    forge, keys = held("file")
    data = replace(forge, manifest=(("policy", policy),)).build()
    assert verdicts(tmp_path, data, keys) == NOWHERE


# The index.


def part(forge: Forge, said: dict, tables: bytes | None = None, **index) -> Forge:
    """With its first part changed; the key of a file is that of its path."""
    facts = json.loads(forge.index)
    first = facts["parts"][0] | said
    facts = facts | {"parts": [first]} | index
    items = forge.items
    if first["kind"] == "file":
        items = ((["file", first["path"]], forge.items[0][1]),)
    tables = forge.tables if tables is None else tables
    return replace(forge, index=canonical(facts), items=items, tables=tables)


@pytest.mark.parametrize(
    "path", ["..", "a/..", "a/../b", "../x", "/x", "//x", "a//b", "a/", "", ".", "./a", "C:x",
             "C:\\x", "a\\..\\b", "a\0b", "x" * 4097, "a/.", 1, None, ["a"]]
)  # fmt: skip
def test_paths_that_lead_elsewhere_are_refused(tmp_path, path):
    forge, keys = held("file")
    assert verdicts(tmp_path, part(forge, {"path": path}).build(), keys) == BUT_PUBLIC


@pytest.mark.parametrize("path", ["...", "a/b/c", "..a", "x" * 200, "größe", "a b"])
def test_paths_that_stay_are_taken(tmp_path, path):
    forge, keys = held("file")
    assert verdicts(tmp_path, part(forge, {"path": path}).build(), keys) == EVERYWHERE


@pytest.mark.parametrize(
    "said", [{"bytes": 4}, {"bytes": 6}, {"bytes": HUGE}, {"bytes": HUGE + 1}, {"bytes": -1},
             {"bytes": 5.0}, {"table": 1}, {"table": HUGE}, {"table": -1}, {"kind": "files"},
             {"kind": "records"}, {"kind": None}, {"more": 1}, {"kind": "tensors"}]
)  # fmt: skip
def test_other_facts_of_a_file_are_refused(tmp_path, said):
    forge, keys = held("file")
    made = part(forge, said)
    made = replace(made, items=forge.items)
    assert verdicts(tmp_path, made.build(), keys) == BUT_PUBLIC


@pytest.mark.parametrize(
    "index", [{"content": "x"}, {"content": "A" * 64}, {"content": 1}, {"metadata": {"a": 1}},
              {"metadata": []}, {"metadata": None}, {"parts": None}, {"parts": [1]},
              {"parts": []}, {"parts": {}}]
)  # fmt: skip
def test_other_facts_in_the_index_are_refused(tmp_path, index):
    forge, keys = held("file")
    assert verdicts(tmp_path, part(forge, {}, **index).build(), keys) == BUT_PUBLIC


def test_a_path_that_comes_twice_is_refused(tmp_path):
    forge, keys = held("file")
    facts = json.loads(forge.index)
    made = replace(forge, index=canonical(facts | {"parts": facts["parts"] * 2}))
    made = replace(made, items=forge.items * 2)
    assert verdicts(tmp_path, made.build(), keys) == BUT_PUBLIC


@pytest.mark.parametrize("lengths", [[HUGE] * 2100, [2**64 - 1], [HUGE], [2**63, 2**63]])
def test_records_that_overflow_are_refused(tmp_path, lengths):
    forge, keys = held("records")
    table = struct.pack(f"<{len(lengths)}Q", *lengths)
    made = part(forge, {"table": len(table)}, table)
    assert verdicts(tmp_path, replace(made, items=()).build(), keys) == BUT_PUBLIC


def entry(dtype: str, shape: list, start: int, end: int) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize(
    "header", [b"", b"[]", b"null", b"{", b'{"a":1}', b'{"a":{}}', b'\xff{}', b'{"__metadata__":1}',
               b'{"__metadata__":{"a":1}}', b'{"__metadata__":{},"__metadata__":{}}',
               canonical({"a": entry("F32", [1], 4, 8)}), canonical({"a": entry("F32", [1], 0, 5)}),
               canonical({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 1, 3)}),
               canonical({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 3, 5)}),
               canonical({"a": entry("U8", [-1, -2], 0, 2)}),
               canonical({"a": entry("X", [], 0, 0)}),
               canonical({"a": entry("U8", [0], 1, 0)}),
               canonical({"a": entry("U8", [2.0], 0, 2)}),
               canonical({"a": entry("U8", [2**63, 2**63, 0], 0, 0)}),
               canonical({"a": entry("U8", [True], 0, 1)}),
               canonical({"a": entry("U8", [], 0, 1) | {"x": 1}}),
               b"[" * 30_000]
)  # fmt: skip
def test_other_headers_of_tensors_are_refused(tmp_path, header):
    forge, keys = held("tensors")
    made = part(forge, {"table": len(header)}, header)
    assert verdicts(tmp_path, replace(made, items=()).build(), keys) == BUT_PUBLIC


# Where the product is not yet what the specification says.


def stored(forge: Forge) -> tuple[int, int]:
    data, index = forge.sections()
    return sum(map(len, data)), sum(map(len, index))


def merged(forge: Forge) -> bytes:
    return replace(forge, cuts=(sum(stored(forge)),)).build()


def hollow(forge: Forge) -> bytes:
    data, index = stored(forge)
    return replace(forge, cuts=(0, data, 0, index, 0)).build()


def another_length(forge: Forge) -> bytes:
    return replace(forge, stanzas=(*forge.stanzas, ("x25519", bytes(79)))).build()


def bytes_between_blocks(forge: Forge) -> bytes:
    return following(forge, forge.build(), b"in between")


def generation_left_out(forge: Forge) -> bytes:
    return following(forge, forge.build(), generation=7)


@pytest.mark.parametrize(
    "make",
    [merged, hollow, another_length, bytes_between_blocks, generation_left_out],
)  # fmt: skip
def test_forms_that_are_not_in_the_specification_are_refused(tmp_path, make):
    forge, keys = held("file")
    assert both(tmp_path / "x.tks", make(forge), keys, "full") is None


@pytest.mark.parametrize("path", ["\ud800", "a\nb", "x" * 300])
def test_a_path_that_no_disk_takes_is_an_error_of_ours(tmp_path, path):
    forge, keys = held("file")
    one = part(forge, {"path": path})
    target = tmp_path / "x.tks"
    target.write_bytes(replace(one, index=several(one), items=(*one.items, last())).build())
    try:
        with opening.open(target, [identity(*keys[0])]) as sealed:
            unseal(sealed, tmp_path / "out")
    except TorchkeepError:
        assert not Path(tmp_path, "out").exists()


def several(forge: Forge) -> bytes:
    facts = json.loads(forge.index)
    more = {"bytes": 0, "kind": "file", "path": "last", "table": 0}
    return canonical(facts | {"parts": [*facts["parts"], more]})


def last() -> tuple[list, bytes]:
    return ["file", "last"], b""
