"""One report, many forms: every renderer shows the same findings.

JSON and SARIF are English whatever the language, since machines read them.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

from torchkeep.audit.report import Report

FORMS: Final = ("terminal", "json", "sarif", "html")


def render(report: Report, form: str, language: str = "en") -> str:
    """The report as text in one of :data:`FORMS`; ``language`` is ``en`` or ``zh``."""
    text: str = import_module(f"{__name__}.{form}").render(report, language)
    return text


__all__ = ["FORMS", "render"]
