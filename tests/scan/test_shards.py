"""Models in several files: what an index says, and what its files say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import OrderedDict

import pytest
import torch
from doubles.mutants import killed
from makers.checkpoints import save
from makers.projects import safetensors, write
from makers.shell import call, environment

from torchkeep import scan
from torchkeep.core import source
from torchkeep.scan import Verdict, shards
from torchkeep.scan.pickle.policy import PLAIN

DANGER = b"\x80\x02cos\nsystem\n."
INDEX = "model.safetensors.index.json"
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
PLACES = {"a": ONE, "b": ONE, "c": TWO}
SHARDS = {ONE: safetensors(a=b"12", b=b"34"), TWO: safetensors(c=b"5678")}


def index(places: object = PLACES, **metadata: object) -> str:
    return json.dumps({"metadata": metadata, "weight_map": places})


WHOLE = {INDEX: index(total_size=8), **SHARDS}


def rules(report: scan.FileReport) -> dict[int, Verdict]:
    return {int(issue.rule[-3:]): issue.severity for issue in report.issues}


def judged(folder, name: str = INDEX) -> scan.FileReport:
    """What is said of an index: the same, whichever way it is come to."""
    ways = [
        scan.file(folder / name),
        scan.file(str(folder / name)),
        *scan.paths([folder / name]).files,
        *(one for one in scan.paths([folder]).files if one.path == str(folder / name)),
    ]
    assert len(ways) == 4
    assert len({json.dumps(way.to_json()) for way in ways}) == 1
    for issue in ways[0].issues:
        assert issue.message.text("zh") != issue.message.text("en")
    return ways[0]


def test_a_whole_model_is_clean(tmp_path):
    report = judged(write(tmp_path, WHOLE))
    assert (report.verdict, report.format, report.has_pickle) == (Verdict.CLEAN, "json", False)
    assert [one.verdict for one in scan.paths([tmp_path]).files] == [Verdict.CLEAN] * 3


MALFORMED, NOT_SCANNED = Verdict.MALFORMED, Verdict.NOT_SCANNED
HEADER = (2).to_bytes(8, "little") + b"{}"
FAULTS = {
    "a shard is missing": ({ONE: None}, {63: NOT_SCANNED}),
    "a shard is text": ({ONE: "words"}, {62: MALFORMED}),
    "a shard is a note": ({INDEX: index({"a": "a.md"}), "a.md": "words"}, {63: NOT_SCANNED}),
    "a shard is cut": ({ONE: SHARDS[ONE][:-1]}, {32: MALFORMED}),
    "a shard is dangerous": ({ONE: DANGER}, {10: Verdict.DANGEROUS}),
    "a shard needs review": ({ONE: b"\x80\x02cmine\nX\n."}, {11: Verdict.NEEDS_REVIEW}),
    "a shard is no model of torch": ({ONE: b"\x80\x02}."}, {63: NOT_SCANNED}),
    "a shard is empty": ({ONE: HEADER}, {66: MALFORMED}),
    "one more of the series": ({"model-00003-of-00002.safetensors": HEADER}, {65: MALFORMED}),
    "one of an older series": ({"model-00001-of-00003.safetensors": HEADER}, {65: MALFORMED}),
    "a tensor is absent": ({ONE: safetensors(a=b"1234")}, {66: MALFORMED}),
    "a tensor is in two shards": ({TWO: safetensors(c=b"56", a=b"78")}, {66: MALFORMED}),
    "a tensor that nobody names": ({TWO: safetensors(c=b"5678", d=b"9")}, {66: MALFORMED}),
    "shards are exchanged": ({ONE: SHARDS[TWO], TWO: SHARDS[ONE]}, {66: MALFORMED}),
    "the size is wrong": ({INDEX: index(total_size=9)}, {66: MALFORMED}),
    "the size is a text": ({INDEX: index(total_size="8")}, {64: MALFORMED}),
    "two sizes": ({INDEX: index(total_size=8).replace("{", '{"metadata": {"total_size": 7}, ', 1)},
                  {64: MALFORMED}),
    "two tables": ({INDEX: index().replace("{", '{"weight_map": {"a": "x"}, ', 1)},
                   {64: MALFORMED}),
    "a name twice": ({INDEX: index().replace('"a":', f'"a": "{TWO}", "a":')}, {64: MALFORMED}),
    "no table": ({INDEX: "{}"}, {64: MALFORMED}),
    "an empty table": ({INDEX: index({})}, {64: MALFORMED}),
    "a list for a table": ({INDEX: index(["a"])}, {64: MALFORMED}),
    "a list": ({INDEX: "[1]"}, {64: MALFORMED}),
    "a shard that is no text": ({INDEX: index({"a": 1})}, {64: MALFORMED}),
    "too many shards": ({INDEX: index({f"{n}": f"{n}" for n in range(10_001)})}, {64: MALFORMED}),
    "no JSON": ({INDEX: '{"weight_map": {"a": '}, {64: MALFORMED}),
    "nested deep": ({INDEX: '{"weight_map": ' + "[" * 100_000}, {64: MALFORMED}),
    "an index as a shard": ({INDEX: index({"a": INDEX})}, {63: NOT_SCANNED}),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults(tmp_path, fault):
    changes, expected = FAULTS[fault]
    files = {name: data for name, data in (WHOLE | changes).items() if data is not None}
    report = judged(write(tmp_path, files))
    assert rules(report) == expected
    assert report.verdict is min(expected.values(), key=lambda verdict: verdict.rank)


@pytest.mark.parametrize(
    "name",
    [
        *("../o.safetensors", "/etc/passwd", "a/../../o.safetensors", "out/o.safetensors"),
        *("./x", "", "..", "a//b", "a/", "C:\\x", "C:/x", "..\\x", "\\\\host\\x"),
        *("a\nb", "a\0b", "\udcff"),
    ],
)
def test_a_path_that_leaves_the_folder(tmp_path, name):
    write(tmp_path, {"o.safetensors": SHARDS[ONE], "outside/o.safetensors": SHARDS[ONE]})
    folder = write(tmp_path / "m", {**WHOLE, INDEX: index({"a": name, "c": TWO})})
    (folder / "out").symlink_to("../outside")
    assert rules(judged(folder)) == {64: MALFORMED}


def test_a_path_of_many_steps_is_not_followed(tmp_path, monkeypatch):
    write(tmp_path, {INDEX: index({"a": "a/" * 100_000 + "b"})})
    steps = []
    real = os.lstat
    monkeypatch.setattr(os, "lstat", lambda path, **how: steps.append(path) or real(path, **how))
    assert rules(judged(tmp_path)) == {63: NOT_SCANNED}
    assert 0 < len(steps) < 1000


def test_shards_may_lie_in_folders_within(tmp_path):
    places = {"a": f"x/y/{ONE}", "b": f"x/y/{ONE}", "c": f"z/{TWO}"}
    files = {INDEX: index(places), f"x/y/{ONE}": SHARDS[ONE], f"x/{TWO}": SHARDS[TWO]}
    (write(tmp_path, files) / "z").symlink_to("x")
    assert judged(tmp_path).verdict is Verdict.CLEAN
    write(tmp_path, {f"x/y/{TWO}": SHARDS[TWO]})
    assert rules(judged(tmp_path)) == {65: MALFORMED}


@pytest.mark.parametrize("size", [8, 8.0])
def test_sizes_are_whole_numbers_or_look_like_it(tmp_path, size):
    assert judged(write(tmp_path, {**WHOLE, INDEX: index(total_size=size)})).issues == []


def with_others(data: bytes, **others: str) -> bytes:
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    text = json.dumps({"__metadata__": {"format": "pt", **others}, **header}).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def test_tied_tensors_stand_in_a_shard_once(tmp_path):
    """As safetensors and the converter of the hub write them; their size is that of both."""
    places = PLACES | {"tied": ONE}
    files = {**WHOLE, INDEX: index(places, total_size=10), ONE: with_others(SHARDS[ONE], tied="a")}
    assert judged(write(tmp_path, files)).issues == []
    write(tmp_path, {INDEX: index()})  # some name but one of them
    assert judged(tmp_path).issues == []
    write(tmp_path, {INDEX: index(places), ONE: with_others(SHARDS[ONE], tied="c")})  # not in there
    assert rules(judged(tmp_path)) == {66: MALFORMED}


@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_shards(tmp_path, legacy):
    name = "pytorch_model.bin.index.json"
    one, two = (f"pytorch_model-0000{n}-of-00002.bin" for n in (1, 2))
    weight = torch.arange(4.0)
    places = {"x.a": one, "x.b": one, "c": two}
    write(tmp_path, {name: index(places, total_size=1)})  # which pickles do not tell
    save(OrderedDict({"x.a": weight, "x.b": weight[1:]}), tmp_path / one, legacy=legacy)
    save({"c": torch.nn.Parameter(weight)}, tmp_path / two, legacy=legacy)
    report = judged(tmp_path, name)
    assert (report.issues, report.has_pickle) == ([], True)
    save({"c": weight, "x.a": weight}, tmp_path / two, legacy=legacy)
    assert rules(judged(tmp_path, name)) == {66: MALFORMED}
    save([weight], tmp_path / two, legacy=legacy)
    assert rules(judged(tmp_path, name)) == {63: NOT_SCANNED}


class Settings:
    """A class that no list knows."""


def test_what_a_project_allows_in_a_shard_is_told_with_the_index(tmp_path):
    name = "pytorch_model-00001-of-00001.bin"
    write(tmp_path, {"pytorch_model.bin.index.json": index({"settings": name})})
    save({"settings": Settings()}, tmp_path / name)
    assert scan.paths([tmp_path]).verdict is Verdict.NEEDS_REVIEW
    allowed = {(Settings.__module__, "Settings"): PLAIN["class"]}
    for report in scan.paths([tmp_path], allowed=allowed).files:
        assert report.verdict is Verdict.CLEAN
        assert list(report.allowed) == [f"{Settings.__module__}.Settings"]


def test_what_is_said_of_a_shard_is_said_of_the_index_with_its_place(tmp_path):
    write(tmp_path, {**WHOLE, TWO: b"\x80\x02cmine\nThing\n0cos\nsystem\n."})
    [issue] = judged(tmp_path).issues
    assert (issue.rule, issue.member, issue.offset) == ("TK-SCAN-010", TWO, 15)
    # Each shard once for itself too.
    assert [one.verdict.value for one in scan.paths([tmp_path]).files] == [
        "clean",
        "dangerous",
        "dangerous",
    ]


@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling", "loop"])
def test_a_shard_that_is_no_file(tmp_path, kind):
    path = write(tmp_path, {**WHOLE}) / ONE
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere" if kind == "dangling" else ONE)
    assert rules(judged(tmp_path)) == {63: NOT_SCANNED}


def test_indexes_that_name_each_other_come_to_an_end(tmp_path):
    other = "other.safetensors.index.json"
    write(tmp_path, {INDEX: index({"a": other}), other: index({"a": INDEX})})
    found = scan.paths([tmp_path]).files
    assert [rules(one) for one in found] == [{63: NOT_SCANNED}] * 2


def test_an_index_that_is_too_long_is_not_scanned(tmp_path):
    write(tmp_path, {**WHOLE, INDEX: "{"})
    os.truncate(tmp_path / INDEX, 65 << 20)
    assert rules(judged(tmp_path)) == {61: NOT_SCANNED}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.safetensors.index.json", True),
        ("a/b/pytorch_model.bin.index.json", True),
        ("diffusion_pytorch_model.safetensors.index.fp16.json", True),
        ("tf_model.h5.index.json", False),
        ("index.json", False),
        ("config.json", False),
        ("https://example.org/model.safetensors.index.json", False),
    ],
)
def test_what_is_an_index(name, said):
    assert shards.is_index(name) is said


def series(*numbers: int, of: int = 3, kind: str = "safetensors") -> dict[str, bytes]:
    return {f"m-{number:05}-of-{of:05}.{kind}": SHARDS[ONE] for number in numbers}


@pytest.mark.parametrize(
    ("files", "absent"),
    [
        (series(1, 2, 3), []),
        (series(0, 1, 2), []),
        (series(1, of=1), []),
        (series(1, 3), ["m-00002-of-00003.safetensors"]),
        (series(3), ["m-00001-of-00003.safetensors"]),
        (series(0, 2), ["m-00001-of-00003.safetensors"]),
        (series(1, 2, of=2) | series(2), ["m-00001-of-00003.safetensors"]),
        (series(2, kind="gguf"), ["m-00001-of-00003.gguf"]),
        (series(2, kind="txt"), []),
        (series(1) | {"m.safetensors.index.json": "{}"}, []),  # of that, more is said
        (series(1) | {"n.safetensors.index.json": "{}"}, ["m-00002-of-00003.safetensors"]),
    ],
)
def test_a_series_without_an_index(tmp_path, files, absent):
    report = scan.paths([write(tmp_path, files)])
    found = [one for one in report.files if 63 in rules(one)]
    assert [one.path for one in found] == [str(tmp_path / name) for name in absent]
    assert {one.verdict for one in found} <= {NOT_SCANNED}
    left_out = [name for name in (*files, *absent) if name.startswith("m-")]
    assert scan.paths([tmp_path], exclude=["m-*"]).excluded == len(left_out)


def test_a_series_that_claims_to_be_long_is_looked_for_no_longer_than_it_is(tmp_path, monkeypatch):
    files = {f"m{n}-000001-of-999999.bin": b"\x80\x02}." for n in range(10)}
    write(tmp_path, files)
    asked = []
    real = os.path.lexists
    monkeypatch.setattr(os.path, "lexists", lambda path: asked.append(path) or real(path))
    assert len(scan.paths([tmp_path]).files) == 20
    assert len(asked) == 10


def cached(root):
    """A snapshot as the cache of the hub keeps it: links to blobs that are called by a digest."""
    folder = write(root, {f"blobs/{n}": data for n, data in enumerate(WHOLE.values())})
    snapshot = folder / "snapshots/0123"
    snapshot.mkdir(parents=True)
    for number, name in enumerate(WHOLE):
        (snapshot / name).symlink_to(f"../../blobs/{number}")
    return snapshot


def test_a_snapshot_of_links(tmp_path):
    snapshot = cached(tmp_path)
    assert judged(snapshot).verdict is Verdict.CLEAN
    assert [one.verdict for one in scan.paths([snapshot]).files] == [Verdict.CLEAN] * 3
    (tmp_path / "blobs/2").write_bytes(DANGER)
    assert rules(judged(snapshot)) == {10: Verdict.DANGEROUS}
    (tmp_path / "blobs/2").unlink()
    assert rules(judged(snapshot)) == {63: NOT_SCANNED}
    (snapshot / TWO).unlink()
    (snapshot / INDEX).unlink()
    found = scan.paths([snapshot])  # now a series without an index, and its second file is missing
    assert [rules(one) for one in found.files] == [{}, {63: NOT_SCANNED}]


def test_each_file_is_opened_once_and_its_numbers_are_not_read(tmp_path, monkeypatch):
    names = "pytorch_model.bin.index.json", *(f"pytorch_model-0000{n}-of-00002.bin" for n in (1, 2))
    write(tmp_path, {names[0]: index({"a": names[1], "b": names[2]})})
    for key, name in zip("ab", names[1:], strict=True):
        save({key: torch.zeros(1 << 20)}, tmp_path / name)
    opened = []
    real = source.open
    monkeypatch.setattr(source, "open", lambda path: opened.append(real(path)) or opened[-1])
    assert scan.paths([tmp_path]).verdict is Verdict.CLEAN
    assert sorted(one.name for one in opened) == sorted(str(tmp_path / name) for name in names)
    assert sum(one.bytes_read for one in opened) < 1 << 20


BLOCKED = """
import sys

