from pathlib import Path

import pytest
from doubles.scanning import FLAGGED, look, verdict
from doubles.streams import call, name, text

from torchkeep.scan.verdict import Verdict

FIXTURES = sorted(Path(__file__).with_name("fixtures").glob("*.joblib"))


def wrapper(*, code="u1", state=b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t", shape=b"K\x08\x85",
            align=b"", kind="NumpyArrayWrapper", module="joblib.numpy_pickle"):  # fmt: skip
    return (
        name(module, kind) + b")\x81}(" + text("subclass") + name("numpy", "ndarray")
        + text("shape") + shape + text("order") + text("C") + text("dtype")
        + name("numpy", "dtype") + text(code) + b"\x89\x88\x87R(K\x03" + text("|") + b"NNN" + state
        + b"b" + align + b"ub"
    )  # fmt: skip


def stream(*parts):
    return b"\x80\x04" + b"".join(parts) + b"."


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
def test_what_joblib_writes_is_clean(path):
    assert len(FIXTURES) == 8
    report = look(path.read_bytes(), path.name)
    assert (report.verdict, report.issues) == (Verdict.CLEAN, [])


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
def test_cut_short(path):
    data = path.read_bytes()
    assert verdict(data[: len(data) * 2 // 3], path.name) is Verdict.MALFORMED


def test_the_stream_goes_on_behind_the_array():
    assert verdict(stream(wrapper(), bytes(8))) is Verdict.CLEAN
    behind = call("os", "system")[2:-1]
    assert verdict(stream(wrapper(), bytes(8), b"0", behind)) is Verdict.DANGEROUS


def test_an_array_of_objects_is_followed():
    objects = wrapper(code="O8", state=b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ft")
    assert verdict(stream(objects, stream(b"N"))) is Verdict.CLEAN
    assert verdict(stream(objects, call("os", "system"))) is Verdict.DANGEROUS


ODD = {
    "objects that are called numbers": wrapper(state=b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x01t"),
    "numbers that are called objects": wrapper(
        code="O8", state=b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
    ),
    "two sizes": wrapper(code="V8", state=b"K\x10K\x01K\x00t"),
    "negative": wrapper(shape=b"J\xff\xff\xff\xff\x85"),
    "huge": wrapper(shape=b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85"),
    "no shape": wrapper(shape=b"N"),
    "no such type": wrapper(code="T8"),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_types_that_contradict_themselves(odd):
    assert verdict(stream(odd, bytes(8))) in FLAGGED


def test_within_a_frame():
    """joblib reads the array from behind the frame, and goes on in the frame afterwards."""
    body = wrapper() + bytes(8) + b"."
    data = b"\x80\x04\x95" + len(body).to_bytes(8, "little") + body
    assert verdict(data) is Verdict.MALFORMED


def test_files_beside_the_file():
    old = wrapper(kind="NDArrayWrapper", module="joblib.numpy_pickle")
    assert verdict(stream(old)) is Verdict.NEEDS_REVIEW
