"""Python's unpicklers: a pickle is followed first, and read from the very bytes that were followed.

Each function here takes what stands in a module and returns what stands there under a guard.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from types import BuiltinMethodType
from typing import Any, Final

from torchkeep.core.errors import SourceError
from torchkeep.core.source import BytesSource, Source
from torchkeep.scan.formats import pickles
from torchkeep.scan.job import Followed, Job
from torchkeep.scan.loading import active, stretch
from torchkeep.scan.loading.recording import can_seek, name_of
from torchkeep.scan.loading.refusal import deny, require_clean
from torchkeep.scan.loading.terms import Terms
from torchkeep.scan.pickle import budget
from torchkeep.scan.pickle.machine import Machine
from torchkeep.scan.verdict import FileReport, Verdict

Loader = Callable[..., Any]
Names = Collection[tuple[str, str]]

_ARRAYS: Final = frozenset(
    (module, "NumpyArrayWrapper")
    for module in ("joblib.numpy_pickle", "sklearn.externals.joblib.numpy_pickle")
)

_vouched: ContextVar[bool] = ContextVar("vouched", default=False)
_known: ContextVar[Sequence[Followed]] = ContextVar("known", default=())


@contextmanager
def vouched() -> Iterator[None]:
    """Within: unpicklers read what a scan has called clean, from its memory."""
    token = _vouched.set(True)
    try:
        yield
    finally:
        _vouched.reset(token)


@contextmanager
def known(followed: Sequence[Followed]) -> Iterator[None]:
    """Within: these pickles were followed already, and are known again by their bytes.

    One with an array of joblib in its midst is not: whoever does not know of those takes the array
    for opcodes, and the scan did not.
    """
    token = _known.set([one for one in followed if not _ARRAYS & one.names])
    try:
        yield
    finally:
        _known.reset(token)


@contextmanager
def unvouched() -> Iterator[None]:
    """Within: another loader was called, of another file."""
    token, seen = _vouched.set(False), _known.set(())
    try:
        yield
    finally:
        _known.reset(seen)
        _vouched.reset(token)


def _terms() -> Terms | None:
    return None if _vouched.get() else active.terms()


def load(original: Loader) -> Loader:
    """``pickle.load``."""

    @wraps(original)
    def guarded(file: Any, /, *args: Any, **kwargs: Any) -> Any:
        terms = _terms()
        if terms is None or not hasattr(file, "readline"):
            return original(file, *args, **kwargs)
        content = Serving(file, terms).next(_none)
        return original(io.BytesIO(content), *args, **kwargs)

    return guarded


def loads(original: Loader) -> Loader:
    """``pickle.loads``."""

    @wraps(original)
    def guarded(data: Any, /, *args: Any, **kwargs: Any) -> Any:
        terms = _terms()
        if terms is None or isinstance(data, str):
            return original(data, *args, **kwargs)
        content = bytes(data)  # nobody writes to these while they are read
        if content:
            Serving(None, terms).follow(BytesSource(content), _none)
        return original(content, *args, **kwargs)

    return guarded


class Serving:
    """Hands out the pickles of one file, each after it was followed.

    Args:
        file: The file; None where bytes are followed.
        terms: What may lie in them.
    """

    def __init__(self, file: Any, terms: Terms) -> None:
        self.buffer = io.BytesIO()
        self._file = file
        self._terms = terms
        self._memo: dict[int, Any] = {}  # an unpickler keeps its memo from one pickle to the next
        self.names: Names = ()

    def refill(self, persistent: Callable[[Any], bool]) -> None:
        """Put the next pickle into the buffer."""
        content = self.next(persistent)
        self.buffer.seek(0)
        self.buffer.truncate()
        self.buffer.write(content)
        self.buffer.seek(0)

    def next(self, persistent: Callable[[Any], bool]) -> bytes:
        """The bytes of the next pickle; the file is left behind it. Empty at the end of the file.

        Raises:
            Unsafe: It is not clean. The file is left where it was, if it can seek.
        """
        file = self._file
        if not can_seek(file):
            content = stretch.exactly(file)
            return content[: self.follow(BytesSource(content), persistent)] if content else b""
        start = file.tell()
        if (again := self._again(file, start)) is not None:
            return again
        name = name_of(file)
        source: Source
        if stretch.is_cheap(file):
            source = stretch.Ahead(file, name)
        else:
            source = BytesSource(file.read(), name)
        if not source.size:
            return b""
        try:
            end = self.follow(source, persistent)
            if isinstance(source, stretch.Ahead):
                content = source.taken(end)
            else:
                content = source.read(0, end)
        except BaseException:
            file.seek(start)
            raise
        if file.tell() != start + end:
            file.seek(start + end)
        return content

    def _again(self, file: Any, start: int) -> bytes | None:
        """The next pickle, if its bytes are those of one that was followed a moment ago."""
        for one in () if self._memo else _known.get():
            content: bytes = file.read(one.length)
            if hashlib.sha256(content).digest() == one.digest:
                self.names = one.names
                return content
            file.seek(start)
        return None

    def follow(self, source: Source, persistent: Callable[[Any], bool]) -> int:
        """Follow the pickle at the start of ``source``; returns where it ends.

        Raises:
            Unsafe: It is not clean.
        """
        terms = self._terms
        job = Job(FileReport(path=source.name), tier=terms.tier, allowed=terms.allowed)
        machine = Machine(source, 0, job.policy, persistent=persistent)
        machine.memo = self._memo
        try:
            with budget.shared():
                outcome = machine.run()
                pickles.judge(job, source, outcome, "", 0)
        except SourceError as error:
            job.issue(60, Verdict.NOT_SCANNED, "unread", why=error.message)
        require_clean(job.report)
        self.names = outcome.names
        return outcome.end


class Guarded:
    """Comes before an unpickler's class, and hands it what was followed."""

    __slots__ = ()

    def __init__(self, file: Any, *args: Any, **kwargs: Any) -> None:
        terms = _terms()
        serving = Serving(file, terms) if terms and hasattr(file, "readline") else None
        super().__init__(serving.buffer if serving else file, *args, **kwargs)  # type: ignore[call-arg]
        self._serving = serving  # type: ignore[misc]

    def load(self) -> Any:
        """Follow the next pickle, then load it."""
        serving: Serving | None = getattr(self, "_serving", None)
        if serving is not None:
            serving.refill(_any if _resolves(self) else _none)
            self._admit(serving.names)
        elif _terms() is not None:
            deny("a pickle", "its unpickler was made before the guard")
        return super().load()  # type: ignore[misc]

    def _admit(self, names: Names) -> None:
        """A further look at a clean pickle before anything of it is loaded."""


