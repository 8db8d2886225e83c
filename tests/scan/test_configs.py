"""JSON files and the chat templates in them: what makes a loader run code."""

from __future__ import annotations

import json

import pytest
from doubles.scanning import look, rules, verdict
from hypothesis import given
from hypothesis import strategies as st

from torchkeep.scan import templates
from torchkeep.scan.formats import configs
from torchkeep.scan.templates import danger
from torchkeep.scan.verdict import Verdict

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xyz"), inner, max_size=3),
    max_leaves=12,
)
CODE = {
    "auto_map": {"AutoModel": "modeling.Model"}, "custom_pipelines": {"a": {"impl": "p.P"}},
    "trust_remote_code": True, "parent_library": "evil", "custom_generate": "x/y",
}  # fmt: skip


@given(VALUES)
def test_what_names_no_code_is_no_model(value):
    text = json.dumps(value).encode()
    assert not rules(text, "config.json") or look(text, "config.json").has_pickle


@pytest.mark.parametrize("key", CODE)
@given(VALUES, st.integers(0, 3), st.booleans())
def test_keys_that_ask_for_code_are_found_anywhere(key, beside, depth, in_list):
    value = {"a": beside, key: CODE[key]}
    for _ in range(depth):
        value = [beside, value] if in_list else {"b": beside, "c": value}
    assert 56 in rules(json.dumps({"v": value}).encode(), "config.json")


@pytest.mark.parametrize("key", CODE)
def test_a_key_that_is_there_twice_is_found_in_each_place(key):
    first, second = f'"{key}": {json.dumps(CODE[key])}', f'"{key}": null'
    for text in (f"{{{first}, {second}}}", f"{{{second}, {first}}}"):
        assert rules(text.encode(), "config.json") == {56}


HARMLESS = [
    {"auto_map": None}, {"auto_map": {}}, {"trust_remote_code": False},
    {"trust_remote_code": "true"}, {"parent_library": "transformers.models.llama"},
    {"parent_library": "torch"}, {"parent_library": None}, {"automap": {"a": "b"}},
]  # fmt: skip


@pytest.mark.parametrize("value", HARMLESS, ids=str)
def test_keys_that_ask_for_nothing(value):
    assert verdict(json.dumps(value).encode(), "config.json") is Verdict.NOT_A_MODEL


@pytest.mark.parametrize("library", ["transformers_evil", "torchx", "evil.transformers", ""])
def test_neighbours_of_known_libraries(library):
    assert rules(json.dumps({"parent_library": library}).encode(), "config.json") == {56}


def test_json_is_told_by_its_bytes_and_judged_by_its_name():
    plain = b'{"a": 1}'
    assert verdict(plain, "a.json") is Verdict.NOT_A_MODEL
    assert verdict(plain, "a.pt") is Verdict.MALFORMED
    assert verdict(b'{"a": ', "a.json") is Verdict.NOT_A_MODEL
    assert verdict(b'{"a": ' * 100_000, "a.json") is Verdict.NOT_A_MODEL
    assert verdict(b'{"a": ' * 100_000, "a.pt") is Verdict.MALFORMED


def test_json_that_is_longer_than_any_is_not_scanned(monkeypatch):
    text = json.dumps({"auto_map": {"a": "b"}}).encode()
    monkeypatch.setattr(configs, "_LONGEST", len(text))
    assert rules(text, "config.json") == {56}
    monkeypatch.setattr(configs, "_LONGEST", len(text) - 1)
    report = look(text, "config.json")
    assert report.verdict is Verdict.NOT_SCANNED


BAD = "{{ x.__class__ }}"


@pytest.mark.parametrize(
    "value",
    [BAD, [BAD], {"default": BAD}, [{"name": "a", "template": BAD}], [[{"a": ["", BAD]}]]],
    ids=str,
)
@pytest.mark.parametrize("key", ["chat_template", "tool_chat_template"])
def test_templates_are_found_in_whatever_holds_them(key, value):
    assert rules(json.dumps({key: value}).encode(), "tokenizer_config.json") == {57}
    assert rules(json.dumps({"other": value}).encode(), "tokenizer_config.json") == set()


@pytest.mark.parametrize("suffix", ["jinja", "jinja2", "j2"])
def test_templates_in_files_of_their_own(suffix, monkeypatch):
    from torchkeep.scan.formats import texts

    assert rules(BAD.encode(), f"chat_template.{suffix}") == {57}
    assert rules(BAD.encode(), "notes.txt") == set()
    monkeypatch.setattr(texts, "_LONGEST", 3)
    assert rules(BAD.encode(), f"chat_template.{suffix}") == set()


PARTS = {
    "{{ x.__class__ }}": "__class__", "{{ x._hidden }}": "_hidden", "{{ lipsum }}": "lipsum",
    "{{ x | attr('y') }}": "attr", "{{ self.a }}": "self.", "{{ self[1] }}": "self[",
    "{% include 'a' %}": "include", "{% extends 'a' %}": "extends",
    "{% from 'a' import b %}": "from",
    "{{ x['__class__'] }}": "'__class__'", "{{ '_' ~ x }}": "'_'", "{{ x ~ '_' }}": "'_'",
    "{{ ['_', x] }}": "'_'", "{{ '\\x5f' ~ x }}": "'\\x5f'", "{{ '\\x5fa' }}": "'\\x5fa'",
    "{{ x['attr'] }}": "'attr'", "{{ x['mro'] }}": "'mro'", "{{ '{0._a}'.format(x) }}": "'{0._a}'",
}  # fmt: skip


@pytest.mark.parametrize("template", PARTS)
def test_the_part_that_reaches_out_is_named(template):
    assert danger(template) == PARTS[template]
    assert danger("{% if a %}" + template + "{% endif %}") == PARTS[template]
    assert danger("{# note #}" + template) == PARTS[template]


PLAIN = [
    "x.__class__", "{# {{ x.__class__ }} #}", "{# open {{ x.__class__ }}", "{{ _x }}", "{{ '_' }}",
    "{{ x | replace('_', ' ') }}", "{{ x.self }}", "{{ self }}", "{{ from }}", "{{ x.attr }}",
    "{{ 'a_b' }}", "{{ {'_': 1} }}", "{{ x", "{% set a = 'it''s' %}", "{{ \"}}\" }} x.__class__",
    "", "{{ '\\{a\\d' }}",
]  # fmt: skip


@pytest.mark.parametrize("template", PLAIN)
def test_what_reaches_for_nothing(template):
    assert danger(template) is None


def test_a_template_longer_than_any_is_dangerous():
    assert danger(" " * templates._LONGEST) is None
    assert danger(" " * (templates._LONGEST + 1))


@pytest.mark.timeout(60)
@given(st.text("{%}#'\"\\_. x[](),|~-\n", max_size=80))
def test_any_text_is_split_and_ends(template):
    found = danger(template)
    assert found is None or found


@pytest.mark.timeout(60)
def test_hostile_templates_end():
    for part in ("{{ ", "{{ '", "{{ (", "{%", "{#", "{{ a ~ ", "{{ '\\"):
        danger(part * 20_000)
