"""Chat templates: programs in Jinja that come with a model and run for each conversation.

What a template needs is loops, tests and the fields of messages. Python's inner attributes are how
one breaks out of it, whatever runs it, sandbox or not.
"""

from __future__ import annotations

import codecs
import re
import warnings
from collections.abc import Iterator
from typing import Final

_LONGEST: Final = 1 << 20
_OPEN: Final = re.compile(r"\{[{%#]")
# As Jinja's own lexer has it, so that both see the same strings.
_TOKEN: Final = re.compile(
    r"""(?P<space>\s+)|(?P<text>'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*")"""
    r"""|(?P<name>[^\W\d]\w*)|(?P<number>\d[\w.]*)|(?P<sign>.)""",
    re.DOTALL,
)
_INNER: Final = re.compile(r"__\w+__|[.\[]_|^__\w|\w__$")  # the halves of such a name, too
# Names by which Python's inner life is reached, and helpers that templates have no use for.
_NEVER: Final = frozenset(
    {"lipsum", "get_flashed_messages", "url_for", "func_globals", "gi_frame", "f_globals"}
    | {"tb_frame", "cr_frame", "ag_frame", "gi_code", "import_module", "popen", "subprocess"}
    | {"builtins", "mro", "environ", "getattr", "f_back", "f_builtins"}
)
_FROM_OTHERS: Final = frozenset({"import", "include", "extends", "from"})

Token = tuple[str, str]


def danger(template: str) -> str | None:
    """The first part of a template by which it would leave its sandbox; None where there is none.

    Args:
        template: Its text.
    """
    if len(template) > _LONGEST:
        return "it is longer than any template needs"
    for block in _blocks(template):
        for before, token, after in zip(
            [("", ""), *block], block, [*block[1:], ("", "")], strict=False
        ):
            if found := _judge(before, token, after):
                return found
    return None


def _judge(before: Token, token: Token, after: Token) -> str | None:
    kind, value = token
    if kind == "name":
        if value.startswith("__") or (value.startswith("_") and before[1] == "."):
            return value
        if value in _NEVER or (value == "attr" and before[1] == "|"):
            return value
        if value == "self" and before[1] != "." and after[1] in (".", "["):
            return f"self{after[1]}"
        if value in _FROM_OTHERS and before == ("sign", "%"):
            return value
    if kind == "text":
        text = _unescaped(value[1:-1])
        if _INNER.search(text) or (text.strip("_") == "" and _is_built(text, before, after)):
            return value[:60]
        if ("_" in text and "_" not in value) or text in _NEVER or text == "attr":
            return value[:60]
    return None


def _is_built(text: str, before: Token, after: Token) -> bool:
    """Whether underscores are put together with something: ``'_' ~ '_class'``."""
    around = before[1], after[1]
    in_list = around[0] in ("[", ",") and around[1] in ("]", ",")
    return len(text) > 1 or (len(text) == 1 and (in_list or bool({"~", "+", "*"} & set(around))))


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    with warnings.catch_warnings():  # Python would complain of the escapes of regular expressions
        warnings.simplefilter("ignore")
        try:
            return codecs.decode(text.encode("ascii", "backslashreplace"), "unicode-escape")
        except ValueError:
            return text


def _blocks(template: str) -> Iterator[list[Token]]:
    """The tokens of each expression and statement."""
    at = 0
    while match := _OPEN.search(template, at):
        if match[0] == "{#":
            end = template.find("#}", match.end())
            at = len(template) if end < 0 else end + 2
            continue
        tokens, at = _tokens(template, match.end(), "}}" if match[0] == "{{" else "%}")
        if match[0] == "{%":
            tokens.insert(0, ("sign", "%"))
        yield tokens


def _tokens(template: str, at: int, close: str) -> tuple[list[Token], int]:
    tokens: list[Token] = []
    depth = 0
    if template[at : at + 1] in ("-", "+"):
        at += 1
    while at < len(template):
        if depth == 0 and template.startswith(close, at):
            return tokens, at + 2
        match = _TOKEN.match(template, at)
        if match is None or match.lastgroup is None:
            break
        at = match.end()
        if match.lastgroup != "space":
            tokens.append((match.lastgroup, match[0]))
            depth = max(0, depth + (match[0] in "([{") - (match[0] in ")]}"))
    return tokens, len(template)
