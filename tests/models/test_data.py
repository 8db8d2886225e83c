from __future__ import annotations

import contextlib
import gzip
import io
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import polars
import pytest
import torch
from PIL import Image

from torchkeep import models
from torchkeep.core.errors import Foreign, ProjectError, SourceError, TorchkeepError, UsageError
from torchkeep.models import bounded

X = np.linspace(0, 1, 12, dtype=np.float32).reshape(4, 3)
Y = np.array([0, 1, 1, 0])


def npz(**arrays) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def idx(array: np.ndarray, number: int = 0x08, dtype: str = ">u1") -> bytes:
    head = struct.pack(f">HBB{array.ndim}I", 0, number, array.ndim, *array.shape)
    return head + array.astype(dtype).tobytes()


def read(make, entry: str, files: dict[str, bytes], **options) -> models.TestSet:
    project = make(entry, **options)
    for name, data in files.items():
        (project.root / name).parent.mkdir(parents=True, exist_ok=True)
        (project.root / name).write_bytes(data)
    return models.test_data(project, "m")


# NumPy archives.


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(make, save):
    out = io.BytesIO()
    save(out, x=np.asfortranarray(X.astype(np.float64)), y=Y.astype(np.uint8).reshape(4, 1))
    found = read(make, 'test = "t.npz"\nrange = [0, 1]\nclasses = 2', {"t.npz": out.getvalue()})
    assert found.x.dtype is torch.float32
    assert found.y.dtype is torch.int64
    assert torch.equal(found.x, torch.from_numpy(X))
    assert found.y.tolist() == [0, 1, 1, 0]
    assert found.content == models.content_of({"x": torch.from_numpy(X), "y": torch.from_numpy(Y)})


def test_npz_names_and_limit(make):
    data = npz(images=X, labels=Y, other=np.zeros(3))
    entry = 'test = { path = "t.npz", x = "images", y = "labels", limit = 3 }'
    found = read(make, entry, {"t.npz": data})
    assert found.x.tolist() == X[:3].tolist()
    assert found.y.tolist() == [0, 1, 1]
    with pytest.raises(UsageError, match=r"has no array x; it has: images, labels, other"):
        read(make, 'test = "t.npz"', {"t.npz": data})
    with pytest.raises(UsageError, match="must each name one array"):
        read(make, 'test = { path = "t.npz", x = ["a", "b"] }', {"t.npz": data})


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.arange(4, dtype=">i4"), torch.int64),
        (np.arange(4, dtype=np.uint16), torch.int64),
        (np.arange(4, dtype=np.float16), torch.float32),
        (np.arange(4) > 1, torch.bool),
        (np.arange(4, dtype=np.uint8), torch.float32),
    ],
    ids=str,
)
def test_npz_numbers(make, array, dtype):
    found = read(make, 'test = "t.npz"\nrange = [0, 255]', {"t.npz": npz(x=array, y=Y)})
    assert found.x.dtype is dtype
    assert found.x.tolist() == array.tolist()


def test_bytes_are_pixels(make):
    pixels = np.array([0, 51, 255, 102], dtype=np.uint8).reshape(1, 2, 2)
    files = {"t.npz": npz(x=pixels, y=Y[:1])}
    found = read(make, 'test = "t.npz"\nrange = [-1, 2]', files)
    assert found.x.shape == (1, 1, 2, 2)
    torch.testing.assert_close(found.x.flatten(), torch.tensor([-1.0, -0.4, 2.0, 0.2]))
    assert read(make, 'test = "t.npz"', files).x.flatten().tolist()[2] == 1.0


def test_rounding_leads_no_pixel_out_of_the_range(make):
    files = {"t.npz": npz(x=np.array([[0, 255]], dtype=np.uint8), y=Y[:1])}
    assert (torch.tensor(1.0) * 3.2 - 3.0).item() > torch.tensor(0.2).item()
    found = read(make, 'test = "t.npz"\nrange = [-3, 0.2]', files)
    assert found.x.max().item() == torch.tensor(0.2).item()


