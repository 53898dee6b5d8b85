"""What the ledger asks of a database, and what the errors of databases mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from lifecycle.core.errors import ConfigError, StorageError, UnavailableError
from lifecycle.rollout.dialects import Dialect

WAIT_SECONDS = 10
"""How long a writer waits for another writer before it gives up."""

_REFUSALS = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_READONLY": "it is read-only",
    "SQLITE_IOERR": "the disk reports an error",
    "SQLITE_CORRUPT": "the file is damaged",
    "SQLITE_NOTADB": "the file is not a SQLite database",
    "SQLITE_PERM": "its permissions forbid it",
    "53100": "the disk is full",
    "25006": "it is read-only",
    "42501": "its permissions forbid it",
}


class Cursor(Protocol):
    """What both libraries give for a statement."""

    @property
    def description(self) -> Any:
        """A tuple per column, its name first; None where there are no rows."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """The rows."""
        ...


class Connection:
    """One way to ask any database.

    Args:
        run: Runs a statement, in which ``?`` stands for each value.
    """

    def __init__(self, run: Callable[[str, Sequence[object]], Cursor]) -> None:
        self._run = run

    def execute(self, statement: str, *values: object) -> list[dict[str, Any]]:
        """Run one statement; its rows, by column name.

        Args:
            statement: SQL, with ``?`` for each value.
            values: Text, numbers, None, and aware moments.
        """
        cursor = self._run(statement, values)
        if cursor.description is None:
            return []
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]


class Database(Protocol):
    """A database that can hold the ledger. Its errors are ours.

    Attributes:
        description: In words fit for a message: no user, no password, no options.
        dialect: Its own words for what the ledger needs.
    """

    description: str
    dialect: Dialect

    def exists(self) -> bool:
        """Whether there is anything to read: False for a file that is not there."""
        ...

    def make_room(self) -> None:
        """Make what must be there before it can be written to.

        Raises:
            StorageError: It cannot be made.
        """
        ...

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection that sees what was committed, and waits for no writer.

        Raises:
            StorageError: The database is damaged.
            UnavailableError: It is locked, gone or does not answer.
        """
        ...

    def writing(self) -> AbstractContextManager[Connection]:
        """A connection inside a transaction, committed at the end; one writer at a time.

        Raises:
            StorageError: The database refuses to store: disk full, read-only, damaged.
            UnavailableError: It is locked, gone or does not answer.
        """
        ...

    def close(self) -> None:
        """Let go of what is kept between reads; it can be used again."""
        ...


def open_database(url: str) -> Database:
    """The database of an address; nothing is connected to yet.

    Raises:
        ConfigError: It is no URL, or of a database the ledger does not know. The URL itself is not
            shown: it may hold a password.
    """
    hint = "set LIFECYCLE_LEDGER_URL to sqlite:///path/to/ledger.db or postgresql://user@host/database"
    found = re.fullmatch(r"(?P<kind>\w+)(\+\w+)?://(?P<place>.*)", url)
    if found is None:
        raise ConfigError("the ledger's address is not a URL", hint=hint)
    kind, place = found["kind"], found["place"]
    if kind == "postgresql":
        from lifecycle.rollout.postgresql import Postgresql

        return Postgresql(f"postgresql://{place}")
    if kind != "sqlite":
        raise ConfigError(f"the ledger cannot lie in {kind}", hint=hint)
    file = place.removeprefix("/")
    if file == place or file in ("", ":memory:") or "?" in file:
        raise ConfigError("a SQLite ledger needs the path of a file and nothing more", hint=hint)
    from lifecycle.rollout.sqlite import Sqlite

    return Sqlite(file)


def fault(description: str, code: str) -> StorageError | UnavailableError:
    """What a database's error means.

    Args:
        description: Of the database.
        code: SQLite's name of the error, or the SQLSTATE; empty if there is none.
    """
    for prefix, meaning in _REFUSALS.items():
        if code.startswith(prefix):
            return StorageError(
                f"the ledger {description} refuses to store: {meaning}",
                hint="mend that, then run the command again; nothing was recorded",
            )
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "55P03", "40")):
        return UnavailableError(
            f"the ledger {description} is locked by another writer for over {WAIT_SECONDS} s",
            hint="try again when the other flow has ended",
        )
    return UnavailableError(
        f"the ledger {description} does not answer" + (f" ({code})" if code else ""),
        hint="see that it is there and running; then try again",
    )
