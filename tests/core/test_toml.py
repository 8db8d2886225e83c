"""``core.toml``: a complaint points at the line that a person has to change."""

import os
import re
import tomllib
from pathlib import Path

import pytest
from doubles.mutants import killed
from hypothesis import given
from hypothesis import strategies as st

from torchkeep.core import toml
from torchkeep.core.errors import ProjectError
from torchkeep.core.toml import dotted, line_of, parse

DOCUMENT = """\
# torchkeep.toml                                   1
                                                  #2
top = "level"                                     #3
dotted.key.deep = 1                               #4
dotted . key . other = 2                          #5

[models.a]                                        #7
build = "m:f"                                     #8
range = [                                         #9
    0,
    1,  # ] not the end
]
"quoted key" = 1                                  #13
'literal.key' = 2                                 #14
test = { path = "x", limit = 3, inner = { a = 1 } }   #15
text = \"\"\"
[not.a.table]
build = "not a key"
\"\"\"                                            #19
more = '''
[nor.this]
x = 1'''                                          #22
tricky = "# no comment [ { "                      #23
escaped = "a\\"]b"                                #24
quotes = \"\"\"two "" quotes at the end\"\"\"\"\"  #25
list = [{ a = 1 }, { a = 2, b = 3 }, [1, [2]]]    #26

[models."b.c" . 'd']                              #28
weights = "w"                                     #29

[[waivers]]                                       #31
rule = "A"                                        #32

[[waivers]]                                       #34
rule = "B"                                        #35
[waivers.more]                                    #36
deep = 1                                          #37
[[waivers.list]]                                  #38
x = 1                                             #39
[[waivers.list]]                                  #40
x = 2                                             #41
[[waivers]]                                       #42
[[waivers.list]]                                  #43
x = 3                                             #44
"""
LINES = {
    ("top",): 3,
    ("dotted",): 4,
    ("dotted", "key"): 4,
    ("dotted", "key", "deep"): 4,
    ("dotted", "key", "other"): 5,
    ("models",): 7,
    ("models", "a"): 7,
    ("models", "a", "build"): 8,
    ("models", "a", "range"): 9,
    ("models", "a", "range", 1): 9,
    ("models", "a", "range", 2): None,
    ("models", "a", "quoted key"): 13,
    ("models", "a", "literal.key"): 14,
    ("models", "a", "test", "limit"): 15,
    ("models", "a", "test", "inner", "a"): 15,
    ("models", "a", "test", "inner", "b"): None,
    ("models", "a", "text"): 16,
    ("models", "a", "text", 0): None,
    ("models", "a", "more"): 20,
    ("models", "a", "tricky"): 23,
    ("models", "a", "escaped"): 24,
    ("models", "a", "quotes"): 25,
    ("models", "a", "list"): 26,
    ("models", "a", "list", 1, "b"): 26,
    ("models", "a", "list", 0, "b"): None,
    ("models", "a", "list", 2, 1, 0): 26,
    ("models", "a", "weights"): None,
    ("models", "b.c"): 28,
    ("models", "b.c", "d"): 28,
    ("models", "b.c", "d", "weights"): 29,
    ("models", "b", "c"): None,
    ("not", "a", "table"): None,
    ("nor", "this"): None,
    ("waivers",): 31,
    ("waivers", 0): 31,
    ("waivers", 0, "rule"): 32,
    ("waivers", 1): 34,
    ("waivers", 1, "rule"): 35,
    ("waivers", 1, "more"): 36,
    ("waivers", 1, "more", "deep"): 37,
    ("waivers", 0, "more"): None,
    ("waivers", 1, "list"): 38,
    ("waivers", 1, "list", 1): 40,
    ("waivers", 1, "list", 1, "x"): 41,
    ("waivers", 2): 42,
    ("waivers", 2, "list", 0): 43,
    ("waivers", 2, "list", 0, "x"): 44,
    ("waivers", 2, "list", 1): None,
    ("waivers", 3): None,
    ("waivers", "rule"): None,
    ("top", "level"): None,
    (0,): None,
    ("",): None,
}


def check_lines(document=DOCUMENT):
    assert {key: line_of(document, key) for key in LINES} == LINES


def test_the_line_of_every_kind_of_key():
    assert tomllib.loads(DOCUMENT)
    check_lines()
    check_lines(DOCUMENT.replace("\n", "\r\n"))


def test_characters_that_only_python_takes_for_line_ends_count_as_none():
    text = 'a = "\u2028\u2029\x85"\n# \u2028\nb = 1\n'
    assert line_of(text, ("b",)) == 3


