"""Connections that wait for their next transaction, and what becomes of them in a fork.

A connection is lent to one block at a time, so threads need no care. None lives on in a forked
child: SQLite's locks belong to the process that took them, and two processes that talk on one
socket to a server garble each other. So the waiting ones are closed before every fork. Where a
block is open at that moment, in any thread, the child can no longer use that database and says so.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from torchkeep.core.db.engine import Connection
from torchkeep.core.errors import UsageError

_WAITING: Final = 4
"""Connections that are kept for later; more than these are closed after their block."""

# One for all pools, so that a fork finds none of them in the midst of a change.
_lock = threading.RLock()
_pools: weakref.WeakSet[Pool] = weakref.WeakSet()
_lost_to_fork: set[str] = set()


class Pool:
    """The connections of one database.

    Args:
        name: The database's name in messages.
        connect: Makes a new connection.
    """

    def __init__(self, name: str, connect: Callable[[], Connection]) -> None:
        self.name = name
        self._connect = connect
        self._waiting: list[Connection] = []
        self._lent = 0
        self._closed = False
        with _lock:
            _pools.add(self)

    def take(self) -> tuple[Connection, bool]:
        """A connection for one block, and whether it has served before."""
        with _lock:
            self._require_open()
            self._lent += 1
            while self._waiting:
                connection = self._waiting.pop()
                if connection.usable():
                    return connection, True
                connection.close()
        try:
            return self._connect(), False
        except BaseException:
            with _lock:
                self._lent -= 1
            raise

    def give(self, connection: Connection) -> None:
        """Take back what :meth:`take` lent."""
        with _lock:
            if self.name in _lost_to_fork:
                _never_free(connection)
                return
            self._lent -= 1
            if connection.usable() and len(self._waiting) < _WAITING and not self._closed:
                self._waiting.append(connection)
                return
        connection.close()

    @contextmanager
    def lent(self) -> Iterator[Connection]:
        """A connection for the length of the ``with`` block."""
        connection, _ = self.take()
        try:
            yield connection
        finally:
            self.give(connection)

    def close(self) -> None:
        """Close the waiting connections now, and each lent one when it comes back."""
        with _lock:
            self._closed = True
            self._close_waiting()

    def _require_open(self) -> None:
        if self._closed:
            raise UsageError(f"{self.name} was closed", next="open it again")
        if self.name in _lost_to_fork:
            raise UsageError(
                f"this process was forked while a transaction on {self.name} was open",
                next="fork between transactions, or start processes with 'spawn'",
            )

    def _close_waiting(self) -> None:
        while self._waiting:
            self._waiting.pop().close()

    def _in_child(self) -> None:
        if self._lent:
            _lost_to_fork.add(self.name)


def _never_free(connection: Connection) -> None:
    # Freeing an inherited connection closes it, and SQLite then undoes in the shared log what the
    # parent is writing: the parent's file is damaged (seen, and tested).
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def _before_fork() -> None:
    _lock.acquire()
    for pool in _pools:
        pool._close_waiting()


def _after_fork_in_child() -> None:
    for pool in _pools:
        pool._in_child()
    _lock.release()


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_lock.release,
        after_in_child=_after_fork_in_child,
    )
