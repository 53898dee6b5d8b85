"""A database in a SQLite file."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from lifecycle.core.errors import StorageError, UnavailableError
from lifecycle.core.sql import databases
from lifecycle.core.sql.databases import Connection, Use
from lifecycle.core.sql.dialects import SQLITE
from lifecycle.core.sql.sqlite_forks import IdleConnection, in_use, refuse_if_spoiled

_SCRUB_MS = 50
"""How long a scrub waits in one go for writers, and then for readers; it is tried until the deadline."""


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
        """Make its folder; the first transaction makes what is in the file."""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            if self._use.private and not self._file.exists():
                # Its log and index get the mode that the file has.
                os.close(os.open(self._file, os.O_CREAT | os.O_RDWR, 0o600))
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
            with _transaction(connection):
                yield Connection(_Driver(connection))

    def scrub(self, *tables: str) -> None:  # noqa: ARG002  the log holds pages of every table
        """Empty the write-ahead log into the file; waits for those who read what was there before."""
        deadline = time.monotonic() + databases.WAIT_SECONDS
        with self._opened("rwc") as connection:
            # By itself SQLite asks ever more seldom for the lock, until others never leave it free when it
            # does; and while it waits for readers, nobody can write.
            connection.execute(f"PRAGMA busy_timeout={_SCRUB_MS}")
            while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                if time.monotonic() > deadline:
                    raise UnavailableError(
                        f"the {self._use.name} {self.description} is read by somebody for over "
                        f"{databases.WAIT_SECONDS} s: its log still holds what was deleted",
                        hint="try again when that has ended",
                    )

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Hold the file open, idle, so that nobody is the last to close it."""
        with self._translated():
            idle = IdleConnection(self._idle)
        try:
            yield
        finally:
            idle.close()

    def close(self) -> None:
        """Nothing is kept."""

    def _idle(self) -> sqlite3.Connection:
        connection = self._connect("rwc", check_same_thread=False)  # whoever forks closes it meanwhile
        _keep_log(connection)
        connection.execute("SELECT 1 FROM sqlite_master").fetchall()  # it opens the log when it reads
        return connection

    def _connect(self, mode: str, *, check_same_thread: bool = True) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self._file.as_uri()}?mode={mode}",
            uri=True,
            timeout=databases.WAIT_SECONDS,
            isolation_level=None,  # we say when a transaction begins
            check_same_thread=check_same_thread,
        )

    @contextmanager
    def _opened(self, mode: str) -> Iterator[sqlite3.Connection]:
        with self._translated(), in_use(lambda: self._connect(mode)) as connection:
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise databases.fault(
                self._use, self.description, getattr(error, "sqlite_errorname", "")
            ) from error


class _Driver(NamedTuple):
    """A connection that takes aware moments."""

    connection: sqlite3.Connection

    def run(self, statement: str, values: Sequence[object]) -> sqlite3.Cursor:
        refuse_if_spoiled()
        return self.connection.execute(
            statement, [_utc(value) if isinstance(value, datetime) else value for value in values]
        )

    def run_many(self, statement: str, rows: Sequence[Sequence[object]]) -> sqlite3.Cursor:
        refuse_if_spoiled()
        return self.connection.executemany(
            statement,
            ([_utc(value) if isinstance(value, datetime) else value for value in row] for row in rows),
        )


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commits, or rolls back; a child that was forked inside it does neither."""
    owner = os.getpid()
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        refuse_if_spoiled()
        connection.execute("COMMIT")
    except BaseException:
        if os.getpid() == owner and connection.in_transaction:
            with suppress(sqlite3.Error):  # what was raised before says more
                connection.execute("ROLLBACK")
        raise


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