@pytest.mark.parametrize("text", ["", "\n", "# nothing", "\n\n# x\n"])
def test_where_there_is_nothing_there_is_no_line(text):
    assert line_of(text, ("a",)) is None
    assert line_of(text, ()) is None


def test_the_last_line_needs_no_end():
    assert line_of("a = 1\nb = 2", ("b",)) == 2
    assert line_of("[a]\n[b]", ("b",)) == 2


def prefixes(text, key):
    """The line by another way: the shortest run of whole lines that parses and holds the key.

    Slow, since it parses the text once for each line, and without any idea of what a statement is.
    """
    lines = text.split("\n")
    start = 0
    for end in range(1, len(lines) + 1):
        try:
            document = tomllib.loads("\n".join(lines[:end]) + "\n")
        except tomllib.TOMLDecodeError:
            continue
        if toml._holds(document, key):
            blank = [not line.strip() or line.lstrip().startswith("#") for line in lines]
            return next(n for n in range(start, end) if not blank[n]) + 1
        start = end
    return None


keys = st.sampled_from(["a", "b", '"a.b"', "'c d'", '"é"', '"\\n"', '""', "1", "-"])
tails = st.sampled_from(["", "  # end", " # [ { \"\"\" '''"])
values = st.deferred(
    lambda: (
        st.sampled_from(
            [
                *(
                    "1",
                    "1.5",
                    "true",
                    '"x"',
                    "'y'",
                    "2027-03-01",
                    '"#"',
                    '"[["',
                    "'\"'",
                    '"\\""',
                    "inf",
                ),
                *(
                    '"""\nx = 1\n[y]\n"""',
                    "'''\n\n'''",
                    '"""a""b"""',
                    '"""c"""""',
                    "''''q'''",
                    '"""\\"""d"""',
                ),
                *("[\n1,\n\n# ]\n2\n]", "[]", "{}", '"""\\\n   x"""'),
            ]
        )
        | st.lists(values, max_size=2).map(lambda parts: f"[{', '.join(parts)}]")
        | st.lists(st.tuples(keys, values), max_size=2).map(
            lambda pairs: "{ " + ", ".join(f"{k} = {v}" for k, v in pairs) + " }"
        )
    )
)
names = st.lists(keys, min_size=1, max_size=3).map(".".join)
lines = (
    st.builds("{} = {}{}".format, names, values, tails)
    | st.builds("[{}]{}".format, names, tails)
    | st.builds("[[{}]]{}".format, names, tails)
    | st.sampled_from(["", "# comment", "   ", "\t# [a]"])
)


@st.composite
def documents(draw):
    """TOML that parses: a line that would not is not taken."""
    text = ""
    for line in draw(st.lists(lines, max_size=10)):
        try:
            tomllib.loads(text + line + "\n")
        except (tomllib.TOMLDecodeError, RecursionError):
            continue
        text += line + "\n"
    return text


def places(document, at=()):
    if at:
        yield at
    if isinstance(document, dict | list):
        entries = document.items() if isinstance(document, dict) else enumerate(document)
        for key, value in entries:
            yield from places(value, (*at, key))


def check_against_prefixes(text):
    for key in places(tomllib.loads(text)):
        line = line_of(text, key)
        assert line == prefixes(text, key), key
        assert line is not None


@given(documents())
def test_it_is_the_line_at_which_the_key_appears(text):
    check_against_prefixes(text)


@given(documents(), st.lists(st.text(max_size=3) | st.integers(0, 3), max_size=3))
def test_a_key_that_is_not_there_has_no_line(text, key):
    if not toml._holds(tomllib.loads(text), key):
        assert line_of(text, key) is None


PLAIN = st.text("abc", min_size=1, max_size=2)


@given(
    st.dictionaries(
        PLAIN, st.dictionaries(PLAIN, st.integers() | st.text("xyz"), min_size=1), min_size=1
    )
)
def test_the_line_holds_the_last_part_of_the_key(document):
    text = "".join(
        f"[{table}]\n" + "".join(f"{key} = {value!r}\n" for key, value in entries.items())
        for table, entries in document.items()
    )
    for key in places(tomllib.loads(text)):
        assert key[-1] in text.split("\n")[line_of(text, key) - 1]


@given(st.text() | documents().flatmap(lambda t: st.integers(0, len(t)).map(lambda n: t[n:])))
def test_any_text_whatever_gives_a_line_or_none(text):
    for key in [(), ("a",), ("a", 0, "b"), ("",)]:
        line = line_of(text, key)
        assert line is None or 1 <= line <= text.count("\n") + 1