def test_object_arrays_are_never_unpickled(make, recorder, marker):
    class Planted:
        def __reduce__(self):
            import os

            return os.mkdir, (str(marker),)

    data = npz(x=np.array([Planted()], dtype=object), y=Y[:1])
    with pytest.raises(Foreign, match=r"x in .* holds objects, which are pickles and never loaded"):
        read(make, 'test = "t.npz"', {"t.npz": data})
    assert not marker.exists()
    with np.load(io.BytesIO(data), allow_pickle=True) as loaded:
        loaded["x"]
    assert marker.exists()


def member(header: str | bytes, body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode() if isinstance(header, str) else header
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        head = b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text
        archive.writestr("x.npy", head + body)
        archive.writestr("y.npy", b"")
    return out.getvalue()


HEADER = "{'descr': %r, 'fortran_order': False, 'shape': %s, }\n"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"PK\x03\x04 nothing", "is damaged"),
        (npz(x=X, y=Y)[:-40], "is damaged"),
        (npz(x=X, y=Y).replace(X.tobytes()[:40], bytes(40)), "is damaged"),
        (member(HEADER % ("<f4", "(1000000000000,)"), bytes(16)), "its length is not what"),
        (member(HEADER % ("<f4", "(1000,)"), bytes(16)), "its length is not what"),
        (member(HEADER % ("<f4", "(2,)"), bytes(16)), "its length is not what"),
        (member(HEADER % ("<f4", "(-4,)"), bytes(16)), "damaged"),
        (member(HEADER % ("<f4", "()"), bytes(4)), "is one number"),
        (member(HEADER % ("<U4", "(1,)"), bytes(16)), "holds <U4; expected numbers"),
        (member(HEADER % ("<M8[s]", "(2,)"), bytes(16)), "expected numbers"),
        (member(HEADER % ("<c8", "(2,)"), bytes(16)), "holds complex64; expected numbers"),
        (member(HEADER % ([("a", "<f4")], "(4,)"), bytes(16)), "expected numbers"),
        (member("__import__('os')\n"), "no NumPy array"),
        (member("{'a': 1}\n"), "no NumPy array"),
        (member("", version=b"\x03\x00"), "no NumPy array"),
        (member("", version=b"\x09\x09"), "no NumPy array"),
    ],
)
def test_damaged_npz(make, data, said):
    with pytest.raises(Foreign, match=said):
        read(make, 'test = "t.npz"', {"t.npz": data})


def test_npz_bomb(make, monkeypatch):
    monkeypatch.setattr(bounded, "LIMIT", 1 << 20)
    data = member(HEADER % ("<f4", "(1000000,)"), bytes(4_000_000))
    assert len(data) < 10_000
    with pytest.raises(Foreign, match=r"unpacks to 4,000,\d+ bytes, more than the 1,048,576"):
        read(make, 'test = "t.npz"', {"t.npz": data})


# IDX.

PICTURES = np.arange(60, dtype=np.uint8).reshape(5, 3, 4)
LABELS = np.array([3, 1, 4, 1, 5], dtype=np.uint8)
IDX = 'test = { path = "d", x = "x.gz", y = "y" }\nrange = [0, 1]'


@pytest.mark.parametrize("limit", ["", ", limit = 2", ", limit = 99"])
def test_idx(make, limit):
    files = {"d/x.gz": gzip.compress(idx(PICTURES)), "d/y": idx(LABELS)}
    found = read(make, IDX.replace(" }", limit + " }"), files)
    count = 2 if limit == ", limit = 2" else 5
    assert found.x.shape == (count, 1, 3, 4)
    torch.testing.assert_close(found.x[1, 0, 0, 0].item(), 12 / 255)
    assert found.y.tolist() == LABELS[:count].tolist()


@pytest.mark.parametrize(
    ("number", "dtype"), [(0x09, ">i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")]
)
def test_idx_numbers(make, number, dtype):
    array = np.array([[1, -2], [3, 4]])
    files = {"d/x.gz": idx(array, number, dtype), "d/y": idx(LABELS[:2])}
    found = read(make, IDX.replace("range", "classes = 5 #"), files)
    assert found.x.tolist() == array.tolist()


