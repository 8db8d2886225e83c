"""Names that the policy lists, put to a use that they are not listed for: never called clean."""

from __future__ import annotations

import struct

import pytest
from doubles.scanning import verdict
from doubles.streams import call, name, text

from torchkeep.scan.verdict import Verdict

EVAL = name("torch.storage", "_load_from_bytes")
MEMMAP = name("numpy", "memmap")
LINEAR = name("torch.nn.modules.linear", "Linear") + b")\x81"


def pairs(**values: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u"


def made(module: str, attribute: str, *args: bytes) -> bytes:
    return name(module, attribute) + b"(" + b"".join(args) + b"tR"


def number(value: int) -> bytes:
    data = value.to_bytes(16, "little")
    return b"\x8a" + bytes([len(data)]) + data


FILE = pairs(filename=text("/tmp/x"), mode=text("w+"), shape=b"K\x08\x85")
KWARGS = name("pandas", "Index") + b")" + pairs(data=EVAL) + b"\x92"
CTOR = name("numpy.random._pickle", "__bit_generator_ctor")
PACKED = name("torch", "ScriptObject") + b")\x81"

CALLS = {
    # Before pandas 3, Index.__new__ of whatever class it was given: the file is overwritten.
    "a file written": made("pandas.core.indexes.base", "_new_Index", MEMMAP, FILE),
    "a file opened": made("numpy.random._pickle", "__generator_ctor", text("/tmp/x"), MEMMAP),
    "a class of torch called": made(
        "numpy.random._pickle", "__randomstate_ctor", text("x"), name("torch", "Tensor")
    ),
    "three arguments": made("numpy.random._pickle", "__generator_ctor", b"NNN"),
    "a function in a dict": made(
        "pandas.core.indexes.base", "_new_Index", name("pandas", "Index"), pairs(data=EVAL)
    ),
    "a function in keywords": KWARGS,
    "a function that is only kept": made(
        "sklearn.feature_selection._univariate_selection", "f_classif", b"NN"
    ),
    "a kept function as an argument": made(
        "types", "SimpleNamespace", name("sklearn.cluster._kmeans", "_kmeans_single_lloyd")
    ),
    "memmap itself": made("numpy", "memmap", text("/tmp/x")),
    "an array of memmap": made(
        "numpy.core.multiarray", "_reconstruct", MEMMAP, b"K\0\x85", b"C\1b"
    ),
}
HOOKS = made("collections", "OrderedDict") + b"K\0" + EVAL + b"s"
KEPT = {
    # Weights become bytes, and bytes a pickle, when the model is used.
    "a layer": LINEAR + pairs(_modules=pairs(a=EVAL)) + b"b",
    "forward": LINEAR + pairs(forward=EVAL) + b"b",
    "a hook": LINEAR + pairs(_forward_hooks=HOOKS) + b"b",
    "state before the last one": LINEAR + pairs(forward=EVAL) + b"b}b",
    "a transformer": name("sklearn.preprocessing._function_transformer", "FunctionTransformer")
    + b")\x81" + pairs(func=EVAL) + b"b",
    "a file": LINEAR + pairs(forward=MEMMAP) + b"b",
    "a list": b"](" + EVAL + b"e",
    "a tuple": b"((" + EVAL + b"tt",
    "a key": b"}" + EVAL + b"Ns",
    "the pickle": EVAL,
    "a deque": made("collections", "deque") + EVAL + b"a",
    "a hook of a tensor": name("torch._utils", "_rebuild_parameter") + b"(N\x89" + pairs(a=EVAL)
    + b"tR",
    "beside an allowed function": made(
        "numpy.random._pickle", "__generator_ctor", text("MT19937"), CTOR
    ) + EVAL + b"\x86",
    "state of a quantized layer": PACKED + b"(" + EVAL
    + text("__torch__.torch.classes.quantized.LinearPackedParamsBase") + b"tb",
}  # fmt: skip
STATES = {
    "another class": PACKED + b"(N" + text("__torch__.torch.classes.c10d.ProcessGroup") + b"tb",
    "no class": PACKED + b"(N]tb",
    "no tuple": PACKED + b"}b",
    "an argument": name("torch", "ScriptObject") + b"(" + text("x") + b"tR",
}
MUCH = {
    "bytearray": made("builtins", "bytearray", number(1 << 40)),
    "bytes": made("builtins", "bytes", number(1 << 40)),
    "storage": made("torch.storage", "UntypedStorage", number(1 << 45)),
    "list of a range": made("builtins", "list", made("builtins", "range", number(1 << 40))),
    "deque of a range": made("collections", "deque", made("builtins", "range", number(1 << 40))),
    "int of a decimal": made("builtins", "int", made("decimal", "Decimal", text("1E+999999999"))),
    "fraction": made("fractions", "Fraction", text("1e999999999")),
    "fraction behind much space": made(
        "fractions", "Fraction", text(" " * (2 << 20) + "1e999999999")
    ),
    "fraction, spelled": made("fractions", "Fraction", text("1E+9_9_9_9_9_9_9")),
}


@pytest.mark.parametrize("body", [*CALLS.values(), *STATES.values(), *MUCH.values()],
                         ids=[*CALLS, *STATES, *MUCH])  # fmt: skip
def test_calls(body):
    assert verdict(b"\x80\x04" + body + b".") is Verdict.DANGEROUS
    assert verdict(b"\x80\x04" + body + b"0N.") is Verdict.DANGEROUS  # and nothing is kept


@pytest.mark.parametrize("body", KEPT.values(), ids=KEPT)
@pytest.mark.parametrize("depth", [0, 3, 40_000])
def test_functions_that_are_kept(body, depth):
    """Called with whatever the model computes, long after the file was loaded."""
    assert verdict(b"\x80\x04" + body + b"\x85" * depth + b".") is Verdict.DANGEROUS


def long_text(data: bytes) -> bytes:
    return b"X" + struct.pack("<I", len(data)) + data


def encoded(body: bytes) -> bytes:
    return (
        b"\x80\x02"
        + made("torch.storage", "_load_from_bytes", made("_codecs", "encode", body, text("latin1")))
        + b"."
    )


@pytest.mark.parametrize("size", [1, 2 << 20])
def test_bytes_that_protocol_2_writes_as_text_are_unpickled_too(size):
    """A text too long to be kept was taken for an empty file: the payload in it was not seen."""
    bad = call("os", "system")[:-1] + text("x" * size) + b"0."
    for data in (bad, b"\x80\x02" + bad[2:]):
        assert verdict(encoded(long_text(data.decode("latin-1").encode()))) is Verdict.DANGEROUS
        assert verdict(encoded(b"T" + struct.pack("<I", len(data)) + data)) is Verdict.DANGEROUS
    good = b"\x80\x02" + text("x" * size) + b"."
    assert verdict(encoded(long_text(good.decode("latin-1").encode()))) is Verdict.CLEAN


def test_a_text_of_python_2_is_read_both_ways():
    """What is valid UTF-8 may have been meant as it stands."""
    skip = b"U" + bytes([4]) + "éé".encode() + b"0"  # two letters less when it is decoded
    data = skip + b"cos\nsystem\n(S'id'\ntR0" + text("x" * (2 << 20)) + b"."
    assert verdict(encoded(b"T" + struct.pack("<I", len(data)) + data)) is Verdict.DANGEROUS


HARMLESS = {
    "a generator of numpy 1.24": made(
        "numpy.random._pickle", "__generator_ctor", text("MT19937"), CTOR
    ),
    "a classifier": name("sklearn.feature_selection._univariate_selection", "SelectKBest")
    + b")\x81"
    + pairs(score_func=name("sklearn.feature_selection._univariate_selection", "f_classif")) + b"b",
    "a slice": made("builtins", "slice", b"N", number((1 << 63) - 1), b"N"),
    "a range": made("builtins", "range", b"K\0", number(1 << 40)),
    "a text": made("builtins", "bytearray", b"C\4data"),
    "a fraction": made("fractions", "Fraction", text("3/7")),
    "a default": name("collections", "defaultdict") + name("builtins", "list") + b"\x85\x81",
}  # fmt: skip


@pytest.mark.parametrize("body", HARMLESS.values(), ids=HARMLESS)
def test_the_use_that_they_are_listed_for(body):
    assert verdict(b"\x80\x04" + body + b".") is Verdict.CLEAN


def test_shared_tuples_are_looked_at_once():
    shared = b"".join(
        b"j" + struct.pack("<I", n) + b"j" + struct.pack("<I", n) + b"\x86\x94" for n in range(200)
    )
    assert verdict(b"\x80\x04N\x94" + shared + EVAL + b"\x86.") is Verdict.DANGEROUS
