"""A project: a folder, what its ``torchkeep.toml`` says, and what is known about its files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

from torchkeep.core import digest, files, source, toml, tree
from torchkeep.core.dsse import Envelope
from torchkeep.core.errors import Internal, ProjectError, UsageError
from torchkeep.core.evidence import Evidence, Statements, Verify, by_presence
from torchkeep.core.finding import Waiver
from torchkeep.core.schema import (
    DataTable,
    ModelTable,
    Profile,
    ProjectTable,
    Table,
    WaiverTable,
    validate,
)
from torchkeep.core.statement import Statement, Subject
from torchkeep.core.text import visible

FILE: Final = "torchkeep.toml"
STATE: Final = ".torchkeep"
ROOMS: Final = ("vault",)
"""Rooms that have a table of their own beside that in ``[policy]``."""

VERIFIERS: Final = "torchkeep.verifiers"
"""Entry points of the rooms that judge signatures: of a project, what judges its statements."""

LONGEST_WAIVER: Final = timedelta(days=180)

T = TypeVar("T", bound=Table)
R = TypeVar("R")


@dataclass(frozen=True)
class Project:
    """A folder with models and data.

    Attributes:
        root: The folder; paths in the project file are relative to it.
        file: The project file; None for a folder that has none.
        name: What to call it.
        models: Its models, by name.
        data: Its tables and texts, by name.
        profile: ``baseline`` or ``strict``.
        waivers: Findings that are accepted for a while.
        policies: The parsed tables of ``[policy]``, which the rooms validate (:meth:`policy`).
        settings: The parsed tables of single rooms, such as ``[vault]`` (:meth:`table`).
    """

    root: Path
    file: Path | None = None
    name: str = ""
    models: Mapping[str, ModelTable] = field(default_factory=dict)
    data: Mapping[str, DataTable] = field(default_factory=dict)
    profile: str = "baseline"
    waivers: tuple[Waiver, ...] = ()
    policies: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    text: str = field(default="", repr=False)

    @classmethod
    def open(cls, folder: str | os.PathLike[str] = ".") -> Project:
        """The project in ``folder``, or the folder itself where it has no project file.

        Raises:
            UsageError: There is no such folder.
            ProjectError: Its project file is wrong.
        """
        root = Path(folder)
        if not os.path.isdir(root):  # noqa: PTH112 (Path.is_dir raises where it may not look)
            raise UsageError(
                f"{visible(str(root))} is not a folder", next="name the folder of a project"
            )
        try:
            (root / FILE).lstat()
        except FileNotFoundError:
            return cls(root=root, name=root.resolve().name or "project")
        except OSError:
            pass  # it may be there: load() says why it cannot be read
        return cls.load(root / FILE)

    @classmethod
    def load(cls, path: str | os.PathLike[str] = FILE) -> Project:
        """Read a project file.

        Raises:
            ProjectError: It is wrong: the message names file, line and key.
        """
        file = Path(path)
        document, text = toml.parse(file)
        read = _Reader(file, text)
        read.closed(document, ("project", "models", "data", "policy", "waivers", *ROOMS))
        policy = read.table(document, "policy")
        settings = {key: value for key, value in policy.items() if not isinstance(value, dict)}
        return cls(
            root=file.parent,
            file=file,
            name=read.one(ProjectTable, document.get("project", {}), ("project",)).name,
            models=read.named(ModelTable, document, "models"),
            data=read.named(DataTable, document, "data"),
            profile=read.one(Profile, settings, ("policy",)).profile,
            waivers=read.waivers(document.get("waivers", []), date.today()),
            policies={key: value for key, value in policy.items() if isinstance(value, dict)},
            settings={room: read.table(document, room) for room in ROOMS if room in document},
            text=text,
        )

    def policy(self, room: str, model: type[T]) -> T:
        """The policy table of a room, validated; its defaults where the project sets none.

        Raises:
            ProjectError: The table is wrong.
        """
        value = self.policies.get(room, {})
        return validate(model, value, ("policy", room), self.file or Path(FILE), self.text)

    def table(self, room: str, model: type[T]) -> T:
        """The table of a room, validated; its defaults where the project has none.

        Raises:
            ProjectError: The table is wrong.
        """
        value = self.settings.get(room, {})
        return validate(model, value, (room,), self.file or Path(FILE), self.text)

    def check_policies(self, known: Iterable[str]) -> None:
        """Refuse policy tables that nothing reads.

        Args:
            known: The rooms that have a policy table.

        Raises:
            ProjectError: A table belongs to no room of this installation.
        """
        _Reader(self.file or Path(FILE), self.text).closed(self.policies, known, ("policy",))

    @property
    def state(self) -> Path:
        """The folder of the project's state; it need not exist."""
        return self.root / STATE

    def make_state(self) -> Path:
        """The folder of the project's state, made where it is missing and ignored by git."""
        files.make_private_folder(self.state)
        return self.state

    def keep(self, statement: Statement, envelope: Envelope | None = None) -> Path:
        """Keep a statement in the project's state.

        Args:
            statement: What is said.
            envelope: The same, signed; unsigned where None.
        """
        self.make_state()
        return self.statements.add(statement, envelope)

    def once(self, make: Callable[[Project], R]) -> R:
        """What ``make`` gives for this project, worked out at the first call."""
        if make not in self._made:
            self._made[make] = make(self)
        found: R = self._made[make]
        return found

    @cached_property
    def _made(self) -> dict[Any, Any]:
        return {}

    @cached_property
    def tree(self) -> tree.Tree:
        """The project's files, found once."""
        return tree.walk(self.root)

    @cached_property
    def statements(self) -> Statements:
        """The project's statements, judged by the room whose table says whom to trust."""
        return Statements(self.state / "statements", self._verify())

    def _verify(self) -> Verify:
        if not self.settings:  # most projects; to look for plug-ins takes a while
            return by_presence
        from torchkeep.core import plugins  # help pages must not wait for installed packages

        for plugin in plugins.load(VERIFIERS):
            if plugin.name not in self.settings:
                continue
            if plugin.error is not None:
                raise Internal(
                    f"signatures cannot be judged: {plugin.package} does not load",
                    next="install torchkeep anew",
                ) from plugin.error
            verify: Verify = plugin.value(self)
            return verify
        return by_presence

    def subject(self, path: str | os.PathLike[str]) -> Subject:
        """Name a file of the project by its digests.

        Weights get a content digest too where their bytes alone give it (safetensors).

        Raises:
            SourceError: The file cannot be read.
            Foreign: Its name ends in ``.safetensors`` and it is none.
        """
        name = os.fspath(path)
        with source.open(self.root / name) as opened:
            weights = name.endswith(".safetensors")
            return Subject(
                name=name,
                sha256=digest.sha256(opened),
                content=digest.safetensors_content(opened) if weights else None,
            )

    def evidence(self, kind: str, subject: Subject) -> Evidence | None:
        """The best statement of ``kind`` that holds for the bytes named by ``subject``."""
        return self.statements.evidence(kind, subject)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the tables of one project file."""

    file: Path
    text: str

    def closed(
        self, table: Mapping[str, Any], known: Iterable[str], at: tuple[str, ...] = ()
    ) -> None:
        names = sorted(known)
        for key in table:
            if key not in names:
                place = (*at, key)
                raise ProjectError(
                    f"unknown table; known here: {', '.join(names) or 'none'}",
                    path=self.file,
                    line=toml.line_of(self.text, place),
                    key=toml.dotted(place),
                )

    def table(self, document: Mapping[str, Any], key: str) -> dict[str, Any]:
        value = document.get(key, {})
        if not isinstance(value, dict):
            line = toml.line_of(self.text, (key,))
            raise ProjectError(f"expected a table [{key}]", path=self.file, line=line, key=key)
        return value

    def one(self, model: type[T], value: object, key: toml.Key) -> T:
        return validate(model, value, key, self.file, self.text)

    def named(self, model: type[T], document: Mapping[str, Any], key: str) -> dict[str, T]:
        table = self.table(document, key)
        return {name: self.one(model, value, (key, name)) for name, value in table.items()}

    def waivers(self, values: object, today: date) -> tuple[Waiver, ...]:
        if not isinstance(values, list):
            line = toml.line_of(self.text, ("waivers",))
            message = "expected an array of tables [[waivers]]"
            raise ProjectError(message, path=self.file, line=line, key="waivers")
        return tuple(self._waiver(n, value, today) for n, value in enumerate(values))

    def _waiver(self, number: int, value: object, today: date) -> Waiver:
        key = ("waivers", number)
        table = self.one(WaiverTable, value, key)
        latest = today + LONGEST_WAIVER
        if table.expires > latest:
            raise ProjectError(
                f"{table.expires} is more than {LONGEST_WAIVER.days} days ahead",
                path=self.file,
                line=toml.line_of(self.text, (*key, "expires")),
                key=toml.dotted((*key, "expires")),
                next=f"choose a date up to {latest}",
            )
        return Waiver(**table.model_dump())