GOOD = idx(PICTURES)
PACKED = gzip.compress(GOOD, mtime=0)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it ends 4 bytes too early"),
        (b"\x00\x00\x08", "it ends 1 bytes too early"),
        (b"\x89PNG", "is no IDX file: it starts with 89504e47"),
        (b"\x00\x00\x07\x03" + GOOD[4:], "is no IDX file"),
        (b"\x00\x00\x08\x00" + GOOD[4:], "is no IDX file"),
        (b"\x00\x00\x08\xff" + GOOD[4:], "bytes too early"),
        (GOOD[:-1], "it ends 1 bytes too early"),
        (GOOD + b"x", "more bytes follow than its header says"),
        (
            struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1),
            "unpacks to 79,228,162,458,924,105",
        ),
        (
            struct.pack(">HBB3I", 0, 8, 3, 5, 10_000, 10_000) + bytes(60),
            "it ends [1-4]99,999,940 bytes",
        ),
        (PACKED[:-12], "is damaged"),
        (PACKED[:40] + b"\xff\xff\xff\xff" + PACKED[44:], "is damaged"),
        (gzip.compress(GOOD + bytes(9), mtime=0), "more bytes follow"),
        (gzip.compress(GOOD, mtime=0) + b"tail of no meaning", "is damaged"),
    ],
)
@pytest.mark.parametrize("limit", ["", ", limit = 2"])
def test_damaged_idx(make, data, said, limit):
    files = {"d/x.gz": data, "d/y": idx(LABELS)}
    with pytest.raises(Foreign, match=said):
        read(make, IDX.replace(" }", limit + " }"), files)


@pytest.mark.parametrize("header", [GOOD[:4] + bytes(12), GOOD[:16]])
def test_gzip_bomb(make, header, monkeypatch):
    """Unpacking stops where the header says that the data ends."""
    monkeypatch.setattr(bounded, "LIMIT", 1 << 20)
    bomb = gzip.compress(header + bytes(200_000_000), compresslevel=1)
    assert len(bomb) < bounded.LIMIT
    chunks = []
    real = bounded._chunk
    monkeypatch.setattr(bounded, "_chunk", lambda *args: chunks.append(real(*args)) or chunks[-1])
    with pytest.raises(Foreign, match="more bytes follow"):
        read(make, IDX, {"d/x.gz": bomb, "d/y": idx(LABELS)})
    assert sum(map(len, chunks)) < 3 << 20


def test_a_file_over_the_limit(make, monkeypatch):
    monkeypatch.setattr(bounded, "LIMIT", 10)
    with pytest.raises(SourceError, match="larger than the 10 bytes"):
        read(make, 'test = "t.npz"', {"t.npz": npz(x=X, y=Y)})


@pytest.mark.parametrize("entry", ['x = "x"', 'y = "y"', 'x = ["x", "z"], y = "y"'])
def test_a_folder_needs_both_names(make, entry):
    with pytest.raises(UsageError, match="must each name one IDX file"):
        read(make, f'test = {{ path = "d", {entry} }}', {"d/x": idx(PICTURES)})


# Tables.

FRAME = {"a": [1, 2, 3], "b": [0.5, 0.25, 0.125], "c": [True, False, True], "y": [0, 2, 1]}


def table(kind: str, **changes) -> bytes:
    out = io.BytesIO()
    frame = polars.DataFrame(FRAME | changes)
    frame.write_csv(out) if kind == "csv" else frame.write_parquet(out)
    return out.getvalue()


@pytest.mark.parametrize("name", ["t.csv", "t.CSV", "t.parquet", "t"])
def test_table(make, name):
    data = table("csv" if "csv" in name.lower() else "parquet")
    found = read(make, f'test = "{name}"\nclasses = 3', {name: data})
    assert found.x.tolist() == [[1, 0.5, 1], [2, 0.25, 0], [3, 0.125, 1]]
    assert found.x.dtype is torch.float32
    assert found.x.is_contiguous()
    assert found.y.tolist() == [0, 2, 1]


