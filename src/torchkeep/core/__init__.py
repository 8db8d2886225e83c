"""The words and tools that every room shares. Nothing here knows of any room.

The surface is its modules, each with one noun: a room says what it saw with
:class:`~torchkeep.core.finding.Finding`, what it looks for with :class:`~torchkeep.core.rule.Rule`,
what it did with :class:`~torchkeep.core.statement.Statement`, about a
:class:`~torchkeep.core.project.Project`. Every error is in the tree of
:mod:`torchkeep.core.errors`. Importing this package imports none of them.
"""

__all__ = [
    "actor",
    "db",
    "digest",
    "dsse",
    "errors",
    "events",
    "evidence",
    "files",
    "finding",
    "items",
    "messages",
    "plugins",
    "progress",
    "project",
    "rule",
    "safetensors",
    "sarif",
    "schema",
    "sink",
    "source",
    "statement",
    "strict",
    "text",
    "toml",
    "tree",
]
