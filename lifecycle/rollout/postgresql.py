"""The ledger on a PostgreSQL server."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from lifecycle.core.errors import ConfigError
from lifecycle.rollout import databases
from lifecycle.rollout.databases import Connection
from lifecycle.rollout.dialects import POSTGRESQL

_Driver = psycopg.Connection[tuple[Any, ...]]


class Postgresql:
    """A database of a PostgreSQL server.

    Servers read it for as long as they run: one connection is kept for that, and replaced when the server
    has hung up.

    Args:
        url: ``postgresql://user@host/database``, as libpq takes it.

    Raises:
        ConfigError: libpq cannot read the URL.
    """

    dialect = POSTGRESQL

    def __init__(self, url: str) -> None:
        try:
            parts = conninfo_to_dict(url)
        except psycopg.ProgrammingError:  # its words may hold the password
            raise ConfigError(
                "the ledger's address is not a URL that PostgreSQL knows",
                hint="set LIFECYCLE_LEDGER_URL to postgresql://user@host/database; %-encode the password",
            ) from None
        host = str(parts.get("host") or "/")
        place = "local" if host.startswith("/") else host
        self.description = f"postgresql://{place}/{parts.get('dbname', '')}"
        self._url = url
        self._kept: _Driver | None = None
        self._lock = threading.Lock()

    def exists(self) -> bool:
        """A server is asked, whatever it answers."""
        return True

    def make_room(self) -> None:
        """Nothing: the database was made by whoever runs the server."""

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """The connection that is kept; each statement sees what was committed before it."""
        with self._translated():
            yield Connection(self._ask)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction on a connection of its own."""
        with self._translated(), self._connect() as connection:  # commits, or rolls back; and closes
            connection.execute(f"SET LOCAL lock_timeout = '{databases.WAIT_SECONDS}s'".encode())
            yield Connection(lambda statement, values: _run(connection, statement, values))

    def close(self) -> None:
        """Close the connection that reading keeps."""
        with self._lock:
            if self._kept is not None:
                self._kept.close()
                self._kept = None

    def _ask(self, statement: str, values: Sequence[object]) -> psycopg.Cursor[tuple[Any, ...]]:
        kept = self._reader()
        try:
            return _run(kept, statement, values)
        except psycopg.OperationalError:
            if not kept.closed:
                raise
        return _run(self._reader(), statement, values)  # the server had hung up since the last time

    def _reader(self) -> _Driver:
        with self._lock:
            if self._kept is None or self._kept.closed:
                self._kept = self._connect(autocommit=True)
            return self._kept

    def _connect(self, *, autocommit: bool = False) -> _Driver:
        return psycopg.connect(self._url, connect_timeout=databases.WAIT_SECONDS, autocommit=autocommit)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise databases.fault(self.description, error.sqlstate or "") from error


def _run(connection: _Driver, statement: str, values: Sequence[object]) -> psycopg.Cursor[tuple[Any, ...]]:
    return connection.execute(statement.replace("?", "%s").encode(), values or None)
