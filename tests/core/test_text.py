"""``core.text``: what a reader sees is what is there, and what a shell runs is what was meant."""

import shutil
import subprocess
import sys
import unicodedata
from pathlib import PurePosixPath

import pytest
from doubles.mutants import killed
from hypothesis import example, given, settings
from hypothesis import strategies as st

from torchkeep.core import text
from torchkeep.core.text import is_encodable, is_plain, path_argument, shell_command, visible, width

needs_bash = pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash here")
DUMP = (
    "import sys; sys.stdout.buffer.write(b'\\0'.join(map(__import__('os').fsencode, sys.argv[1:])))"
)

# Names that have bitten somebody, and that a shell must hand on unchanged.
HARMLESS = [
    *["", " ", "a b", "-x", "--", "~", "~root", "*", "?", "[ab]", "{a,b}", "a=b", "#x", "!", "!!"],
    *["$(id)", "`id`", "$HOME", "${IFS}", "a;id", "a&&id", "a|id", "a&", "<a", ">a", "a\\b", "\\"],
    *["'", '"', "''", "'\"'", "a'b'c", "it's", "'!id", "'\"'!!", "^a^b", "%self", "$'\\x41'", "$"],
    *[
        "模型 权重.pt",
        "naïve.csv",
        "𠮷.csv",
        "a\N{NO-BREAK SPACE}b",
        "\N{IDEOGRAPHIC SPACE}",
        "café",
    ],
]
# Names that show one thing and are another.
HIDDEN = {
    "newline": "a\nb",
    "carriage return": "a\rb",
    "tab": "a\tb",
    "escape": "a\x1b[31mb",
    "C1 control": "a\x9b31mb",
    "delete": "a\x7f",
    "NUL": "a\0b",
    "right-to-left override": "a\u202etp.exe",
    "isolate": "a\u2066b\u2069",
    "zero-width space": "a\u200bb",
    "byte-order mark": "\ufeffa",
    "soft hyphen": "a\u00adb",
    "line separator": "a\u2028b",
    "paragraph separator": "a\u2029b",
    "tag letters": "a\U000e0061",
    "stray byte": "a\udcff",
    "private use": "a\ue000",
    "unassigned": "a\U000e0fff",
    "Hangul filler": "a\u3164b",
    "joiner": "a\u034fb",
    "variation selector": "a\ufe0fb",
    "ideographic variation": "葛\U000e0100",
}
HIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}

anything = st.text(st.characters(), max_size=30)  # surrogates included


def check_hidden_are_escaped():
    for name in HIDDEN.values():
        shown = visible(name)
        assert shown != name
        assert is_plain(shown)
        assert not is_plain(name)
        assert shell_command(["torchkeep", name]) is None


def check_plain_is_left_alone():
    for name in HARMLESS:
        assert visible(name) == name
        assert is_plain(name)


@pytest.mark.parametrize("name", HIDDEN.values(), ids=HIDDEN)
def test_what_hides_is_written_out(name):
    shown = visible(name)
    assert shown != name
    assert is_plain(shown)
    assert not is_plain(name)


@pytest.mark.parametrize("name", HARMLESS)
def test_plain_text_stays_as_it_is(name):
    assert visible(name) == name
    assert is_plain(name)


@given(anything)
@example("".join(HIDDEN.values()))
def test_nothing_hidden_is_left(name):
    shown = visible(name)
    assert not HIDDEN_CATEGORIES & {unicodedata.category(char) for char in shown}
    assert is_plain(shown)
    assert is_encodable(shown)
    assert (shown == name) == is_plain(name)
    assert visible(shown) == shown


def test_every_character_of_every_kind():
    """No sampling: all of Unicode, once."""
    for point in range(sys.maxunicode + 1):
        char = chr(point)
        if unicodedata.category(char) in HIDDEN_CATEGORIES:
            assert not is_plain(char), hex(point)
        elif "\u4e00" <= char <= "\u9fff" or char.isalnum():
            assert is_plain(char) or char in "\u115f\u1160\u3164\uffa0", hex(point)


@pytest.mark.parametrize(
    ("owner", "mutant"),
    [
        ("_HIDDEN", text._HIDDEN - {"Cc"}),
        ("_HIDDEN", text._HIDDEN - {"Cf"}),
        ("_HIDDEN", text._HIDDEN - {"Cs"}),
        ("_HIDDEN", text._HIDDEN - {"Zl"}),
        ("_HIDDEN", text._HIDDEN - {"Zp"}),
        ("_HIDDEN", text._HIDDEN - {"Co"}),
        ("_HIDDEN", text._HIDDEN - {"Cn"}),
        ("_HIDDEN", text._HIDDEN | {"Lo"}),
        ("_HIDDEN", text._HIDDEN | {"Zs"}),
        ("_BLANK", __import__("re").compile("(?!)")),
        ("_escape", lambda _char: "?\n"),
        ("is_plain", lambda _text: True),
    ],
)
def test_mutants_of_visible_die(monkeypatch, owner, mutant):
    checks = (check_hidden_are_escaped, check_plain_is_left_alone)
    assert killed(monkeypatch, text, owner, mutant, *checks)


