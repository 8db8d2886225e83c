"""Every error that torchkeep raises on purpose.

::

    TorchkeepError
    ├── Refused          1  the input was understood and must not be used
    │   └── ...             rooms add theirs: a wrong key, an unsafe file, a spent budget
    ├── UsageError       2  the call or the command line is wrong
    │   ├── ProjectError    torchkeep.toml is wrong: file, line and key are named
    │   └── MissingExtra    an optional dependency is not installed
    ├── Foreign          2  the file is not what it was taken for
    │   └── SourceError     bytes could not be read from where they were said to be
    ├── Internal         2  torchkeep itself, or the machine below it, failed
    │   └── NoSink          a durable event was emitted and nobody keeps it
    └── Incomplete       3  the answer could not be reached

A verdict ("the signature is wrong") is a value, not an error. An error says what happened, what was
expected and what to do next. Cryptographic failures say nothing more than that they failed.
"""

from __future__ import annotations

import copyreg
from pathlib import Path
from typing import Any, ClassVar

from torchkeep.core.text import visible


class TorchkeepError(Exception):
    """Base of the tree.

    Attributes:
        message: What happened and what was expected, one line.
        next: What to do next, one line; empty where nothing can be done.
        exit_code: Exit status of a command that ends with this error.
        code: Stable name of the error in ``--json`` output.
    """

    exit_code: ClassVar[int] = 2
    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, next: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next = next

    def __str__(self) -> str:
        return f"{self.message}; {self.next}" if self.next else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors come back from worker processes; the constructors below take other arguments.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class Refused(TorchkeepError):
    """The input was understood and must not be used."""

    exit_code = 1
    code = "refused"


class UsageError(TorchkeepError):
    """The call or the command line is wrong."""

    code = "usage"


class ProjectError(UsageError):
    """``torchkeep.toml`` is wrong.

    Attributes:
        path: The project file.
        line: 1-based line of the offending key, where it is known.
        key: Dotted key, where one is to blame.
    """

    code = "project"

    def __init__(
        self, message: str, *, path: Path, line: int | None = None, key: str = "", next: str = ""
    ) -> None:
        where = visible(f"{path}:{line}" if line else str(path))
        super().__init__(f"{where}: {key}: {message}" if key else f"{where}: {message}", next=next)
        self.path = path
        self.line = line
        self.key = key


class MissingExtra(UsageError):
    """An optional dependency is not installed.

    Args:
        purpose: What needs it, as the start of a sentence.
        extra: Name of the extra in ``pip install 'torchkeep[extra]'``.
    """

    code = "missing-extra"

    def __init__(self, purpose: str, extra: str) -> None:
        super().__init__(
            f"{purpose} needs an optional part that is not installed",
            next=f"run: pip install 'torchkeep[{extra}]'",
        )
        self.extra = extra


class Foreign(TorchkeepError):
    """The file is not what it was taken for."""

    code = "foreign"


class SourceError(Foreign):
    """Bytes could not be read from where they were said to be."""

    code = "source"


class Internal(TorchkeepError):
    """torchkeep itself, or the machine below it, failed."""

    code = "internal"


class NoSink(Internal):
    """A durable event was emitted and nobody keeps it."""

    code = "no-sink"


class Incomplete(TorchkeepError):
    """The answer could not be reached."""

    exit_code = 3
    code = "incomplete"
