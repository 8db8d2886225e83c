"""``core.messages``: both languages say everything, and say it of the same values."""

import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from doubles.catalogue import flat, placeholders, uses
from hypothesis import given
from hypothesis import strategies as st

import torchkeep
from torchkeep.core.messages import (
    CATALOGUE,
    LANGUAGES,
    Message,
    message,
    plain,
    preferred,
    template,
)
from torchkeep.core.rule import GROUP, SECTIONS

SOURCE = Path(torchkeep.__file__).parent


def entries():
    """Every entry of the catalogue by its id."""
    return {
        name: entry
        for path in sorted(CATALOGUE.glob("*.toml"))
        for name, entry in flat(tomllib.loads(path.read_text("utf-8")), path.stem)
    }


def sources():
    return {
        path.relative_to(SOURCE).as_posix(): path.read_text("utf-8")
        for path in sorted(SOURCE.rglob("*.py"))
    }


def problems_of_entries(entries):
    """What is wrong with the texts themselves."""
    for name, entry in entries.items():
        if entry.keys() != set(LANGUAGES):
            yield f"{name}: has {sorted(entry)}"
            continue
        en, zh = entry["en"], entry["zh"]
        if not (isinstance(en, str) and isinstance(zh, str) and en.strip() and zh.strip()):
            yield f"{name}: is empty"
            continue
        if placeholders(en) != placeholders(zh):
            yield f"{name}: {placeholders(en)} in English, {placeholders(zh)} in Chinese"
        if odd := [name for name in placeholders(en) | placeholders(zh) if not name.isidentifier()]:
            yield f"{name}: {odd} are no plain names"
        if is_chinese(en):
            yield f"{name}: the English text holds Chinese"
        if any(map(str.isalpha, en)) and not is_chinese(zh):  # else it is a separator
            yield f"{name}: the Chinese text holds no Chinese"


def is_chinese(text):
    return any("\u4e00" <= char <= "\u9fff" for char in text)


def problems_of_uses(entries, sources):
    """Where catalogue and source do not fit."""
    used = uses(sources)
    rules = rule_texts()
    for place, ids, values in used.calls:
        if missing := [name for name in ids if name not in entries]:
            yield f"{place}: there is no {missing}"
            continue
        needed = [placeholders(entries[name]["en"]) for name in ids]
        if values is not None and set().union(*needed) != values:
            yield f"{place}: {ids} needs {needed} and gets {values}"
    for name in entries:
        if not used.is_used(name) and name not in rules:
            yield f"{name}: nothing uses it"
    for name in rules - entries.keys():
        yield f"{name}: a rule has no such text"


def rule_texts():
    """The ids of what must be written about torchkeep's own rules."""
    return {
        f"{name.split('-')[1].lower()}.{name}.{section}"
        for ruleset in own_rulesets()
        for name in (*(rule.id for rule in ruleset.rules), *ruleset.issues)
        for section in SECTIONS
    }


def own_rulesets():
    points = distribution("torchkeep").entry_points.select(group=GROUP)
    return [point.load() for point in points]


def test_every_text_is_there_in_both_languages():
    assert list(problems_of_entries(entries())) == []


def test_catalogue_and_source_fit():
    assert list(problems_of_uses(entries(), sources())) == []


GOOD = {"en": "{n} files", "zh": "{n} 个文件"}


@pytest.mark.parametrize(
    "entry",
    [
        {"en": "files"},
        {"zh": "文件"},
        {"en": "files", "zh": ""},
        {"en": " ", "zh": "文件"},
        {"en": "files", "zh": "files"},
        {"en": "文件", "zh": "文件"},
        {"en": "{n} files", "zh": "文件"},
        {"en": "{n} files", "zh": "{m} 个文件"},
        {"en": "{n:d} files", "zh": "{n:d} 个文件"},
        {"en": "{n!r} files", "zh": "{n!r} 个文件"},
        {"en": "{n.x} files", "zh": "{n.x} 个文件"},
        {"en": "{} files", "zh": "{} 个文件"},
        {"en": "files", "zh": "文件", "fr": "fichiers"},
        {"en": 1, "zh": "文件"},
    ],
)
def test_planted_faults_of_a_text_are_found(entry):
    assert list(problems_of_entries({"a.b": GOOD})) == []
    assert list(problems_of_entries({"a.b": GOOD, "a.c": entry}))


