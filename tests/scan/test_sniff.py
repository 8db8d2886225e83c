"""Files are told apart by their bytes, and no garbage passes for whole, well-formed safetensors."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import re
import struct
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from makers.projects import project, safetensors

from torchkeep import scan
from torchkeep.audit import run
from torchkeep.core.finding import State
from torchkeep.core.source import BytesSource
from torchkeep.scan import Verdict
from torchkeep.scan.sniff import Kind, kinds

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")
st_torch = pytest.importorskip("safetensors.torch")

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(0), "c": torch.tensor(1)}


class Net(torch.nn.Module):
    def forward(self, x):
        return x + 1


def written(function) -> bytes:
    """What ``function`` writes into the file that it is given."""
    out = io.BytesIO()
    function(out)
    return out.getvalue()


def archive(*names: str, data: bytes = b"x") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name in names:
            file.writestr(name, data)
    return out.getvalue()


def exported() -> bytes:
    program = torch.export.export(Net(), (torch.zeros(2),))
    return written(lambda file: torch.export.save(program, file))


def script() -> bytes:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is on its way out, and files of it are not
        return written(lambda file: torch.jit.save(torch.jit.script(Net()), file))


def objects(save) -> bytes:
    return written(lambda file: save(file, np.array([{"a": 1}], dtype=object)))


REAL = {
    "torch": (lambda: written(lambda f: torch.save(WEIGHTS, f)), Kind.ZIP),
    "torch, legacy": (
        lambda: written(lambda f: torch.save(WEIGHTS, f, _use_new_zipfile_serialization=False)),
        Kind.PICKLE,
    ),
    "TorchScript": (script, Kind.ZIP),
    "torch.export": (exported, Kind.ZIP),
    "safetensors": (lambda: st_torch.save(WEIGHTS), Kind.SAFETENSORS),
    "safetensors, metadata": (lambda: st_torch.save(WEIGHTS, {"a": "b"}), Kind.SAFETENSORS),
    "safetensors, no tensors": (lambda: st_torch.save({}), Kind.SAFETENSORS),
    "npy": (lambda: written(lambda f: np.save(f, np.zeros(3))), Kind.NPY),
    "npy of objects": (lambda: objects(np.save), Kind.NPY),
    "npz": (lambda: written(lambda f: np.savez(f, a=np.zeros(3))), Kind.ZIP),
    "npz of objects": (lambda: objects(np.savez), Kind.ZIP),
    "npz, compressed": (lambda: written(lambda f: np.savez_compressed(f, a=[1])), Kind.ZIP),
    **{
        f"pickle {protocol}": (
            lambda protocol=protocol: pickle.dumps({"a": [1]}, protocol),
            (Kind.TEXT, Kind.UNKNOWN, *[Kind.PICKLE] * 4)[protocol],
        )
        for protocol in range(6)
    },
    "gzip": (lambda: gzip.compress(b"x"), Kind.COMPRESSED),
    "bzip2": (lambda: bz2.compress(b"x"), Kind.COMPRESSED),
    "xz": (lambda: lzma.compress(b"x"), Kind.COMPRESSED),
    "gguf": (lambda: b"GGUF" + struct.pack("<IQQ", 3, 0, 0), Kind.GGUF),
    "hdf5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(100), Kind.HDF5),
    "empty": (lambda: b"", Kind.EMPTY),
    "text": (lambda: b"weights\n", Kind.TEXT),
}


PICKLED = {name for name in REAL if re.match("torch|Torch|pickle|.*objects", name)}


def kinds_of(data: bytes) -> tuple[Kind, ...]:
    return kinds(BytesSource(data, "file"))


def passes(data: bytes) -> bool:
    """Whether bytes pass for safetensors: clean, no pickle in them, and nothing else besides."""
    report = scan.data(data, "file.safetensors")
    return (report.verdict, report.has_pickle, report.format) == (
        Verdict.CLEAN,
        False,
        "safetensors",
    )


@pytest.mark.parametrize("name", REAL)
def test_what_real_libraries_write(name):
    make, kind = REAL[name]
    data = make()
    report = scan.data(data, "file.bin")
    assert kinds_of(data) == (kind,)
    assert report.verdict is (Verdict.MALFORMED if name in ("empty", "text") else Verdict.CLEAN)
    assert report.has_pickle == (name in PICKLED)
    assert passes(data) == name.startswith("safetensors")


@pytest.mark.parametrize("name", REAL)
def test_what_is_cut_short_is_never_safe(name):
    data = REAL[name][0]()
    places = {len(data) - 1, len(data) - 8, len(data) // 2, 20, 9, 8, 7, 1, 0}
    for place in places & set(range(len(data))):
        assert not passes(data[:place]), place


@pytest.mark.parametrize("name", REAL)
def test_what_follows_other_bytes_is_never_safe(name):
    for first in (st_torch.save(WEIGHTS), safetensors(), safetensors(a=b"12")):
        data = REAL[name][0]()
        if data:
            assert scan.data(first + data, "file").verdict is not Verdict.CLEAN
            assert not passes(data + first)


def holding(data: bytes) -> bytes:
    """Well-formed safetensors whose one tensor is another file."""
    return safetensors(a=data)


def long_header(length: int, data: bytes = b"") -> bytes:
    """Safetensors with a header of exactly ``length`` bytes."""
    body = safetensors(a=data)
    text = body[8 : 8 + int.from_bytes(body[:8], "little")].ljust(length)
    return length.to_bytes(8, "little") + text + data


# Well-formed safetensors that another loader takes for something else.
TWO_THINGS = {
    "and a zip": holding(archive("archive/data.pkl")),
    "and a zip without its directory's start": holding(archive("archive/data.pkl")[4:]),
    "and a zip with a comment": holding(archive("a/data.pkl")[:-2] + b"\x05\0hello"),
    "that starts as a zip": long_header(0x04034B50, archive("a/data.pkl")),
    "that starts as a pickle": long_header(0x280280),
    "that starts as an opcode with an argument": long_header(0x580280),
}


@pytest.mark.parametrize("name", TWO_THINGS)
def test_what_is_two_things_is_not_safe(name):
    if "starts as" not in name:
        st_torch.load(TWO_THINGS[name])  # it is what it says
    report = scan.data(TWO_THINGS[name], "file")
    assert report.verdict is Verdict.MALFORMED
    # Each loader believes its own reading, so both are there.
    other = Kind.PICKLE if "pickle" in name or "opcode" in name else Kind.ZIP
    assert kinds_of(TWO_THINGS[name]) == (other, Kind.SAFETENSORS)


@pytest.mark.parametrize("length", [0x280, 0x380, 0x480, 0x580, 0x8B18])
def test_the_length_of_a_header_is_no_pickle(length):
    """Lengths whose first bytes are those of a pickle: nobody may be told that they run code."""
    data = long_header(length, b"1234")
    assert set(st_torch.load(data)) == {"a"}
    assert passes(data)


def header(value: object, data: bytes = b"") -> bytes:
    text = (value if isinstance(value, str) else json.dumps(value)).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype: object = "U8", shape: object = (2,), offsets: object = (0, 2), **more) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets} | more


# Header and data.
MALFORMED = [
    ({}, b"x"),
    ({"a": entry()}, b"1"),
    ({"a": entry()}, b"123"),
    ({"a": entry(offsets=(1, 3))}, b"123"),
    ({"a": entry(shape=(3,))}, b"12"),
    ({"a": entry(shape=())}, b"12"),
    ({"a": entry(shape=(-2,))}, b"12"),
    ({"a": entry(shape=(-1, -2))}, b"12"),
    ({"a": entry(shape=(2.0,))}, b"12"),
    ({"a": entry(shape=(True, 2))}, b"12"),
    ({"a": entry(shape="12")}, b"12"),
    ({"a": entry(shape=None)}, b"12"),
    ({"a": entry(shape=(1 << 63, 1 << 63))}, b"12"),
    ({"a": entry(shape=(1 << 64,) * 3 + (0,), offsets=(0, 0))}, b""),
    ({"a": entry(dtype="U9")}, b"12"),
    ({"a": entry(dtype=["U8"])}, b"12"),
    ({"a": entry(dtype=None)}, b"12"),
    ({"a": entry(dtype="F32")}, b"12"),
    ({"a": entry(dtype="F4", shape=(3,))}, b"12"),
    ({"a": entry(offsets=(0,))}, b"12"),
    ({"a": entry(offsets=(0, 1, 2))}, b"12"),
    ({"a": entry(offsets=(0, "2"))}, b"12"),
    ({"a": entry(offsets=(2, 0))}, b"12"),
    ({"a": entry(offsets=(0, 2.0))}, b"12"),
    ({"a": entry(extra=1)}, b"12"),
    ({"a": {"dtype": "U8", "shape": [2]}}, b"12"),
    ({"a": []}, b""),
    ({"a": None}, b""),
    ({"a": entry(), "b": entry()}, b"12"),  # one over the other
    ({"a": entry(), "b": entry(offsets=(1, 3))}, b"123"),
    ({"a": entry(), "b": entry(offsets=(3, 5))}, b"12345"),
    ({"__metadata__": 1}, b""),
    ({"__metadata__": {"a": 1}}, b""),
    ({"__metadata__": {"a": {"b": "c"}}}, b""),
    ({"__metadata__": []}, b""),
    ({"__metadata__": [1]}, b""),
    ({"__metadata__": ["ab", ["a", "b"]]}, b""),  # pairs, and no object
    ({"a": list(entry().items())}, b"12"),
    ({"a": [1, 2, 3]}, b"12"),
    ('{"a": 1, "a": 1}', b""),
    ('{"__metadata__": {}, "__metadata__": {}}', b""),
    ('{"a": NaN}', b""),
    ("{", b""),
    ("{}x", b""),
    ('{"a":' + "[" * 100_000, b""),
    ("{\udc00}".encode("utf-8", "surrogatepass").decode("latin-1"), b""),
    ("[]", b""),
    (' {"__metadata__": {}}', b""),
    ("\ufeff{}", b""),
]


@pytest.mark.parametrize(("value", "data"), MALFORMED)
def test_malformed_safetensors_are_not_safe(value, data):
    report = scan.data(header(value, data), "file.safetensors")
    assert report.verdict in (Verdict.MALFORMED, Verdict.NOT_SCANNED)


@pytest.mark.timeout(60)
def test_a_tensor_of_a_million_dimensions_is_no_work():
    """Their product would have sixty million digits in base two."""
    data = header({"a": entry(shape=[1 << 62] * 1_000_000)}, b"12")
    assert scan.data(data, "file").verdict is Verdict.MALFORMED


@pytest.mark.parametrize(
    "length", [0, 1, 7, 11, 1 << 31, 1 << 63, (1 << 64) - 1, 100_000_001, 2**64 - 8]
)
def test_a_wrong_length_of_the_header_is_not_safe(length):
    report = scan.data(length.to_bytes(8, "little") + b"{}", "file.safetensors")
    assert report.verdict in (Verdict.MALFORMED, Verdict.NOT_SCANNED)


def test_utf_16_is_not_the_header_of_safetensors():
    text = "{}".encode("utf-16-le")
    data = len(text).to_bytes(8, "little") + text
    assert scan.data(data, "file.safetensors").verdict is Verdict.NOT_SCANNED


END = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 46, 0, 0)
BAD_ARCHIVES = {
    "many disks": struct.pack("<4sLQL", b"PK\6\7", 1, 0, 2) + END,
    "a directory beyond the end": END,
    "a directory beyond all numbers": b"".join(
        [
            struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, 46, 2**64 - 1),
            struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1),
            struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0),
        ]
    ),
    "a name that is no UTF-8": archive("ä.pkl").replace("ä".encode(), b"\xff\xff"),
    "an encrypted directory": archive("a.pkl")[:40] + END,
    "only its first bytes": b"PK\3\4",
}


@pytest.mark.parametrize("name", BAD_ARCHIVES)
def test_a_bad_archive_is_an_archive(name):
    assert kinds_of(BAD_ARCHIVES[name]) == (Kind.ZIP,)
    assert scan.data(BAD_ARCHIVES[name], "file").verdict is Verdict.MALFORMED
    if name != "only its first bytes":  # which are nothing where they are not the first
        assert not passes(holding(BAD_ARCHIVES[name]))


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=400),
        st.tuples(
            st.sampled_from(
                [make() for make, _ in list(REAL.values())[4:6]] + [*BAD_ARCHIVES.values()]
            ),
            st.integers(0, 400),
            st.binary(max_size=4),
        ).map(lambda given: given[0][: given[1]] + given[2] + given[0][given[1] + 1 :]),
    )
)
def test_no_bytes_are_an_error(data):
    if passes(data):
        st_torch.load(data)  # the library agrees


def test_in_an_audit_no_garbage_passes(tmp_path):
    files = {f"{name}.bin": make() for name, (make, _) in REAL.items()}
    files |= {f"{n}.safetensors": header(*case) for n, case in enumerate(MALFORMED[:20])}
    report = run(project(tmp_path, files))
    formats, contents = (
        {f.subject: f.state for f in report.findings if f.rule == rule}
        for rule in ("TK-SCAN-001", "TK-SCAN-002")
    )
    assert formats.keys() == contents.keys() == set(files)
    garbage = {"empty.bin", "text.bin", *(name for name in files if name.endswith(".safetensors"))}
    assert {name for name, state in contents.items() if state is State.FAIL} == garbage
    assert {n for n, state in contents.items() if state is State.PASS} == set(files) - garbage
    pickled = {f"{name}.bin" for name in PICKLED}
    assert {name for name, state in formats.items() if state is State.WARN} == pickled


def test_the_first_key_of_a_model_may_be_longer_than_it_need_be():
    graph = b"\x3a\x07\x0a\x05\x0a\x01x\x22\x00"
    for version in (b"\x08\x08", b"\x88\x00\x08", b"\x88\x80\x00\x08"):
        assert kinds(BytesSource(version + graph)) == (Kind.ONNX,)
    assert kinds(BytesSource(b"\x78\x08" + graph)) != (Kind.ONNX,)
