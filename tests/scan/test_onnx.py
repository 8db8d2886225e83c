"""ONNX: where its weights lie, which operators it needs, and messages that are none."""

from __future__ import annotations

import pytest
from doubles.scanning import FLAGGED, look, rules, verdict
from hypothesis import given
from hypothesis import strategies as st
from makers.formats import field, onnx, varint

from torchkeep.core.source import BytesSource
from torchkeep.scan import protobuf
from torchkeep.scan.formats import onnx as module
from torchkeep.scan.protobuf import Malformed, Walker
from torchkeep.scan.verdict import Verdict

FIELDS = st.lists(
    st.tuples(
        st.integers(1, 1 << 28),
        st.one_of(st.integers(0, (1 << 64) - 1), st.binary(max_size=300), st.text(max_size=20)),
    ),
    max_size=8,
)


@given(FIELDS, st.integers(1, 20))
def test_fields_come_out_as_they_went_in(fields, chunk):
    data = b"".join(field(*one) for one in fields)
    walker = Walker(BytesSource(data))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protobuf, "_CHUNK", chunk)
        found = list(walker.fields(0, len(data)))
        for one, (number, value) in zip(found, fields, strict=True):
            assert one.number == number
            if isinstance(value, int):
                assert (one.wire, one.value) == (0, value)
            elif isinstance(value, str):
                assert walker.text(one) == value
            else:
                assert (one.wire, walker.bytes(one, 999)) == (2, value)


def test_fields_of_a_fixed_length_are_passed_by():
    data = varint(1 << 3 | 1) + bytes(8) + varint(2 << 3 | 5) + bytes(4) + field(3, 7)
    found = list(Walker(BytesSource(data)).fields(0, len(data)))
    assert [(one.number, one.wire, one.end - one.start) for one in found] == [
        (1, 1, 8), (2, 5, 4), (3, 0, 1),
    ]  # fmt: skip


NO_MESSAGES = {
    "field zero": b"\x00\x01", "a group": varint(1 << 3 | 3), "type 7": varint(1 << 3 | 7),
    "past the end": varint(1 << 3 | 2) + b"\x05ab", "half a number": b"\x08\x80",
    "a number without end": b"\x08" + b"\xff" * 11, "half of eight bytes": varint(9) + bytes(7),
    "half of four bytes": varint(13) + bytes(3), "a length without end": varint(10) + b"\xff" * 9,
}  # fmt: skip


@pytest.mark.parametrize("name", NO_MESSAGES)
def test_bytes_that_are_no_message_are_malformed(name):
    data = NO_MESSAGES[name]
    with pytest.raises(Malformed):
        list(Walker(BytesSource(data)).fields(0, len(data)))
    assert verdict(onnx() + data, "model.onnx") in FLAGGED


@given(st.binary(max_size=80))
def test_any_bytes_behind_a_graph_have_a_verdict(data):
    assert isinstance(verdict(onnx() + data, "model.onnx"), Verdict)


OUT = ["/etc/passwd", "../x", "a/../../x", "C:\\x", "..\\x", "~/x", "~", "file:///x", "a\0b"]
IN = ["weights.bin", "folder/weights.bin", "a..b", "x~", "files/a", ""]


@pytest.mark.parametrize("inside", [False, True])
def test_weights_lie_below_the_folder_of_the_model(inside):
    for location in OUT:
        assert rules(onnx(location=location, inside=inside), "m.onnx") == {52}
    for location in IN:
        assert verdict(onnx(location=location, inside=inside), "m.onnx") is Verdict.CLEAN


def test_a_location_is_told_once():
    data = onnx(location="/a", tensor=[field(13, field(1, "location") + field(2, "/a"))])
    assert len(look(data, "m.onnx").issues) == 1
    data = onnx(location="/a", tensor=[field(13, field(1, "location") + field(2, "/b"))])
    assert len(look(data, "m.onnx").issues) == 2


def test_a_place_in_a_file_is_a_number():
    for key in ("offset", "length"):
        for value in ("-1", "x", "", "1.5", "١"):
            pair = field(13, field(1, key) + field(2, value))
            assert rules(onnx(tensor=[pair]), "m.onnx") == {32}
        pair = field(13, field(1, key) + field(2, "4096"))
        assert verdict(onnx(tensor=[pair]), "m.onnx") is Verdict.CLEAN
    other = field(13, field(1, "checksum") + field(2, "x"))
    assert verdict(onnx(tensor=[other]), "m.onnx") is Verdict.CLEAN


