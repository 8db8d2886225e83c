"""What ``convert`` does not take: it says why, and leaves nothing behind."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import re
import tarfile
import warnings
import zipfile
from collections import OrderedDict
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest
from doubles.mutants import killed
from hypothesis import given
from hypothesis import strategies as st
from makers.projects import safetensors, tree

from torchkeep import scan
from torchkeep.core.errors import (
    Foreign,
    Incomplete,
    Internal,
    Refused,
    SourceError,
    TorchkeepError,
    UsageError,
)
from torchkeep.scan import Verdict, conversion
from torchkeep.scan.conversion import forms, gather
from torchkeep.scan.job import MOST_ISSUES

torch = pytest.importorskip("torch")

from makers.checkpoints import expected, rewritten, save  # noqa: E402 (they import torch)

CHOOSE, LOCATE, WALK, WRITE = (
    import_module(f"torchkeep.scan.conversion.{name}")
    for name in ("choose", "locate", "walk", "write")
)
BOTH = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
W = torch.arange(1.0, 7.0)


class Made:
    """Pickles as a call with given arguments."""

    def __init__(self, function, *args, state=None, items=None):
        self.reduced, self.items = (function, args, state, None), items

    def __reduce__(self):
        return *self.reduced, self.items and iter(self.items)


def refuses(source, kind=Refused, match=None, **settings):
    """The error of a conversion that must change nothing on the disk."""
    target = source.parent / "out.safetensors"
    before = tree(source.parent)
    with pytest.raises(kind, match=match) as caught:
        scan.convert(source, target, **settings)
    assert tree(source.parent) == before
    assert caught.value.next
    assert "\n" not in str(caught.value)
    return caught.value


def rebuilt(function="_rebuild_tensor_v2", *more, data=W, size=(2,), stride=(1,), offset=0):
    data = data.clone()  # torch saves no storage with two types
    storage = data.untyped_storage() if function.endswith("v3") else data.storage()
    hooks = OrderedDict()
    rest = () if function == "_rebuild_tensor" else (False, hooks, *more)
    return Made(getattr(torch._utils, function), storage, offset, size, stride, *rest)


# Forms of tensors.


def nested():
    return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])


FORMS = {
    "sparse": lambda: torch.eye(2).to_sparse(),
    "is sparse": lambda: torch.eye(2).to_sparse_csr(),
    "quantised": lambda: torch.quantize_per_tensor(W, 0.1, 0, torch.quint8),
    "nested": nested,
    "meta": lambda: torch.empty(3, device="meta"),
    "complex128": lambda: W.to(torch.complex128),
    "complex32": lambda: W.to(torch.complex32),
    "'conj'": lambda: W.to(torch.complex64).conj(),
    "'neg'": lambda: W.to(torch.complex64).conj().imag,
    "of the type": lambda: Made(
        torch._tensor._rebuild_from_type_v2,
        torch._utils._rebuild_tensor_v2,
        torch.Size,
        (W.storage(), 0, (2,), (1,), False, OrderedDict()),
        {},
    ),
    "attributes": lambda: Made(
        torch._utils._rebuild_parameter_with_state, W, False, OrderedDict(), {"data": W[1:]}
    ),
    "has attributes": lambda: Made(
        torch._tensor._rebuild_from_type_v2,
        torch._utils._rebuild_tensor_v2,
        torch.Tensor,
        (W.storage(), 0, (2,), (1,), False, OrderedDict()),
        ({}, {"real": W}),
    ),
    "attributes that": lambda: Made(
        torch._utils._rebuild_parameter_with_state, W, False, OrderedDict(), ["data", W]
    ),
    "changed after": lambda: Made(
        torch._utils._rebuild_tensor_v2, W.storage(), 0, (2,), (1,), False, OrderedDict(),
        state=(W.storage(), 1, (2,), (1,)),
    ),
    "does not write": lambda: rebuilt("_rebuild_tensor_v2", {}, "more"),
    "no tensor": lambda: Made(torch._utils._rebuild_parameter, 3, False, OrderedDict()),
    "'odd'": lambda: rebuilt("_rebuild_tensor_v2", "conj"),
    "pairs of numbers": lambda: rebuilt(
        "_rebuild_tensor_v3", torch.float4_e2m1fn_x2, size=(), stride=()
    ),
}  # fmt: skip


@BOTH
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("why", FORMS)
def test_forms_that_safetensors_has_not(tmp_path, why, legacy):
    path = save({"plain": W, "odd\x1b": FORMS[why]()}, tmp_path / "model.pt", legacy=legacy)
    error = refuses(path, match=why)
    assert "tensor odd\\x1b " in error.message
    refuses(path, match=why, salvage=True)  # which is no way to lose a tensor unseen


@BOTH
def test_the_forms_before(tmp_path, legacy):
    """The makers above are refused for what they say, and not for how they are made."""
    value = {
        "v2": rebuilt("_rebuild_tensor_v2", {}, offset=1),
        "v3": rebuilt("_rebuild_tensor_v3", torch.float, {}, size=(3, 2), stride=(2, 1)),
        "old": rebuilt("_rebuild_tensor"),
        "parameter": Made(
            torch._utils._rebuild_parameter_with_state, W, False, OrderedDict(), {"mine": 1}
        ),
    }
    scan.convert(save(value, tmp_path / "m.pt", legacy=legacy), tmp_path / "o.safetensors")
    tensors = {"v2": W[1:3], "v3": W.reshape(3, 2), "old": W[:2], "parameter": W}
    assert (tmp_path / "o.safetensors").read_bytes() == expected(tensors, tmp_path)


def test_a_storage_with_two_types(tmp_path):
    """torch.load gives both tensors the type that it meets first."""
    path = save({"a": W, "b": torch.ones(6, dtype=torch.int32)}, tmp_path / "model.pt")
    key = b"X\x01\0\0\x00%d"
    rewritten(
        path, lambda name, data: data.replace(key % 1, key % 0) if name == "data.pkl" else data
    )
    refuses(path, match="two types")


# What is no set of named tensors.


class Hooked(torch.nn.Linear):
    def __init__(self):
        super().__init__(2, 2)
        self._state_dict_hooks = OrderedDict({0: len})


def laughs():
    value = {"w": W[:1]}
    for _ in range(40):
        value = {"a": value, "b": value}
    return value


def quiet_laughs():
    value = {}
    for _ in range(28):
        value = {"a": value, "b": value}
    return {"w": W, "x": value}


def deep():
    value = {"w": W}
    for _ in range(300):
        value = {"a": value}
    return value


def cycle():
    value = {"w": W}
    value["again"] = value
    return value


SHAPES = {
    "holds more than tensors: b is a int": {"w": W, "b": 3},
    "b.c is None": {"w": W, "b": {"c": None}},
    "named by a int": {1: W},
    "is a list": {"w": [W]},
    "what torch.Size returns": {"w": W, "s": torch.Size([1])},
    "holds no tensors": {"a": {}, "b": {"c": {}}},
    "holds no tensors$": {},
    "holds a int, expected": 3,
    "holds a list": [W],
    "two tensors that would be called a.b": {"a.b": W, "a": {"b": W}},
    "two tensors that would be called w": Made(OrderedDict, items=[("w", W), ("w", W[1:])]),
    "called __metadata__": {"__metadata__": W},
    r"called a\\udcff, which": {"a\udcff": W},
    "hooks on its state_dict": Hooked(),
    "what collections.OrderedDict returns": Made(OrderedDict, Made(OrderedDict, [["w", W]])),
    r"x\.\(a int\) is named by a int|x is what": {"x": Made(OrderedDict, [(1 << 99, 2)])},
    "x.ab is None": {"x": Made(OrderedDict, [["ab", None]])},
    "holds more names": quiet_laughs(),
    "more than 100 deep": deep(),
    "100 deep": cycle(),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@BOTH
@pytest.mark.parametrize("why", SHAPES)
def test_what_is_no_set_of_named_tensors(tmp_path, why, legacy):
    path = save(SHAPES[why], tmp_path / "model.pt", legacy=legacy)
    message = refuses(path, match=why.removesuffix("$")).message
    assert not why.endswith("$") or message.endswith(why[:-1])


def test_containers_that_are_shared_again_and_again(tmp_path):
    refuses(save(laughs(), tmp_path / "model.pt"), match="malformed|more names")


def test_the_keys_that_would_do_are_named(tmp_path):
    good, bad = {"w": W}, {"w": 1}
    value = {"model": good, "epoch": 3, "state": {"ema": good, "step": 1}, "bad": bad}
    path = save(value, tmp_path / "model.pt")
    assert "--key: model, state.ema; or add --salvage" in refuses(path).next
    for key in ("nope", "model.x", "model.w.x", ".", "epoch.real", "model."):
        assert refuses(path, UsageError, "is not there", key=key).next.endswith("model, state.ema")
    assert refuses(path, match="holds a int under epoch", key="epoch").next
    refuses(path, match="more than tensors: w is a int", key="bad")
    many = {f"part{number}": good for number in range(12)} | {"n": 1}
    assert refuses(save(many, tmp_path / "model.pt")).next.count("part") == 8


def test_a_key_that_leads_to_two_things(tmp_path):
    path = save({"a.b": {"w": W}, "a": {"b": {"w": W[1:]}}, "n": 1}, tmp_path / "model.pt")
    refuses(path, UsageError, "several things", key="a.b")


def test_what_a_constructor_is_given(tmp_path):
    """One opcode tells whether OrderedDict is called, or an instance made that stays empty."""
    value = {"a": Made(OrderedDict, {"v": W[1:]}), "b": Made(OrderedDict, [["w", W]])}
    path = save(value, tmp_path / "model.pt")
    scan.convert(path, tmp_path / "both.safetensors")
    tensors = {"b.w": W, "a.v": W[1:]}
    assert (tmp_path / "both.safetensors").read_bytes() == expected(tensors, tmp_path)
    called = re.compile(rb"R(q.u\.)$", re.DOTALL)
    rewritten(
        path,
        lambda name, data: (
            called.sub(lambda found: b"\x81" + found[1], data) if name == "data.pkl" else data
        ),
    )
    assert torch.load(path, weights_only=False)["b"] == {}
    scan.convert(path, tmp_path / "one.safetensors")
    assert (tmp_path / "one.safetensors").read_bytes() == expected({"a.v": W[1:]}, tmp_path)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_state_that_is_set_twice(tmp_path):
    """Here torch would merge both; another class may do as it likes."""
    path = save(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    twice = b"(X\x0b\0\0\0_parameters}X\x08\0\0\0_buffers}X\x08\0\0\0_modules}ub."
    rewritten(path, lambda name, data: data[:-1] + b"}" + twice if name == "data.pkl" else data)
    refuses(path, match="what torch.nn.modules.linear.Linear returns")


def test_a_location_without_data(tmp_path):
    path = save({"w": W}, tmp_path / "model.pt")
    rewritten(
        path,
        lambda name, data: (
            data.replace(b"\3\0\0\0cpu", b"\4\0\0\0meta") if name == "data.pkl" else data
        ),
    )
    refuses(path, match="meta device")


# Kinds of files.


def test_kinds_that_are_not_converted(tmp_path):
    kinds = {
        "plain.pkl": (pickle.dumps({"w": [1, 2]}), "torch.save did not write"),
        "empty.pkl": (pickle.dumps({}), "torch.save did not write"),
        "model.pt.gz": (gzip.compress(pickle.dumps({})), "compressed"),
    }
    for name, (data, why) in kinds.items():
        (tmp_path / name).write_bytes(data)
        refuses(tmp_path / name, match=why)


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("model.safetensors", safetensors(a=b"1234"), Foreign),
        ("model.pt", b"some words", Refused),
        ("words.txt", b"some words", Foreign),
        ("model.npy", b"\x93NUMPY\x01\0v\0" + b" " * 117 + b"\n", Refused),
        ("model.7z", b"7z\xbc\xaf\x27\x1c" + bytes(64), Incomplete),
        ("model.pt", b"", Refused),
    ],
)
def test_no_pickle_at_all(tmp_path, name, data, kind):
    path = tmp_path / name
    path.write_bytes(data)
    assert type(refuses(path, TorchkeepError)) is kind


@pytest.mark.filterwarnings("ignore")
def test_torchscript(tmp_path):
    path = tmp_path / "model.pt"
    torch.jit.script(torch.nn.Linear(2, 2)).save(path)
    refuses(path, match="TorchScript", salvage=True)


def test_exported_programs(tmp_path):
    path = tmp_path / "model.pt2"
    program = torch.export.export(torch.nn.Linear(2, 2), (torch.ones(1, 2),))
    torch.export.save(program, path)
    refuses(path, match=r"exported program \(\.pt2\)", salvage=True)


def test_several_objects(tmp_path):
    path = save({"w": W}, tmp_path / "model.pt")
    one = path.read_bytes()
    path.write_bytes(one + one)
    refuses(path, match="archives in a row", salvage=True)
    path.write_bytes(one)
    out = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for entry in old.infolist():
            for root in ("model", "other"):
                new.writestr(root + entry.filename.removeprefix("model"), old.read(entry))
    path.write_bytes(out.getvalue())
    refuses(path, match="2 saved objects", salvage=True)


def test_old_tar_files(tmp_path):
    path = tmp_path / "model.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("sys_info", "storages", "tensors", "pickle"):
            data = pickle.dumps(0, 2)
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    refuses(path, match="tar|malformed", salvage=True)


def test_big_endian(tmp_path):
    path = save({"w": W}, tmp_path / "model.pt")
    rewritten(path, lambda name, data: b"big" if name == "byteorder" else data)
    refuses(path, match="big-endian")
    rewritten(path, lambda name, data: None if name == "byteorder" else data)
    scan.convert(path, tmp_path / "fine.safetensors")  # as torch does: the order of this machine
    save({"w": W}, path, legacy=True)
    data = path.read_bytes()
    at = data.index(b"little_endian")
    path.write_bytes(data[:at] + data[at:].replace(b"\x88", b"\x89", 1))
    refuses(path, match="big-endian")


@pytest.mark.parametrize(
    ("view", "verdict", "why"),
    [
        (b"N", Verdict.CLEAN, ""),
        (b"(X\1\0\0\0vK\1K\2t", Verdict.CLEAN, "on a view of a storage"),
        (b")", Verdict.MALFORMED, "malformed"),
        (b"X\1\0\0\0v", Verdict.MALFORMED, "malformed"),
        (b"(X\1\0\0\0vX\1\0\0\0vK\2t", Verdict.MALFORMED, "malformed"),
    ],
)
def test_views_of_storages(tmp_path, view, verdict, why):
    """Files of torch before 0.4 put them into the id of a storage."""
    path = save({"w": W[:2]}, tmp_path / "model.pt", legacy=True)
    data = path.read_bytes()
    assert data.count(b"K\x06Nt") == 1
    path.write_bytes(data.replace(b"K\x06Nt", b"K\x06" + view + b"t"))
    assert scan.file(path).verdict is verdict
    if why:
        refuses(path, match=why)
    else:
        scan.convert(path, tmp_path / "out.safetensors")


def test_compressed_storages(tmp_path):
    path = save({"w": W.repeat(100)}, tmp_path / "model.pt")
    rewritten(path, lambda name, data: data, deflated="data/0")
    assert "zip -0" in refuses(path, match="storage 0 is compressed").next


# Danger.


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@BOTH
def test_a_payload_is_refused_and_its_tensors_can_be_had(tmp_path, legacy):
    marker = tmp_path / "marker"
    value = {"w": W, "deep": {"v": W[1:3]}, "bad": Payload(marker), 3: W}
    path = save(value, tmp_path / "model.pt", legacy=legacy)
    error = refuses(path, match=r"dangerous: loading it looks up posix\.system")
    assert "--salvage" in error.next
    done = scan.convert(path, tmp_path / "out.safetensors", salvage=True)
    tensors = {"w": W, "deep.v": W[1:3]}
    assert (tmp_path / "out.safetensors").read_bytes() == expected(tensors, tmp_path)
    assert (done.verdict, done.salvage) == (Verdict.DANGEROUS, True)
    assert sorted(done.left_behind) == ["3", "bad"]
    assert not marker.exists()


def test_what_unknown_calls_return_is_never_taken(tmp_path):
    path = save(Payload(tmp_path / "marker"), tmp_path / "model.pt")
    refuses(path, match="what posix.system returns", salvage=True)
    wrapped = {"w": Made(torch._utils._rebuild_parameter, Payload("x"), False, OrderedDict())}
    refuses(save(wrapped, path), match="dangerous|no tensor", salvage=True)
    assert not (tmp_path / "marker").exists()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_unknown_classes_beside_the_weights(tmp_path):
    path = save({"model": {"w": W}, "args": Hooked}, tmp_path / "model.pt")
    done = scan.convert(path, tmp_path / "out.safetensors", key="model")
    assert (done.verdict, done.left_behind) == (Verdict.NEEDS_REVIEW, ("args",))


def test_salvage_takes_nothing_that_is_damaged(tmp_path):
    path = save({"w": W, "bad": Payload("x")}, tmp_path / "model.pt")
    path.write_bytes(b"PREFIX" + path.read_bytes())
    refuses(path, match="malformed", salvage=True)


def test_damage_cannot_hide_behind_many_dangers(tmp_path, monkeypatch):
    bad = [Made(eval, str(number)) for number in range(MOST_ISSUES)]
    path = save({"w": W, "bad": bad}, tmp_path / "model.pt")
    scan.convert(path, tmp_path / "fine.safetensors", salvage=True)  # one name, one issue
    report = scan.file(path)
    report.issues *= MOST_ISSUES // len(report.issues)
    monkeypatch.setattr(conversion, "scan_opened", lambda opened: report)
    refuses(path, match=f"more than {MOST_ISSUES} things", salvage=True)


# Damage.


def flip(path, data):
    content = path.read_bytes()
    at = content.index(data)
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])


VIEWS = {"whole": W, "part": W[1:4], "strided": W[::2], "none of it": W[:0]}


@pytest.mark.parametrize("view", VIEWS)
def test_a_storage_that_is_damaged(tmp_path, view):
    """Wherever the damage is in the storage; torch.load would not see it."""
    path = save({"w": VIEWS[view]}, tmp_path / "model.pt")
    flip(path, b"\x00\x00\xc0@")  # 6.0, the last number
    refuses(path, match=r"storage 0 are not those that were saved \(CRC-32\)")


def test_files_without_checksums(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        path = save({"w": W}, tmp_path / "model.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    scan.convert(path, tmp_path / "out.safetensors")
    assert (tmp_path / "out.safetensors").read_bytes() == expected({"w": W}, tmp_path)


@BOTH
def test_a_file_that_changes_after_it_was_judged(tmp_path, monkeypatch, legacy):
    path = save({"w": W}, tmp_path / "model.pt", legacy=legacy)
    other = save({"w": W + 1}, tmp_path / "other.pt", legacy=legacy).read_bytes()

    def judged_then_swapped(opened):
        report = scan.files.opened(opened)
        with path.open("r+b") as file:
            file.write(other)
        os.utime(path, ns=(1, 1))  # whatever the tick of the clock
        return report

    monkeypatch.setattr(conversion, "scan_opened", judged_then_swapped)
    with pytest.raises(SourceError, match="changed while it was read"):
        scan.convert(path, tmp_path / "out.safetensors")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.pt", "other.pt"]


# Size.


@BOTH
def test_a_tensor_that_grows(tmp_path, legacy, monkeypatch):
    path = save({"w": torch.ones(1).expand(1 << 30)}, tmp_path / "model.pt", legacy=legacy)
    refuses(path, match="would become 4,294,967,296")
    views = {f"v{number}": W.expand(1000, 6) for number in range(50)}
    save(views, path, legacy=legacy)
    monkeypatch.setattr(conversion, "_FREE", 0)
    refuses(path, match="would become 1,200,000")


def test_names_that_are_more_than_safetensors_reads(tmp_path, monkeypatch):
    path = save({"w" * 300: W}, tmp_path / "model.pt")
    monkeypatch.setattr(conversion, "MOST_NAMES", 300)
    refuses(path, match="more than safetensors reads")


# Whatever a pickle says.


class Old(OrderedDict):
    def __reduce__(self):
        return OrderedDict, ([list(pair) for pair in self.items()],)


def sample(legacy):
    out = io.BytesIO()
    tensors = {"w": W, "v": W[1:], "p": torch.nn.Parameter(W), "b": torch.nn.Buffer(W)}
    parameter = torch.nn.Parameter(W)
    parameter.note = [1]
    value = {
        "a": tensors,
        "o": Old(tensors),
        "m": torch.nn.BatchNorm1d(2),
        "s": {1},
        "q": parameter,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(value, out, _use_new_zipfile_serialization=not legacy)
    return out.getvalue()


SAMPLES = {legacy: sample(legacy) for legacy in (False, True)}
OPCODES = st.sampled_from([bytes([code]) for code in b"().}]NR\x81bsuteal0\x85\x86\x87Qh\0"])
EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 3), st.one_of(OPCODES, st.binary(max_size=2))),
    min_size=1,
    max_size=3,
)


@given(EDITS, st.booleans(), st.sampled_from(["", "a", "o", "m", "a.w", "q"]))
def test_any_damage_is_an_error_of_ours(tmp_path_factory, edits, legacy, key):
    folder = tmp_path_factory.mktemp("any")
    path = folder / "model.pt"
    path.write_bytes(SAMPLES[legacy])
    if legacy:
        path.write_bytes(edited(SAMPLES[legacy], edits))
    else:
        rewritten(path, lambda name, data: edited(data, edits) if name == "data.pkl" else data)
    with suppress(TorchkeepError):
        scan.convert(path, folder / "out.safetensors", key=key, salvage=True)


def edited(data, edits):
    for place, length, new in edits:
        at = int(place * len(data))
        data = data[:at] + new + data[at + length :]
    return data


# The target.


def test_targets_that_are_in_the_way(tmp_path):
    path = save({"w": W}, tmp_path / "model.pt")
    for name in ("out.pt", "out", "out.safetensors.bak", "model.pt"):
        with pytest.raises(UsageError, match=r"does not end in \.safetensors"):
            scan.convert(path, tmp_path / name, overwrite=True)
    taken = tmp_path / "taken.safetensors"
    taken.write_bytes(b"old")
    with pytest.raises(UsageError, match="exists already"):
        scan.convert(path, taken)
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(UsageError, match="not a regular file"):
        scan.convert(path, tmp_path / "folder.safetensors", overwrite=True)
    with pytest.raises(UsageError, match="folder does not exist"):
        scan.convert(path, tmp_path / "none" / "out.safetensors")
    assert taken.read_bytes() == b"old"
    scan.convert(path, taken, overwrite=True)
    assert taken.read_bytes() == expected({"w": W}, tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path):
    path = save({"w": W}, tmp_path / "model.pt")
    with pytest.raises((Internal, UsageError)):
        scan.convert(path, Path("/proc/self/out.safetensors"))


@pytest.mark.parametrize("link", ["same", "symbolic", "hard"])
def test_the_source_is_never_the_target(tmp_path, link):
    path = save({"w": W}, tmp_path / "model.safetensors")
    target = path
    if link != "same":
        target = tmp_path / "link.safetensors"
        (target.symlink_to if link == "symbolic" else target.hardlink_to)(path)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="is the source itself"):
        scan.convert(path, target, overwrite=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError(28, "No space left")])
def test_an_end_in_the_midst_leaves_nothing(tmp_path, monkeypatch, error):
    path = save({"w": W, "v": torch.ones(9).half()}, tmp_path / "model.pt")
    target = tmp_path / "out.safetensors"
    target.write_bytes(b"old")
    pieces, seen = WRITE._pieces, []

    def breaking(*args):
        if seen:
            raise error
        seen.append(1)
        return pieces(*args)

    monkeypatch.setattr(WRITE, "_pieces", breaking)
    before = tree(tmp_path)
    with pytest.raises(error if isinstance(error, type) else OSError):
        scan.convert(path, target, overwrite=True)
    assert tree(tmp_path) == before


# Planted faults.


def mutants(tmp_path):
    """Each fault, and what must see it."""

    def plain(value, tensors=None):
        def check():
            target = tmp_path / "mutant.safetensors"
            scan.convert(save(value, tmp_path / "mutant.pt"), target, overwrite=True)
            assert target.read_bytes() == expected(tensors or value, tmp_path)

        return check

    def damaged():
        test_a_storage_that_is_damaged(make(tmp_path), "strided")

    def payload():
        test_a_payload_is_refused_and_its_tensors_can_be_had(make(tmp_path), False)

    def form(why):
        return lambda: test_forms_that_safetensors_has_not(make(tmp_path), why, False)

    grid = W.reshape(2, 3)
    yield "strides", WRITE, "is_in_order", lambda tensor: True, plain({"w": grid.t()})
    yield "size", WRITE, "size", lambda tensor: 4, plain({"w": W})
    yield "offset", gather.Axis, "step", 1, plain({"w": grid.t()})
    yield "checksum", WRITE, "_checked", lambda found, key, pieces, beside: pieces, damaged
    yield "marks", forms, "_require_plain_bits", lambda *args: None, form("'conj'")
    yield "state", forms, "_require_harmless", lambda state: None, form("attributes")
    yield "verdict", conversion, "_admitted", scan.files.opened, payload
    yield "order", WRITE, "_RANKS", dict.fromkeys(forms.DTYPES, 0), plain({"b": W, "a": W.half()})


def make(tmp_path):
    folder = tmp_path / os.urandom(4).hex()
    folder.mkdir()
    return folder


def test_planted_faults_are_seen(tmp_path, monkeypatch):
    for name, owner, attribute, mutant, check in mutants(tmp_path):
        check()
        assert killed(monkeypatch, owner, attribute, mutant, check), name
