"""Payloads in formats other than pickle: arrays, templates, graphs, layers."""

from __future__ import annotations

import io
import json
import struct

import numpy as np
import pytest
from doubles.scanning import FLAGGED, look, rules, verdict
from doubles.streams import call
from makers.formats import field, gguf, npy, onnx, safetensors, string

from torchkeep.scan.templates import danger
from torchkeep.scan.verdict import Verdict


def saved(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


ARRAYS = [
    np.zeros(3), np.float64(3), np.zeros((0, 3)), np.array(["a", "bb"]), np.array([b"a"]),
    np.array(["2020"], dtype="M8[D]"), np.zeros(2, ">c16"), np.asfortranarray(np.zeros((3, 4))),
    np.zeros(3, [("a", "i4"), ("b", "f8", (2,)), ("c", [("d", "S3")])]), np.array([True]),
    np.array([1, None, "a"], dtype=object), np.zeros(3, [("a", "i4"), ("b", "O")]),
    np.zeros(3, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
]  # fmt: skip


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: str(array.dtype))
def test_what_numpy_writes_is_clean(array):
    data = saved(array)
    assert verdict(data, "a.npy") is Verdict.CLEAN
    assert verdict(data + b"x", "a.npy") in FLAGGED
    if array.size:
        assert verdict(data[:-1], "a.npy") in FLAGGED


HEADER = {"descr": "|O", "fortran_order": False, "shape": (1,)}
NPY = {
    "objects": npy(HEADER, call("os", "system")),
    "objects in a field": npy(HEADER | {"descr": [("a", "|O")]}, call("os", "system")),
    "objects in a field of fields": npy(
        HEADER | {"descr": [("a", [("b", "<i4"), ("c", "O", (2,))])]}, call("os", "system")
    ),
    "huge": npy(HEADER | {"descr": "<f8", "shape": (1 << 61, 1 << 61)}),
    "negative": npy(HEADER | {"descr": "<f8", "shape": (-1,)}),
    "code": npy(b"__import__('os').system('id')"),
    "nested": npy(b"(" * 30_000),
    "no dict": npy([1, 2]),
    "version": b"\x93NUMPY\x09\x00" + bytes(20),
    "cut": b"\x93NUMPY",
}


@pytest.mark.parametrize("data", NPY.values(), ids=NPY)
def test_arrays(data):
    assert verdict(data, "a.npy") in FLAGGED


def test_objects_are_followed():
    assert rules(NPY["objects in a field of fields"]) >= {10}


TEMPLATES = [
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n'}}{% endfor %}",
    "{{ bos_token }}{% if (messages[0]['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}",
    "{%- set ns = namespace(found=false, last=messages|length - 1) %}{%- set ns.found = true %}",
    '{{- "\\n{\\"name\\": <name>, \\"arguments\\": <args-json-object>}\\n</tool_call>" }}',
    "{{ message.role | replace('_', ' ') | selectattr('x') | map(attribute='y') | join('\n') }}",
    "{# a note about __class__ #}text __init__ {{ tool | tojson(indent=4) }}",
    "{%- macro f(x, y={'a': {'b': 1}}) -%}{{ x.parameters.properties.items() }}{%- endmacro -%}",
    "{{ strftime_now('%d %b %Y') }}{% generation %}{{ m['content'] | trim }}{% endgeneration %}",
]
BAD_TEMPLATES = [
    # CVE-2024-34359
    "{% for c in ().__class__.__base__.__subclasses__() %}{{ c }}{% endfor %}",
    "{{ self._TemplateReference__context.cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ cycler.__init__.__globals__.os }}", "{{ lipsum['x'] }}", "{{ ''|attr('x') }}",
    "{{ ''['\\x5f\\x5fclass\\x5f\\x5f'] }}", "{{ x['_' ~ '_class__'] }}", "{{ x['__' + y] }}",
    "{{ '{0.__class__}'.format(x) }}", "{{ {'a': {'b': 1}} .__class__ }}",
    "{{ ()|map('attr', x) }}",
    "{{ x[['_', '_', 'class', '_', '_']|join] }}", "{%- set a = '__' %}", "{{ self['x'] }}",
    "{% import 'os' as o %}", "{{ namespace.__init__ }}", "{{- x.__class__ -}}",
    "{%+ if x.__a__ %}",
    "{# #}{{ x.__class__ }}", "{{ \"}}\" ~ x.__class__ }}",
    "{% raw %}{% endraw %}{{ x.__class__ }}",
    # A name in two halves, which Jinja puts together itself where nothing stands between them.
    "{{ ''['__cl' + 'ass__'] }}", "{{ ''['__cl' 'ass__'] }}", "{{ ['__cla', 'ss__']|join }}",
    "{% set a = '__cl' %}{% set b = 'x' %}", "{{ x['\\u005f_class'] }}",
]  # fmt: skip


@pytest.mark.parametrize("template", TEMPLATES)
def test_ordinary_templates(template):
    assert danger(template) is None
    config = json.dumps({"chat_template": template}).encode()
    assert verdict(config, "tokenizer_config.json") is Verdict.NOT_A_MODEL


@pytest.mark.parametrize("template", BAD_TEMPLATES)
def test_templates_that_reach_out(template):
    for value in (template, [{"name": "default", "template": template}]):
        config = json.dumps({"chat_template": value}).encode()
        assert verdict(config, "tokenizer_config.json") is Verdict.DANGEROUS
    assert verdict(template.encode(), "chat_template.jinja") is Verdict.DANGEROUS
    assert verdict(gguf({"tokenizer.chat_template": template}), "m.gguf") is Verdict.DANGEROUS
    assert verdict(gguf({"tokenizer.chat_template.rag": template}), "m.gguf") is Verdict.DANGEROUS


CONFIGS = {
    b'{"auto_map": {"AutoModel": "modeling.Model"}}': Verdict.NEEDS_REVIEW,
    b'{"auto\\u005fmap": {"AutoModel": "modeling.Model"}}': Verdict.NEEDS_REVIEW,
    b'{"a": {"trust_remote_code": true}}': Verdict.NEEDS_REVIEW,
    b'{"auto_map": {"A": "b.C"}, "auto_map": null}': Verdict.NEEDS_REVIEW,
    b'{"auto_mapping": {"parent_library": "evil"}}': Verdict.NEEDS_REVIEW,
    b'{"trust_remote_code": false, "auto_map": null}': Verdict.NOT_A_MODEL,
    b'{"hidden_size": 768}': Verdict.NOT_A_MODEL,
    b'[1, 2, {"a": []}]': Verdict.NOT_A_MODEL,
    b"[section]\nkey = value\n": Verdict.NOT_A_MODEL,
}


@pytest.mark.parametrize("data", CONFIGS)
def test_configs(data):
    assert verdict(data, "config.json") is CONFIGS[data]


KERAS = {
    # CVE-2024-3660, 2025-9905: code in a Lambda layer
    "lambda": {"class_name": "Lambda", "config": {"function": ["4wEAAAA", None, None]}},
    "marshal": {"class_name": "__lambda__", "config": {"value": ["4wEAAAA"]}},
    # CVE-2025-1550: any function of any module
    "module": {"module": "os", "class_name": "function", "config": "system"},
    "custom": {"module": "custom_layers", "class_name": "Mine", "config": {}},
    # CVE-2025-8747, 2025-9906: functions of Keras itself
    "get_file": {"module": "keras.utils", "class_name": "function", "config": "get_file"},
    "unsafe": {"module": "keras.config", "class_name": "function",
               "config": "enable_unsafe_deserialization"},
    # CVE-2025-49655
    "torch": {"module": "keras.layers", "class_name": "TorchModuleWrapper", "config": {}},
}  # fmt: skip


def model(*layers):
    return {"class_name": "Sequential", "config": {"layers": list(layers)}}


def hdf5(config, filler=b"\x01\x02\x03\x00" * 3000):
    return b"\x89HDF\r\n\x1a\n" + filler + b"model_config\0" + config + filler


DENSE = {"module": "keras.layers", "class_name": "Dense", "config": {"activation": "relu"}}


@pytest.mark.parametrize("layer", KERAS.values(), ids=KERAS)
def test_layers_with_code(layer):
    text = json.dumps(model(DENSE, layer)).encode()
    assert verdict(text, "config.json") in FLAGGED
    assert verdict(hdf5(text), "model.h5") in FLAGGED


def test_layers_without_code():
    text = json.dumps(model(*[DENSE] * 500)).encode()
    assert verdict(text, "config.json") is Verdict.NOT_A_MODEL
    assert verdict(hdf5(text), "model.h5") is Verdict.CLEAN
    assert verdict(hdf5(b"no JSON"), "model.h5") is Verdict.NOT_SCANNED
    assert verdict(b"\x89HDF\r\n\x1a\n" + bytes(999), "model.h5") is Verdict.CLEAN


def test_a_layer_that_is_cut():
    text = json.dumps(model(DENSE, KERAS["lambda"])).encode()
    assert verdict(hdf5(text[:-3]), "model.h5") is Verdict.DANGEROUS
    escaped = text.replace(b"Lambda", b"L\\u0061mbda")
    assert verdict(hdf5(escaped), "model.h5") is Verdict.DANGEROUS


INFO = string("t") + struct.pack("<IQIQ", 1, 8, 0, 0)


def test_gguf():
    assert verdict(gguf({"a": "b"}, INFO, 1, bytes(32))) is Verdict.CLEAN
    assert verdict(gguf({"a": "b"}, INFO, 1, bytes(31))) is Verdict.MALFORMED
    assert verdict(gguf({"a": "b"})[:-40]) is Verdict.MALFORMED
    assert verdict(b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1 << 60)) is Verdict.MALFORMED
    array = string("a") + struct.pack("<IIQ", 9, 8, 1 << 40)
    assert verdict(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + array) is Verdict.MALFORMED
    deep = string("a") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 5000
    assert verdict(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + deep) is Verdict.MALFORMED


