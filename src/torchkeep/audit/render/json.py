"""The report as one JSON document."""

from __future__ import annotations

import json

from torchkeep.audit.report import Report


def render(report: Report, _language: str = "en") -> str:
    """JSON text; characters outside ASCII are escaped, so it is harmless wherever it is shown."""
    return json.dumps(report.to_json(), indent=2, allow_nan=False)
