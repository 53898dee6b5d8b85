"""What we ask of a database, and what the errors of databases mean."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from lifecycle.core.errors import ConfigError, StorageError, UnavailableError
from lifecycle.core.sql.dialects import Dialect

WAIT_SECONDS = 10
"""How long a writer waits for another writer before it gives up."""

KEYS_AT_ONCE = 8192
"""How many values one statement may list; SQLite takes 32,766, PostgreSQL 65,535."""

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


class Use(NamedTuple):
    """What a database is for, in the words of messages.

    Attributes:
        name: What it holds: "ledger", "key table".
        setting: The variable that says where it is.
        private: Its file is its owner's alone, mode 0600.
    """

    name: str
    setting: str
    private: bool = False


class Cursor(Protocol):
    """What both libraries give for a statement."""

    @property
    def rowcount(self) -> int:
        """How many rows were changed."""
        ...

    @property
    def description(self) -> Any:
        """A tuple per column, its name first; None where there are no rows."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """The rows."""
        ...


class Driver(Protocol):
    """A connection of either library, which takes ``?`` for each value."""

    def run(self, statement: str, values: Sequence[object]) -> Cursor:
        """Run a statement once."""
        ...

    def run_many(self, statement: str, rows: Sequence[Sequence[object]]) -> Cursor:
        """Run a statement for each row of values."""
        ...


class Connection:
    """One way to ask any database.

    Args:
        driver: Runs the statements.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def execute(self, statement: str, *values: object) -> list[dict[str, Any]]:
        """Run one statement; its rows, by column name.

        Args:
            statement: SQL, with ``?`` for each value.
            values: Text, numbers, bytes, None, and aware moments.
        """
        cursor = self._driver.run(statement, values)
        if cursor.description is None:
            return []
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run one statement that asks; its rows as they come, for many of them."""
        return list(self._driver.run(statement, values))

    def rows_among(
        self, statement: str, wanted: Sequence[object], *values: object
    ) -> Iterator[tuple[Any, ...]]:
        """Ask for many keys, some thousands of them at a time.

        Args:
            statement: SQL in which ``{among}`` stands for the list of keys, after every other ``?``.
            wanted: The keys.
            values: For the other ``?``.
        """
        for start in range(0, len(wanted), KEYS_AT_ONCE):
            some = wanted[start : start + KEYS_AT_ONCE]
            yield from self.rows(statement.format(among=", ".join("?" * len(some))), *values, *some)

    def execute_many(self, statement: str, rows: Sequence[Sequence[object]]) -> int:
        """Run one statement for each row of values; how many rows of the table were changed."""
        return self._driver.run_many(statement, rows).rowcount if rows else 0


class Database(Protocol):
    """A database. Its errors are ours.

    A forked child may go on with it, and connects by itself. It may not go on with what its parent was in
    the middle of: a transaction is broken in the child, and SQLite can not be used there at all.

    Attributes:
        description: In words fit for a message: no user, no password, no options.
        dialect: Its own words.
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

    def scrub(self, *tables: str) -> None:
        """Clear what was deleted from these tables out of the files, as far as the database can.

        SQLite overwrites what is deleted, and empties its write-ahead log here: afterwards no byte of it
        is in either file. PostgreSQL frees it (VACUUM), and overwrites it when the room is used again; its
        write-ahead log keeps it until that is recycled.

        Raises:
            UnavailableError: Somebody still reads what was there before, or the database does not answer.
        """
        ...

    def kept_open(self) -> AbstractContextManager[None]:
        """While this lasts, many small uses are cheap; nobody may put another file in the place of this one.

        The last to close a SQLite file empties its write-ahead log, which costs more than a small use itself.

        Raises:
            StorageError, UnavailableError: As for ``writing``.
        """
        ...

    def close(self) -> None:
        """Let go of what is kept between reads; it can be used again."""
        ...


def open_database(url: str, use: Use) -> Database:
    """The database of an address; nothing is connected to yet.

    Raises:
        ConfigError: It is no URL, or of a database we do not know. The URL itself is not shown: it may hold
            a password.
    """
    hint = f"set {use.setting} to sqlite:///path/to/file.db or postgresql://user@host/database"
    found = re.fullmatch(r"(?P<kind>\w+)(\+\w+)?://(?P<place>.*)", url)
    if found is None:
        raise ConfigError(f"the {use.name}'s address is not a URL", hint=hint)
    kind, place = found["kind"], found["place"]
    if kind == "postgresql":
        from lifecycle.core.sql.postgresql import Postgresql

        return Postgresql(f"postgresql://{place}", use)
    if kind != "sqlite":
        raise ConfigError(f"the {use.name} cannot lie in {kind}", hint=hint)
    file = place.removeprefix("/")
    if file == place or file in ("", ":memory:") or "?" in file:
        raise ConfigError(f"a {use.name} in SQLite needs the path of a file and nothing more", hint=hint)
    from lifecycle.core.sql.sqlite import Sqlite

    return Sqlite(file, use)


def fault(use: Use, place: str, code: str) -> StorageError | UnavailableError:
    """What a database's error means.

    Args:
        use: What the database is for.
        place: Where it is.
        code: SQLite's name of the error, or the SQLSTATE; empty if there is none.
    """
    for prefix, meaning in _REFUSALS.items():
        if code.startswith(prefix):
            return StorageError(
                f"the {use.name} {place} refuses to store: {meaning}",
                hint="mend that, then run the command again; nothing was recorded",
            )
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "55P03", "40")):
        return UnavailableError(
            f"the {use.name} {place} is locked by another writer for over {WAIT_SECONDS} s",
            hint="try again when the other flow has ended",
        )
    return UnavailableError(
        f"the {use.name} {place} does not answer" + (f" ({code})" if code else ""),
        hint="see that it is there and running; then try again",
    )
