"""Keeps PyTorch models and the data behind them safe through their whole life, and proves it.

torchkeep is a library first; every command is a thin face over a public call::

    from torchkeep import audit
    from torchkeep.core.project import Project

    report = audit.run(Project.open("."))
    print(report.verdict)

Rooms are packages, one job each, and import only from lower floors
(``docs/architecture.md`` shows them). Importing this package loads nothing else.
"""

__version__ = "0.1.0"