def test_types_of_columns_come_from_all_rows(make):
    data = b"a,y\n" + b"1,0\n" * 500 + b"2.5,1\n"
    assert read(make, 'test = "t.csv"', {"t.csv": data}).x[-1].item() == 2.5


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_table_columns_and_limit(make, kind):
    entry = f'test = {{ path = "t.{kind}", x = ["b", "a"], y = "c", limit = 2 }}'
    found = read(make, entry, {f"t.{kind}": table(kind)})
    assert found.x.tolist() == [[0.5, 1], [0.25, 2]]
    assert found.y.tolist() == [1, 0]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("entry", "changes", "error", "said"),
    [
        ("", {"y": ["no", "yes", "no"]}, UsageError, "columns that are not numbers: y"),
        ("", {"a": ["u", "v", "w"]}, UsageError, "columns that are not numbers: a"),
        (', x = ["a", "z"]', {}, UsageError, "has no column z; it has: a, b, c, y"),
        (', y = "z"', {}, UsageError, "has no column z"),
        ("", {"a": [1, None, 3]}, Foreign, "rows without a value in a"),
        ("", {"y": [1, None, 0]}, Foreign, "rows without a value in y"),
        ("", {"a": [1.0, float("inf"), 3.0]}, Foreign, "numbers that are not finite"),
        ("", {"a": [1.0, 1e300, 3.0]}, Foreign, "numbers that are not finite"),
        ("", {"y": [0.0, 0.5, 1.0]}, Foreign, "classes are not whole numbers"),
        ("", {"y": [float("nan"), 0.0, 1.0]}, Foreign, "classes are not whole numbers"),
    ],
)
def test_tables_that_do_not_do(make, kind, entry, changes, error, said):
    files = {f"t.{kind}": table(kind, **changes)}
    with pytest.raises(error, match=said) as caught:
        read(make, f'test = {{ path = "t.{kind}"{entry} }}', files)
    if "not numbers" in said:
        assert "callable" in caught.value.next


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("t.csv", b""),
        ("t.csv", b"a,y\n1,2\n3,4,5\n"),
        ("t.csv", b"\xff\xfe\x00\x00a,y\n1\n"),
        ("t.parquet", b"PAR1"),
        ("t.parquet", table("parquet")[:-10]),
        ("t.parquet", table("parquet").replace(b"y", b"\xff")),
    ],
)
def test_damaged_tables(make, name, data):
    with pytest.raises((Foreign, UsageError)):
        read(make, f'test = "{name}"', {name: data})


def test_parquet_bomb(make, monkeypatch):
    monkeypatch.setattr(bounded, "LIMIT", 1 << 20)
    out = io.BytesIO()
    polars.DataFrame({"a": np.zeros(3_000_000), "y": np.zeros(3_000_000)}).write_parquet(out)
    assert len(out.getvalue()) < 1 << 20
    with pytest.raises(Foreign, match="unpacks to 24,000,000 bytes"):
        read(make, 'test = "t.parquet"', {"t.parquet": out.getvalue()})
    entry = 'test = { path = "t.parquet", limit = 10 }'
    assert len(read(make, entry, {"t.parquet": out.getvalue()}).x) == 10


# Pictures.


def picture(color, size=(4, 3), mode: str = "RGB", form: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, color).save(out, form)
    return out.getvalue()


def test_pictures(make):
    files = {
        "d/cat/b.png": picture((0, 51, 255)),
        "d/cat/a.bmp": picture((255, 0, 0), form="BMP"),
        "d/ant/z.png": picture((51, 51, 51)),
        "d/.hidden/x.png": b"",
        "d/ant/.DS_Store": b"",
        "d/README.txt": b"not a class",
    }
    found = read(make, 'test = "d"\nrange = [0, 5]\nclasses = 2', files)
    assert found.x.shape == (3, 3, 3, 4)
    assert found.y.tolist() == [0, 1, 1]
    assert found.x[:, :, 0, 0].tolist() == [[1, 1, 1], [5, 0, 0], [0, 1, 5]]


