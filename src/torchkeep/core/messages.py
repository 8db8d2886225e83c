"""What end users read, in English and Chinese, from one catalogue.

The catalogue is ``core/catalogue/``: one TOML file per room, each entry a table with ``en`` and
``zh``. A message is named by file and table: ``scan.TK-SCAN-001.title``. A test holds both
languages complete and their placeholders equal.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

LANGUAGES: Final = ("en", "zh")
CATALOGUE: Final = Path(__file__).with_name("catalogue")

_COMMA: Final = {"en": ", ", "zh": "、"}


@dataclass(frozen=True, slots=True)
class Message:
    """A sentence that knows both languages and is written out only when shown.

    Attributes:
        id: Catalogue id, or empty for a message that carries its own text (:func:`plain`).
        args: Values for the placeholders; a tuple is written as a list. They may come from a
            file: whoever shows the text escapes it for the place where it is shown.
    """

    id: str
    args: Mapping[str, object] = field(default_factory=dict, hash=False)

    def text(self, language: str = "en") -> str:
        """The sentence in ``language`` (``en`` or ``zh``)."""
        if not self.id:
            return str(self.args.get(language) or self.args["en"])
        values = {key: _written(value, language) for key, value in self.args.items()}
        return template(self.id, language).format_map(values)

    def __str__(self) -> str:
        return self.text()


def _written(value: object, language: str) -> object:
    if isinstance(value, Message):
        return value.text(language)
    if isinstance(value, tuple):
        return _COMMA[language].join(str(_written(part, language)) for part in value)
    return value


def message(id: str, **args: object) -> Message:
    """A catalogue message: ``message("scan.TK-SCAN-001.found", format="pickle")``."""
    return Message(id, args)


def plain(en: str, zh: str | None = None) -> Message:
    """A message outside the catalogue, for rules of third parties."""
    return Message("", {"en": en, "zh": zh})


def template(id: str, language: str = "en") -> str:
    """The catalogue's text of ``id`` with its placeholders.

    Raises:
        KeyError: The catalogue has no such entry.
    """
    room, _, rest = id.partition(".")
    node: Any = catalogue(room)
    for part in (*rest.split("."), language):
        node = node.get(part) if isinstance(node, Mapping) else None
    if not isinstance(node, str):
        raise KeyError(id)
    return node


@cache
def catalogue(room: str) -> Mapping[str, Any]:
    """All messages of one room, as parsed.

    Raises:
        KeyError: The catalogue has no such room.
    """
    try:
        return tomllib.loads((CATALOGUE / f"{room}.toml").read_text("utf-8"))
    except FileNotFoundError as error:
        raise KeyError(room) from error


def preferred() -> str:
    """The language that the environment asks for: ``TORCHKEEP_LANG``, else the locale's."""
    for variable in ("TORCHKEEP_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(variable):
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"
