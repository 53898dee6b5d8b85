"""A database in a SQLite file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from lifecycle.core.errors import StorageError, UnavailableError
from lifecycle.core.sql import databases
from lifecycle.core.sql.databases import Connection, Use
from lifecycle.core.sql.dialects import SQLITE


class Sqlite:
    """A SQLite file, opened anew for each use.

    That takes a fraction of a millisecond, and a server then sees a file that was restored from a backup
    rather than the one it replaced.

    Args:
        file: Path of the file, which need not exist.
        use: What it is for.
    """

    dialect = SQLITE

    def __init__(self, file: str, use: Use) -> None:
        self._use = use
        self._file = Path(file).absolute()
        self.description = str(self._file)

    def exists(self) -> bool:
        """Whether the file is there."""
        return self._file.exists()

    def make_room(self) -> None:
        """Make its folder; the first transaction makes the file."""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"the {self._use.name}'s folder {self._file.parent} cannot be made: {error.strerror}",
                hint=f"give write permission, or set {self._use.setting} to another place",
            ) from error

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that cannot write."""
        with self._opened("ro") as connection:
            yield Connection(_Driver(connection))

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that locks before it reads: what was compared still holds when it is swapped."""
        with self._opened("rwc") as connection:
            _keep_log(connection)
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten
            connection.execute("BEGIN IMMEDIATE")
            with connection:  # commits, or rolls back
                yield Connection(_Driver(connection))

    def scrub(self, *tables: str) -> None:  # noqa: ARG002  the log holds pages of every table
        """Empty the write-ahead log into the file; waits for those who read what was there before."""
        with self._opened("rwc") as connection:
            [(busy, _, _)] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if busy:
            raise UnavailableError(
                f"the {self._use.name} {self.description} is read by somebody for over "
                f"{databases.WAIT_SECONDS} s: its log still holds what was deleted",
                hint="try again when that has ended",
            )

    def close(self) -> None:
        """Nothing is kept."""

    @contextmanager
    def _opened(self, mode: str) -> Iterator[sqlite3.Connection]:
        uri = f"{self._file.as_uri()}?mode={mode}"
        wait = databases.WAIT_SECONDS
        try:
            # isolation_level=None: we say when a transaction begins.
            with closing(sqlite3.connect(uri, uri=True, timeout=wait, isolation_level=None)) as connection:
                yield connection
        except sqlite3.Error as error:
            raise databases.fault(
                self._use, self.description, getattr(error, "sqlite_errorname", "")
            ) from error


class _Driver(NamedTuple):
    """A connection that takes aware moments."""

    connection: sqlite3.Connection

    def run(self, statement: str, values: Sequence[object]) -> sqlite3.Cursor:
        return self.connection.execute(
            statement, [_utc(value) if isinstance(value, datetime) else value for value in values]
        )

    def run_many(self, statement: str, rows: Sequence[Sequence[object]]) -> sqlite3.Cursor:
        return self.connection.executemany(
            statement,
            ([_utc(value) if isinstance(value, datetime) else value for value in row] for row in rows),
        )


def _utc(moment: datetime) -> str:
    """SQLite has no time zones: the text itself is UTC, and sorts as moments do."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def _keep_log(connection: sqlite3.Connection) -> None:
    """Write ahead into a log, so that servers read while a flow writes; a no-op where it is on already.

    SQLite waits for no lock when it turns the log on, so processes that make one file together must.
    """
    deadline = time.monotonic() + databases.WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