def run_by_bash(arguments, *options):
    """What a program receives when the printed command is run by a real shell."""
    command = shell_command([sys.executable, "-c", DUMP, *arguments])
    assert command is not None
    done = subprocess.run(["bash", *options, "-c", command], capture_output=True, check=True)
    assert done.stderr == b""
    return done.stdout.split(b"\0")


@needs_bash
def test_a_real_shell_hands_on_what_was_meant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ab").touch()  # something for a glob to find
    assert run_by_bash(HARMLESS) == [name.encode() for name in HARMLESS]


@needs_bash
@settings(max_examples=15)
@given(st.lists(st.text(st.characters(), min_size=1), min_size=1, max_size=12))
def test_a_real_shell_hands_on_any_plain_name(names):
    plain = [name for name in names if is_plain(name)] or ["a"]
    assert run_by_bash(plain) == [name.encode() for name in plain]
    if len(plain) < len(names):
        assert shell_command(["torchkeep", *names]) is None


def typed_into_bash(names, folder):
    """What a program receives when the printed command is pasted at a prompt."""
    command = shell_command([sys.executable, "-c", DUMP, *names])
    typed = f"echo before\n{command} > {folder}/out\nexit\n"
    subprocess.run(
        ["bash", "--norc", "--noprofile", "-i"],
        input=typed.encode(),
        capture_output=True,
        env={"PATH": "/usr/bin:/bin", "HISTFILE": str(folder / "history"), "LC_ALL": "C.UTF-8"},
        start_new_session=True,
    )
    return (folder / "out").read_bytes().split(b"\0")


@needs_bash
def test_pasting_at_a_prompt_expands_no_history(tmp_path):
    """``!`` acts only where a person types, so it is typed here."""
    names = ["!!", "'!!", "it's!echo", '"!echo"', "^a^b", "$(id)"]
    assert typed_into_bash(names, tmp_path) == [name.encode() for name in names]


@needs_bash
def test_the_prompt_of_these_tests_would_expand_history(tmp_path, monkeypatch):
    monkeypatch.setattr(text.shlex, "join", lambda words: " ".join(f'"{word}"' for word in words))
    assert typed_into_bash(["!echo"], tmp_path) == [b"echo before"]


@needs_bash
@pytest.mark.parametrize(
    "mutant",
    [" ".join, lambda words: " ".join(f'"{word}"' for word in words), lambda words: repr(words)],
    ids=["unquoted", "double quotes", "repr"],
)
def test_mutants_of_quoting_die(monkeypatch, mutant):
    def check():
        try:
            assert run_by_bash(["a b", "$(echo x)", "`id`", "*"]) == [
                *(b"a b", b"$(echo x)", b"`id`", b"*")
            ]
        except subprocess.CalledProcessError as error:
            raise AssertionError("the shell did not take it") from error

    assert killed(monkeypatch, text.shlex, "join", mutant, check)


@pytest.mark.parametrize("name", HIDDEN.values(), ids=HIDDEN)
def test_a_name_that_hides_something_gets_no_command(name):
    assert shell_command(["torchkeep", "scan", name]) is None


@pytest.mark.parametrize(
    ("path", "argument"),
    [
        ("-x.pt", "./-x.pt"),
        ("--json", "./--json"),
        ("-", "./-"),
        ("a-b", "a-b"),
        ("./-x", "./-x"),
        ("/-x", "/-x"),
        ("a/-x", "a/-x"),
        ("~", "~"),
        ("", ""),
        (PurePosixPath("-rf"), "./-rf"),
        (PurePosixPath("a/-rf"), "a/-rf"),
    ],
)
def test_a_path_is_no_option(path, argument):
    assert path_argument(path) == argument


@pytest.mark.parametrize(
    ("shown", "columns"),
    [
        ("", 0),
        ("abc", 3),
        ("模型", 4),
        ("a模b", 4),
        ("ｱ", 1),  # half width
        ("Ａ", 2),  # full width
        ("e\u0301", 1),
        ("n\u20dd", 1),  # an enclosing mark has combining class 0
        ("ก\u0e34", 1),  # a Thai vowel above as well
        ("，", 2),
        ("😀", 2),
    ],
)
def test_columns_on_a_terminal(shown, columns):
    assert width(shown) == columns


@pytest.mark.parametrize(
    ("name", "carried"),
    [("", True), ("模型", True), ("a\ud7ff\ue000", True), ("a\ud800", False), ("\udfff", False)],
)
def test_what_utf_8_carries(name, carried):
    assert is_encodable(name) == carried