def test_the_key_of_a_pair_may_stand_behind_its_value():
    pair = field(13, field(2, "/etc/passwd") + field(1, "location"))
    assert rules(onnx(tensor=[pair]), "m.onnx") == {52}


BAD = field(13, field(1, "location") + field(2, "/etc/passwd")) + field(14, 1)
GRAPH = field(5, BAD)
PLACES = {
    "a sparse tensor": field(15, field(1, BAD)),
    "the places of a sparse tensor": field(15, field(2, BAD)),
    "an attribute": field(1, field(5, field(5, BAD))),
    "an attribute of several": field(1, field(5, field(10, BAD))),
    "a branch": field(1, field(5, field(6, GRAPH))),
    "branches": field(1, field(5, field(11, GRAPH))),
    "a sparse attribute": field(1, field(5, field(22, field(1, BAD)))),
    "sparse attributes": field(1, field(5, field(23, field(1, BAD)))),
}


@pytest.mark.parametrize("name", PLACES)
def test_tensors_are_found_wherever_they_stand(name):
    assert rules(field(1, 8) + field(7, PLACES[name]), "m.onnx") == {52}


def test_functions_of_the_model_are_looked_into():
    node = field(1, "x") + field(5, field(5, BAD))
    assert rules(onnx(function=field(25, field(1, "f") + field(7, node))), "m.onnx") == {52}
    needs = field(25, field(1, "f") + field(9, field(1, "evil")))
    assert rules(onnx(function=needs), "m.onnx") == {53}


DOMAINS = ["", "ai.onnx", "ai.onnx.ml", "com.microsoft", "ai.onnx.training"]


def test_operators_are_those_of_the_runtimes_or_the_model():
    for domain in DOMAINS:
        assert verdict(onnx(domain=domain), "m.onnx") is Verdict.CLEAN
    for domain in ("evil", "AI.ONNX", "com.microsoft.evil"):
        report = look(onnx(domain=domain), "m.onnx")
        assert report.verdict is Verdict.NEEDS_REVIEW
        assert domain in report.issues[0].message.text()
    own = field(25, field(1, "f") + field(10, "mine"))
    assert verdict(onnx(domain="mine", function=own), "m.onnx") is Verdict.CLEAN
    assert rules(onnx(domain="yours", function=own), "m.onnx") == {53}


def test_operators_that_run_python_are_dangerous():
    for operator in sorted(module._PYTHON):
        assert verdict(onnx(operator=operator), "m.onnx") is Verdict.DANGEROUS
        assert verdict(onnx(operator=operator, inside=True), "m.onnx") is Verdict.DANGEROUS
    assert verdict(onnx(operator="PyOperator"), "m.onnx") is Verdict.CLEAN


def test_compiled_graphs_are_machine_code():
    assert rules(onnx(operator="EPContext"), "m.onnx") == {46}


def nested(depth):
    graph = field(1, field(4, "A"))
    for _ in range(depth):
        graph = field(1, field(5, field(6, graph)))
    return field(1, 8) + field(7, graph)


def test_graphs_are_nested_up_to_a_depth():
    assert verdict(nested(20), "m.onnx") is Verdict.CLEAN
    assert rules(nested(40), "m.onnx") == {32}
    assert rules(nested(400), "m.onnx") == {32}


def test_a_model_of_more_parts_than_any_needs(monkeypatch):
    monkeypatch.setattr(module, "_MOST_FIELDS", 16)
    assert verdict(onnx(), "m.onnx") is Verdict.CLEAN
    monkeypatch.setattr(module, "_MOST_FIELDS", 15)
    assert rules(onnx(), "m.onnx") == {32}


def test_a_model_of_real_size_is_read_in_pieces():
    weights = field(5, field(1, 2) + field(9, bytes(3 << 20)))
    nodes = field(1, field(4, "Add")) * 2000
    bad = field(5, BAD)
    assert verdict(field(1, 8) + field(7, weights + nodes), "m.onnx") is Verdict.CLEAN
    assert rules(field(1, 8) + field(7, weights + nodes + bad), "m.onnx") == {52}