def _any(id: Any) -> bool:
    return True


def _none(id: Any) -> bool:
    return False


def _resolves(unpickler: Any) -> bool:
    """Whether somebody answers for persistent ids; since Python 3.13 the class itself refuses."""
    found = getattr(unpickler, "persistent_load", None)
    is_own = isinstance(found, BuiltinMethodType) and found.__self__ is unpickler
    return found is not None and not is_own


def unpickler(original: Any) -> Any:
    """``pickle.Unpickler``."""
    if not isinstance(original, type):
        return original
    names = {"__module__": original.__module__, "__doc__": original.__doc__}
    # Without a place for attributes of its own it can become the base of a class that exists.
    bare = type(original.__name__, (Guarded, original), {**names, "__slots__": ()})
    return type(original.__name__, (bare,), names)


def interpreted(original: Loader) -> Loader:
    """``pickle._Unpickler.load``, which subclasses made earlier call as well."""

    @wraps(original)
    def guarded(self: Any) -> Any:
        terms = _terms()
        if terms is None or not hasattr(self, "_file_read"):
            return original(self)
        before = self._file_read, self._file_readline
        serving = self.__dict__.get("_serving")
        if serving is None:
            file = getattr(self._file_read, "__self__", None)
            serving = Serving(file if file is not None else _Pair(*before), terms)
            self._serving = serving
        serving.refill(_any)
        self._file_read, self._file_readline = serving.buffer.read, serving.buffer.readline
        try:
            return original(self)
        finally:
            self._file_read, self._file_readline = before

    return guarded


class _Pair:
    """Two functions that read, as a file that cannot go back."""

    def __init__(self, read: Loader, readline: Loader) -> None:
        self.read = read
        self.readline = readline
