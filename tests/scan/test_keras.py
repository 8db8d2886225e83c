"""HDF5 and the layers that Keras writes into it."""

from __future__ import annotations

import json

import pytest
from doubles.scanning import look, rules, verdict
from hypothesis import given
from hypothesis import strategies as st

from torchkeep.core.source import BytesSource
from torchkeep.scan.formats import keras
from torchkeep.scan.verdict import Verdict

MAGIC = b"\x89HDF\r\n\x1a\n"
NOISE = b"\x01\x02\x03\x00" * 500
DENSE = {"module": "keras.layers", "class_name": "Dense", "config": {"activation": "relu"}}
LAMBDA = {"module": "keras.layers", "class_name": "Lambda", "config": {"function": ["4wEAAAA"]}}


def model(*layers):
    return json.dumps({"class_name": "Sequential", "config": {"layers": layers}}).encode()


def hdf5(text, name=b"model_config"):
    return MAGIC + NOISE + name + b"\0" + text + NOISE


def test_layers_without_code_are_clean():
    assert verdict(hdf5(model(DENSE)), "m.h5") is Verdict.CLEAN
    assert verdict(MAGIC + NOISE, "m.h5") is Verdict.CLEAN


CODE = {
    "a lambda": (LAMBDA, Verdict.DANGEROUS),
    "a lambda of no module": ({"class_name": "Lambda"}, Verdict.DANGEROUS),
    "a function": ({"class_name": "__lambda__", "config": {}}, Verdict.DANGEROUS),
    "a module of torch": ({"class_name": "TorchModuleWrapper"}, Verdict.DANGEROUS),
    "any function": (
        {"module": "os", "class_name": "function", "config": "system"}, Verdict.DANGEROUS,
    ),
    "a class of its own": ({"module": "mine", "class_name": "Layer"}, Verdict.NEEDS_REVIEW),
    "a neighbour of Keras": ({"module": "keras_evil", "class_name": "L"}, Verdict.NEEDS_REVIEW),
    "a helper": (
        {"module": "keras.utils", "class_name": "function", "config": "get_file"},
        Verdict.DANGEROUS,
    ),
    "a function of Keras that is no layer's": (
        {"module": "keras.models", "class_name": "function", "config": "load_model"},
        Verdict.DANGEROUS,
    ),
    "another function of Keras": (
        {"module": "keras.models", "class_name": "function", "config": "clone_model"},
        Verdict.NEEDS_REVIEW,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CODE)
def test_layers_with_code(case):
    layer, expected = CODE[case]
    for text in (model(DENSE, layer), model({"class_name": "Deep", "config": {"inner": [layer]}})):
        assert look(hdf5(text), "m.h5").verdict is expected
        assert rules(hdf5(text), "m.h5") == {55}
        assert look(text, "config.json").verdict is expected


@pytest.mark.parametrize("name", ["relu", "softmax"])
def test_functions_that_layers_name(name):
    layer = {"module": "keras.activations", "class_name": "function", "config": name}
    assert verdict(hdf5(model(layer)), "m.h5") is Verdict.CLEAN


def test_a_configuration_that_cannot_be_found_is_not_scanned():
    for name in (b"model_config", b"layer_config"):
        assert rules(hdf5(b"packed", name), "m.h5") == {54}
        assert verdict(hdf5(b"packed", name), "m.h5") is Verdict.NOT_SCANNED
    assert verdict(hdf5(b'{"other": 1}'), "m.h5") is Verdict.NOT_SCANNED


def test_code_in_a_text_that_is_not_whole_is_found():
    text = model(DENSE, LAMBDA)
    assert verdict(hdf5(text[:-2]), "m.h5") is Verdict.DANGEROUS
    data = hdf5(text.replace(b"{", b"["))
    [issue] = look(data, "m.h5").issues
    assert (issue.rule, issue.severity) == ("TK-SCAN-055", Verdict.DANGEROUS)
    assert data[issue.offset :].startswith(b'"Lambda"')


@given(st.integers(1, 200), st.integers(0, 300))
def test_code_is_found_wherever_windows_are_cut(window, shift):
    data = MAGIC + bytes(shift) + b"model_config\0" + model(DENSE, LAMBDA) + NOISE
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras, "_WINDOW", window)
        patch.setattr(keras, "_OVERLAP", 40)
        assert verdict(data, "m.h5") is Verdict.DANGEROUS


@given(st.dictionaries(st.text(max_size=9), st.text(max_size=200), min_size=1, max_size=9))
def test_a_text_is_read_to_its_end(value):
    text = json.dumps(value).encode()
    found, length = keras._json(BytesSource(text + NOISE), 0)
    assert dict(found) == value
    assert length == len(text.decode())


def test_a_text_longer_than_any_is_not_read(monkeypatch):
    text = model(*[DENSE] * 2000)
    assert verdict(hdf5(text), "m.h5") is Verdict.CLEAN
    monkeypatch.setattr(keras, "_LONGEST", 50)
    assert verdict(hdf5(text), "m.h5") is Verdict.NOT_SCANNED


def test_more_texts_than_any_model_has(monkeypatch):
    data = hdf5(b'{"a": 1}\0' * 5 + model(DENSE))
    assert verdict(data, "m.h5") is Verdict.CLEAN
    monkeypatch.setattr(keras, "_MOST", 5)
    assert rules(data, "m.h5") == {54}


@pytest.mark.timeout(60)
def test_hostile_depths_and_sizes_end():
    assert verdict(hdf5(b'{"a":' * 100_000), "m.h5") is Verdict.NOT_SCANNED
    assert verdict(hdf5(b'{"a": "' * 20_000), "m.h5") is Verdict.NOT_SCANNED
    assert verdict(hdf5(model(DENSE) * 3000), "m.h5") is Verdict.NOT_SCANNED