@pytest.mark.parametrize(
    ("name", "mutant"),
    [
        ("_TOKEN", re.compile(r"[\[\]{}\n]")),
        ("_TOKEN", re.compile("\n")),
        ("_holds", lambda document, key: not key or key[0] in document),
        ("_statements", lambda text: enumerate(text.splitlines(keepends=True), 1)),
        ("_statements", lambda text: ((n, s + "\n") for n, s in enumerate(text.split("\n"), 1))),
        ("_table", lambda document, counts, is_array: tuple(document)),
    ],
)
def test_mutants_die(monkeypatch, name, mutant):
    assert killed(monkeypatch, toml, name, mutant, check_lines)


def test_a_long_file_takes_no_long_time():
    """Each statement is parsed once: 20,000 of them took minutes when prefixes were parsed."""
    text = "".join(f"[models.m{n}]\nweights = 'w{n}'\n" for n in range(10_000))
    parsed = []
    real = tomllib.loads
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tomllib, "loads", lambda text: parsed.append(len(text)) or real(text))
        assert line_of(text, ("models", "m9999", "weights")) == 20_000
    assert sum(parsed) == len(text)


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ((), ""),
        (("a",), "a"),
        (("models", "a", "range", 1), "models.a.range[1]"),
        (("waivers", 0, "expires"), "waivers[0].expires"),
        (("data", "my table", "path"), 'data."my table".path'),
        (("a.b", "c"), '"a.b".c'),
        (("",), '""'),
        (("a\nb\x1b",), '"a\\nb\\x1b"'),
        (("模型",), '"模型"'),
    ],
)
def test_a_key_for_a_message(key, shown):
    assert dotted(key) == shown


# Reading.


@pytest.fixture
def file(tmp_path):
    return tmp_path / "torchkeep.toml"


def refused(file):
    with pytest.raises(ProjectError) as caught:
        parse(file)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"{file}", "F"), caught.value.line


# What follows `not TOML: ` is in the words of Python, which differ from one version to the next.
BAD = {
    "no value": (b"a = 1\nb =\n", "F:2: not TOML: "),
    "no statement": (b"\n\nhello\n", "F:3: not TOML: "),
    "the end too soon": (b"a = 1\nb = [1,\n\n", "F:2: not TOML: "),
    "a string without end": (b'a = """\nx\n', "F:2: not TOML: "),
    "a key twice": (b"a = 1\n\na = 2\n", "F:3: not TOML: "),
    "a table twice": (b"[a]\n[a]\n", "F:2: not TOML: "),
    "a day that is none": (b"a = 2027-02-30\n", "F:1: not TOML: "),
    "a control character": (b'a = "\x00"\n', "F:1: not TOML: "),
    "too many digits": (b"a = 1\nb = " + b"1" * 5000, "F: not TOML: "),
    "Latin-1": (b'a = 1\nb = "caf\xe9"\n', "F:2: expected UTF-8 text"),
    "UTF-16": ("a = 1".encode("utf-16"), "F:1: expected UTF-8 text"),
    "too deep": (b"a = " + b"[" * 50_000, "F: nested too deep to be read"),
}


@pytest.mark.parametrize(("data", "message"), BAD.values(), ids=BAD)
def test_what_is_no_toml_is_refused_with_its_line(file, data, message):
    file.write_bytes(data)
    shown, _ = refused(file)
    if message.endswith(": "):
        assert shown.startswith(message)
        assert re.search(r"\w", shown.removeprefix(message))
        assert "(at " not in shown
    else:
        assert shown == message


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "No such file or directory"),
        (Path.mkdir, "that is not a regular file"),
        (os.mkfifo, "that is not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "that is not a regular file"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
        (
            lambda path: path.write_bytes(b"#" * (1 << 20) + b"\n"),
            "it is larger than the 1,048,576 bytes",
        ),
    ],
    ids=["missing", "folder", "pipe", "device", "loop", "huge"],
)
def test_what_cannot_be_read_is_said_once(file, make, reason):
    make(file)
    shown, line = refused(file)
    assert shown.startswith(f"F: cannot be read: {reason}")
    assert shown.count("F") == 1
    assert line is None


def test_a_byte_order_mark_is_no_mistake_of_the_writer(file):
    file.write_bytes(b"\xef\xbb\xbfa = 1\nb = 2\n")
    document, text = parse(file)
    assert document == {"a": 1, "b": 2}
    assert line_of(text, ("a",)) == 1


def test_what_is_read_is_what_is_there(file):
    file.write_text(DOCUMENT)
    assert parse(file) == (tomllib.loads(DOCUMENT), DOCUMENT)
