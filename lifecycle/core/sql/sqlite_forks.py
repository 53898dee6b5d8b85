"""SQLite in processes that are forked: what idles is closed for that moment, what is used spoils the child.

SQLite remembers for each file which locks its process holds. A forked child inherits the memory and not the
locks: it would read and write without any, and lose what it wrote as soon as somebody else empties the log.
Nothing undoes that in the child, not even a connection of its own. https://www.sqlite.org/howtocorrupt.html
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from lifecycle.core.errors import StateError


class IdleConnection:
    """A connection that nobody asks anything of; closed while its process is forked, and in the child.

    Args:
        opener: Opens it.

    Raises:
        sqlite3.Error: It cannot be opened.
    """

    def __init__(self, opener: Callable[[], sqlite3.Connection]) -> None:
        self._opener = opener
        with in_use(opener, keep=True) as connection:
            self._connection: sqlite3.Connection | None = connection
        _process.idle.add(self)

    def close(self) -> None:
        """Close it for good."""
        _process.idle.discard(self)
        self.pause()

    def pause(self) -> None:
        """Close it until ``resume``."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def resume(self) -> None:
        """Open it again. It only makes others cheap: where that fails, they tell why themselves."""
        with suppress(sqlite3.Error):
            self._connection = self._opener()


@contextmanager
def in_use(opener: Callable[[], sqlite3.Connection], *, keep: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection for as long as it is used; a child that is forked meanwhile can use no SQLite.

    Args:
        opener: Opens it.
        keep: Do not close it at the end.

    Raises:
        StateError: This process is such a child.
    """
    refuse_if_spoiled()
    use = object()
    _process.uses.add(use)
    try:
        connection = opener()
        try:
            yield connection
        finally:
            # Of a use that was inherited nothing is known here any more, and its connection is the parent's.
            if use not in _process.uses:
                _process.inherited.append(connection)
            elif not keep:
                connection.close()
    finally:
        _process.uses.discard(use)


def refuse_if_spoiled() -> None:
    """Return where SQLite may be used.

    Raises:
        StateError: This process was forked while a connection was used.
    """
    if _process.spoiled:
        raise StateError(
            "this process was forked while SQLite was in use: it would read and write without locks",
            hint='start it by "spawn", or fork when no other thread uses a database',
        )


class _Process:
    """What this process does with SQLite now.

    Attributes:
        uses: One object for each connection that is used.
        idle: Those that idle.
        spoiled: Whether it was forked while a connection was used.
        inherited: The parent's connections, never closed here: that would touch the parent's files.
    """

    def __init__(self) -> None:
        self.uses: set[object] = set()
        self.idle: set[IdleConnection] = set()
        self.spoiled = False
        self.inherited: list[sqlite3.Connection] = []

    def before_fork(self) -> None:
        for connection in list(self.idle):
            connection.pause()

    def after_in_parent(self) -> None:
        for connection in list(self.idle):
            connection.resume()

    def after_in_child(self) -> None:
        self.spoiled = self.spoiled or bool(self.uses)
        self.uses, self.idle = set(), set()


_process = _Process()
os.register_at_fork(
    before=_process.before_fork,
    after_in_parent=_process.after_in_parent,
    after_in_child=_process.after_in_child,
)
