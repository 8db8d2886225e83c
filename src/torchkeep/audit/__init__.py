"""The scorecard: what is open in a project, what closes it, and what nobody has measured.

    >>> from torchkeep import audit
    >>> from torchkeep.core.project import Project
    >>> report = audit.run(Project.open("."))
    >>> report.verdict in (audit.Verdict.PASS, audit.Verdict.FAIL, audit.Verdict.INCOMPLETE)
    True

An audit executes nothing of the project. Rules come from the rooms and from plug-ins; a rule that
crashes is a row of the report, an item that no rule measures is another, and neither is a pass.
"""

from torchkeep.audit.explain import Explanation, explain, index
from torchkeep.audit.proposal import propose
from torchkeep.audit.report import Report, Verdict
from torchkeep.audit.run import PROFILES, run

__all__ = [
    "PROFILES",
    "Explanation",
    "Report",
    "Verdict",
    "explain",
    "index",
    "propose",
    "run",
]