OUTSIDE = ["/etc/passwd", "../x", "a/../../x", "C:\\x", "..\\x", "~/x", "file:///x"]


def test_onnx():
    for inside in (False, True):
        assert verdict(onnx(inside=inside), "m.onnx") is Verdict.CLEAN
        for location in OUTSIDE:  # CVE-2022-25882, 2024-27318
            assert rules(onnx(location=location, inside=inside), "m.onnx") == {52}
    assert rules(onnx(domain="evil")) == {53}
    own = field(25, field(1, "f") + field(10, "mine"))
    assert verdict(onnx(domain="mine", function=own)) is Verdict.CLEAN
    assert verdict(onnx(operator="PyOp", domain="com.microsoft")) is Verdict.DANGEROUS
    assert verdict(onnx()[:-3]) in FLAGGED
    graph = field(1, field(4, "A"))
    for _ in range(200):
        graph = field(1, field(5, field(6, graph)))
    assert verdict(field(1, 8) + field(7, graph), "m.onnx") in FLAGGED


def test_onnx_with_its_fields_in_another_order():
    data = onnx(location="/etc/passwd")
    assert rules(data[2:] + data[:2]) == {52}


def one(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


SAFETENSORS = {
    "trailing": safetensors({"a": one()}, bytes(9)),
    "cut": safetensors({"a": one()}, bytes(7)),
    "overlap": safetensors({"a": one(), "b": one(offsets=(4, 12))}, bytes(12)),
    "gap": safetensors({"a": one(), "b": one(offsets=(12, 20))}, bytes(20)),
    "twice": safetensors(b'{"a":%b,"a":%b}' % ((json.dumps(one()).encode(),) * 2), bytes(8)),
    "key twice": safetensors(b'{"a":{"dtype":"F32","dtype":"U8","shape":[8],"data_offsets":[0,8]}}',
                             bytes(8)),
    "type": safetensors({"a": one("F31")}, bytes(8)),
    "size": safetensors({"a": one(shape=(3,))}, bytes(8)),
    "overflow": safetensors({"a": one(shape=(1 << 62, 1 << 62))}, bytes(8)),
    "negative": safetensors({"a": one(shape=(-2,))}, bytes(8)),
    "float": safetensors(b'{"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}', bytes(8)),
    "metadata": safetensors({"__metadata__": {"a": 1}, "a": one()}, bytes(8)),
    "no UTF-8": safetensors(b'{"\xff":' + json.dumps(one()).encode() + b"}", bytes(8)),
    "nested": safetensors(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "nested in an entry": safetensors(b'{"a":{"dtype":"F32","shape":' + b"[" * 90_000 + b"}}"),
    "long header": struct.pack("<Q", 200_000_000) + b'{"a":' + bytes(99),
    "header behind the end": struct.pack("<Q", 99) + b'{"a": 1}',
    "no JSON": safetensors(b'{"a" 1}'), "not a number": safetensors(b'{"a":NaN}'),
    "zip behind": safetensors({"a": one()}, bytes(8) + b"PK\x05\x06" + bytes(18)),
}  # fmt: skip


@pytest.mark.parametrize("data", SAFETENSORS.values(), ids=SAFETENSORS)
def test_safetensors(data):
    assert verdict(data, "model.safetensors") in FLAGGED


def test_sound_safetensors():
    header = {"__metadata__": {"format": "pt"}, "b": one(offsets=(8, 16)), "a": one(),
              "c": one("BF16", (), (16, 18)), "z": one("F64", (0,), (16, 16))}  # fmt: skip
    assert verdict(safetensors(header, bytes(18))) is Verdict.CLEAN
    assert verdict(safetensors(b"{}   ")) is Verdict.CLEAN


TEXTS = {
    "README.md": b"# A model\n\nimport os\nos.system\n",
    "model.py": b"import os\nimport sys\n\nos.system('x')\n",
    "a.csv": b"c,o,s\n1,2,3\n",
    "LICENSE": b"(c) 2024 Somebody\nAll rights reserved.\n",
    "notes.txt": b"copyright\nfoo\nbar\n",
    "N.txt": b"N. Korea and S. Korea\n",
    "empty.txt": b"",
    "wide.txt": "text".encode("utf-16"),
    "old.txt": "été à la plage".encode("latin-1"),
}


@pytest.mark.parametrize("file", TEXTS)
def test_files_that_no_loader_opens(file):
    assert verdict(TEXTS[file], file) is Verdict.NOT_A_MODEL


def test_texts_under_the_name_of_a_model():
    assert verdict(b"<html>404</html>", "model.pt") is Verdict.MALFORMED
    assert verdict(b"", "model.pt") is Verdict.MALFORMED
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    assert look(pointer, "model.bin").issues[0].message.id == "scan.lfs-pointer"
    assert verdict(b"\x00\x01\x02data" * 9, "model.bin") is Verdict.NOT_SCANNED
    assert verdict(b"I5\n.", "model.pkl") is Verdict.CLEAN