def test_limited_pictures_are_of_all_classes(make):
    files = {f"d/{name}/{n}.png": picture(n, mode="L") for name in "abc" for n in range(5)}
    found = read(make, 'test = { path = "d", limit = 7 }', files)
    assert found.x.shape == (7, 1, 3, 4)
    assert found.y.tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_palettes_become_rgb(make):
    data = Image.new("RGB", (2, 2), (10, 20, 30)).convert("P", palette=Image.Palette.ADAPTIVE)
    out = io.BytesIO()
    data.save(out, "PNG")
    found = read(make, 'test = "d"\nrange = [0, 255]', {"d/a/x.png": out.getvalue()})
    assert found.x[0, :, 0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"d/x.png": picture((1, 2, 3))}, "holds no pictures in subfolders"),
        ({"d/a/x.png": picture((1, 2, 3)), "d/b/y.png": picture((1, 2, 3), (5, 3))}, "5x3 RGB"),
        ({"d/a/x.png": picture((1, 2, 3)), "d/b/y.png": picture(7, mode="L")}, "4x3 grey"),
        ({"d/a/x.png": picture(0, mode="RGBA")}, "has the mode RGBA"),
        ({"d/a/x.png": picture(0, mode="I;16")}, "has the mode I;16"),
        ({"d/a/x.png": picture(0, mode="LA")}, "has the mode LA"),
        ({"d/a/x.gif": picture(0, form="GIF")}, "is no picture that Pillow can read"),
        ({"d/a/x.png": picture((1, 2, 3))[:-30]}, "is no picture that Pillow can read"),
        ({"d/a/x.png": b"%!PS-Adobe-3.0 EPSF-3.0"}, "is no picture that Pillow can read"),
        ({"d/a/Thumbs.db": b"text"}, "is no picture that Pillow can read"),
        ({"d/a/deeper/x.png": picture((1, 2, 3))}, "is not a regular file|cannot be read"),
    ],
)
def test_folders_that_do_not_do(make, files, said):
    with pytest.raises(Foreign, match=said):
        read(make, 'test = "d"', files)


def test_picture_bombs(make, monkeypatch):
    bomb = picture(0, (10_000, 10_000), mode="1")
    assert len(bomb) < 100_000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(Foreign, match="could be decompression bomb"):
            read(make, 'test = "d"', {"d/a/x.png": bomb})
    monkeypatch.setattr(bounded, "LIMIT", 1000)
    files = {f"d/a/{n}.png": picture(0, (10, 10), mode="L") for n in range(11)}
    with pytest.raises(Foreign, match="unpacks to 1,100 bytes"):
        read(make, 'test = "e"', {name.replace("d/", "e/"): data for name, data in files.items()})


# Callables.

CALL = "import numpy as np\nimport torch\n\n\ndef test():\n    return {}\n"


@pytest.mark.parametrize(
    "body",
    [
        "torch.ones(3, 2, requires_grad=True) * 1, torch.tensor([0, 1, 0])",
        "[np.ones((3, 2)), np.array([0, 1, 0])]",
        "[[1.0, 1], [1, 1], [1, 1]], [0.0, 1.0, 0.0]",
    ],
)
@pytest.mark.parametrize("limit", [None, 2])
def test_callable(make, body, limit):
    test = f'{{ call = "model:test", limit = {limit} }}' if limit else '"model:test"'
    found = read(make, f"test = {test}", {}, model=CALL.format(body))
    assert found.x.tolist() == [[1, 1]] * (limit or 3)
    assert found.x.dtype is torch.float32
    assert not found.x.requires_grad
    assert found.y.tolist() == [0, 1, 0][: limit or 3]


def test_what_a_callable_returns_is_not_stretched(make):
    body = "torch.tensor([[0, 255]], dtype=torch.uint8), torch.tensor([1])"
    found = read(make, 'test = "model:test"', {}, model=CALL.format(body))
    assert found.x.tolist() == [[0, 255]]


