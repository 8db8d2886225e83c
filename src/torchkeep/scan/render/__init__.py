"""One scan, many forms: every renderer shows the same issues.

JSON and SARIF are English whatever the language, since machines read them.
"""

from __future__ import annotations

import json
from typing import Final

from torchkeep.scan.verdict import Report

FORMS: Final = ("terminal", "json", "sarif")


def render(report: Report, form: str, language: str = "en", *, every: bool = False) -> str:
    """The report as text that ends with a line.

    Args:
        report: What was seen.
        form: One of :data:`FORMS`.
        language: ``en`` or ``zh``.
        every: Whether people read the name of every clean file, however many there are.
    """
    # Imported when it is needed: a scan of one small file must start at once.
    if form == "json":
        return json.dumps(report.to_json()) + "\n"
    if form == "sarif":
        from torchkeep.scan.render import sarif

        return sarif.render(report) + "\n"
    from torchkeep.scan.render import terminal

    return terminal.render(report, language, every=every)


__all__ = ["FORMS", "render"]