# What a room may write, and whether the catalogue below fits.
ROOM = """
class Page:
    def say(self, name, **args):
        return message(f"a.deep.{name}", **args).text("en")
    def head(self, name):
        return self.say(name)
    def states(self):
        return [self.say(f"state-{state}") for state in ("on", "off")]
    def foot(self):
        kind = "short" if self.small else "long"
        return self.say(kind)
"""
CATALOGUE_OF_ROOM = {
    "a.found": GOOD,
    "a.none": {"en": "none", "zh": "无"},
    "a.kept": {"en": "kept", "zh": "保留"},
    "a.deep.some": GOOD,
    "a.deep.title": {"en": "title", "zh": "标题"},
    "a.deep.state-on": {"en": "on", "zh": "开"},
    "a.deep.state-off": {"en": "off", "zh": "关"},
    "a.deep.short": {"en": "short", "zh": "短"},
    "a.deep.long": {"en": "long", "zh": "长"},
}
FITS = """
page = Page()
message("a.found" if n else "a.none", n=n)
REASONS = ["a.kept"]
page.say("some", n=1)
page.head("title")
"""


def problems_of_room(code, extra=None):
    own = set(rule_texts())
    found = problems_of_uses(CATALOGUE_OF_ROOM | (extra or {}), {"a/b.py": ROOM + code})
    return [problem for problem in found if problem.split(":")[0] not in own]


def test_every_way_of_speaking_is_followed():
    assert problems_of_room(FITS) == []


@pytest.mark.parametrize(
    ("code", "extra"),
    [
        (FITS.replace("a.found", "a.fuond"), {}),
        (FITS.replace("n=n", "m=n"), {}),
        (FITS.replace("n=n", "n=n, m=1"), {}),
        (FITS.replace(", n=n", ""), {}),
        (FITS.replace('"a.kept"', ""), {}),
        (FITS.replace("n=1", ""), {}),
        (FITS.replace('"title"', '"titel"'), {}),
        (FITS.replace('page.head("title")', 'page.head("some")'), {}),
        (FITS + 'page.head("some")', {}),
        (FITS, {"a.deep.state-idle": {"en": "idle", "zh": "闲"}}),
        (FITS, {"a.new": GOOD}),
    ],
)
def test_planted_faults_of_a_use_are_found(code, extra):
    assert problems_of_room(code, extra)


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_TW"}, "zh"),
        ({"LANG": "en_GB.UTF-8"}, "en"),
        ({"LANG": "C"}, "en"),
        ({"LANG": ""}, "en"),
        ({"LANG": "en_US", "LC_MESSAGES": "zh_CN"}, "zh"),
        ({"LC_MESSAGES": "en_US", "LC_ALL": "zh_CN"}, "zh"),
        ({"LC_ALL": "", "LC_MESSAGES": "", "LANG": "zh_CN"}, "zh"),
        ({"LC_ALL": "C.UTF-8", "LANG": "zh_CN"}, "en"),
        ({"TORCHKEEP_LANG": "en", "LC_ALL": "zh_CN"}, "en"),
        ({"TORCHKEEP_LANG": "ZH", "LANG": "en"}, "zh"),
        ({"TORCHKEEP_LANG": "fr"}, "en"),
        ({"LC_CTYPE": "zh_CN"}, "en"),
    ],
)
def test_the_environment_chooses_the_language(monkeypatch, environment, language):
    for variable in ("TORCHKEEP_LANG", "LC_ALL", "LC_MESSAGES", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert preferred() == language


def test_a_message_speaks_both_languages():
    said = message("report.labels.waived", expires="2027-03-01", owner="ops", reason="why")
    assert said.text() == str(said) == "Waived until 2027-03-01 by ops: why"
    assert said.text("zh") == "已豁免至 2027-03-01，责任人 ops：why"


def test_lists_and_messages_are_written_in_the_language_of_the_sentence():
    parts = (message("report.states.pass"), "b", 3, (1, 2))
    said = Message("audit.kept", {"path": parts})
    assert said.text("en") == "report: pass, b, 3, 1, 2"
    assert said.text("zh") == "报告：通过、b、3、1、2"


@given(st.text())
def test_a_value_is_never_read_as_a_template(value):
    for tricky in (value, "{path}", "{0}", "{", "{path.__class__}"):
        assert message("audit.kept", path=tricky).text() == f"report: {tricky}"


@pytest.mark.parametrize(
    ("said", "en", "zh"),
    [(plain("a", "甲"), "a", "甲"), (plain("a"), "a", "a"), (plain("{x}"), "{x}", "{x}")],
)
def test_a_third_party_brings_its_own_words(said, en, zh):
    assert (said.text("en"), said.text("zh")) == (en, zh)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x",
        "nowhere.x",
        "report",
        "report.",
        "report.nothing",
        "report.states",
        "report.title.en",
    ],
)
def test_an_unknown_id_is_a_key_error(name):
    with pytest.raises(KeyError):
        template(name)


def test_an_unknown_language_is_a_key_error():
    with pytest.raises(KeyError):
        template("report.title", "fr")


def test_messages_can_be_compared_and_counted():
    one, same = message("audit.kept", path="a"), message("audit.kept", path="a")
    assert one == same != message("audit.kept", path="b")
    assert len({one, same}) == 1