sys.modules.update(torch=None, numpy=None, safetensors=None)
from torchkeep.cli import main

main(sys.argv[1:])
"""


def test_what_is_said_does_not_depend_on_what_is_installed(tmp_path):
    name = "pytorch_model-00001-of-00001.bin"
    write(tmp_path, {"pytorch_model.bin.index.json": index({"a": name, "b": name})})
    save({"a": torch.zeros(2)}, tmp_path / name)
    free = call("scan", "--json", ".", cwd=tmp_path)
    blocked = subprocess.run(
        [sys.executable, "-c", BLOCKED, "scan", "--json", "."],
        capture_output=True,
        cwd=tmp_path,
        env=environment(),
        timeout=60,
    )
    assert (free.returncode, free.stdout) == (blocked.returncode, blocked.stdout)
    assert b"TK-SCAN-066" in free.stdout


@pytest.mark.parametrize(
    ("name", "mutant", "fault"),
    [
        ("_is_beside", lambda folder, shard: True, "../o.safetensors"),
        ("_strays", lambda index: [], "one more of the series"),
        ("_compare", lambda index, shard: None, "a shard is dangerous"),
        ("_join", lambda index, shard, report: None, "a shard is dangerous"),
        ("_check_size", lambda index, sizes: None, "the size is wrong"),
    ],
)
def test_the_tests_would_notice(tmp_path, monkeypatch, name, mutant, fault):
    def check():
        if fault in FAULTS:
            test_faults(tmp_path, fault)
        else:
            test_a_path_that_leaves_the_folder(tmp_path, fault)

    assert killed(monkeypatch, shards, name, mutant, check)