@pytest.mark.parametrize(
    ("body", "error", "said"),
    [
        ("7", UsageError, "model:test returned int, expected two tensors or arrays"),
        ("torch.ones(2), torch.ones(2), 1", UsageError, "returned tuple, expected two"),
        ("'ab', 'cd'", UsageError, "returned something that is no array"),
        ("1 / 0", UsageError, r"failed in model:test\(\): ZeroDivisionError"),
        ("torch.ones(3, 2), torch.ones(2)", Foreign, "3 samples and 2 classes"),
        ("torch.ones(0, 2), torch.ones(0)", Foreign, "it has no samples"),
        ("torch.ones(2, 0), torch.ones(2)", Foreign, "it has no samples"),
        ("torch.ones(2, 3), torch.ones(2, 3)", Foreign, r"classes of shape \[2, 3\]"),
        ("torch.ones(1, 2) / 0, torch.ones(1)", Foreign, "not finite"),
        ("torch.ones(1, 2) * 1j, torch.ones(1)", Foreign, "expected ordinary numbers"),
        ("torch.ones(1, 2), torch.ones(1) * 1j", Foreign, "expected ordinary numbers"),
        ("torch.ones(1, 2), torch.ones(1) * 1.5", Foreign, "not whole numbers"),
        (
            "torch.ones(2, 2), torch.tensor([-1, 1])",
            Foreign,
            "classes from -1 to 1, expected 0 to 2",
        ),
        ("torch.ones(2, 2), torch.tensor([0, 3])", Foreign, "classes from 0 to 3, expected 0 to 2"),
        ("torch.ones(1, 2) * 2, torch.ones(1)", Foreign, "inputs from 2 to 2, expected 0 to 1"),
        (
            "-torch.ones(1, 2).int(), torch.ones(1)",
            Foreign,
            "inputs from -1 to -1, expected 0 to 1",
        ),
        ("torch.ones(()), torch.ones(())", None, ""),
    ],
)
def test_callables_that_do_not_do(make, body, error, said):
    entry = 'test = "model:test"\nrange = [0, 1]\nclasses = 3'
    if error is None:
        assert read(make, entry, {}, model=CALL.format(body)).x.tolist() == [1]
        return
    with pytest.raises(error, match=said):
        read(make, entry, {}, model=CALL.format(body))


def test_bounds_are_numbers_of_that_kind(make):
    entry = 'test = "model:test"\nrange = [0.1, 0.3]'
    body = "torch.tensor([[0.1, 0.3]]), torch.tensor([0])"
    assert float(torch.tensor(0.3)) > 0.3
    assert read(make, entry, {}, model=CALL.format(body))
    body = "torch.tensor([[0.1, 0.3000001]]), torch.tensor([0])"
    with pytest.raises(Foreign, match="inputs from"):
        read(make, entry, {}, model=CALL.format(body), folder="other")


# Entries.


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("", "models.m: names no test data"),
        ("test = {}", r"models.m.test: expected one of `path` and `call`"),
        ('test = { path = "t.npz", call = "model:build" }', "expected one of `path` and `call`"),
    ],
)
def test_wrong_entries(make, entry, said):
    with pytest.raises(ProjectError, match=said):
        read(make, entry, {})


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("t.pt", b"\x80\x02}.", "is no test data that torchkeep reads"),
        ("t.txt", b"1,2", "is no test data that torchkeep reads"),
        ("t", b"", "is no test data that torchkeep reads"),
        ("t", idx(PICTURES), "a folder with IDX files that"),
    ],
)
def test_other_files(make, name, data, said):
    with pytest.raises(Foreign, match=said):
        read(make, f'test = "{name}"', {name: data})


@pytest.mark.parametrize("test", ['"absent.npz"', '{ path = "d", x = "absent", y = "y" }'])
def test_absent_files(make, test):
    with pytest.raises(SourceError, match="absent"):
        read(make, f"test = {test}", {"d/y": idx(LABELS)})


def test_no_such_model(make):
    with pytest.raises(UsageError, match="names no model 'x'"):
        models.test_data(make(), "x")


def test_noise_of_any_kind_ends_in_an_error_of_ours(make, tmp_path: Path):
    """Every format, with bytes of its body exchanged."""
    rng = np.random.default_rng(0)
    bodies = {
        "t.npz": npz(x=X, y=Y),
        "t.csv": table("csv"),
        "t.parquet": table("parquet"),
        "d/a/x.png": picture((1, 2, 3)),
    }
    for name, body in bodies.items():
        entry = 'test = "d"' if name.startswith("d/") else f'test = "{name}"'
        for _ in range(60):
            data = bytearray(body)
            for _ in range(3):
                data[rng.integers(4, len(data))] = rng.integers(256)
            with contextlib.suppress(TorchkeepError):
                read(make, entry, {name: bytes(data)})
