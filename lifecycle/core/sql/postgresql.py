"""A database on a PostgreSQL server."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg
from psycopg.conninfo import conninfo_to_dict

from lifecycle.core.errors import ConfigError
from lifecycle.core.sql import databases
from lifecycle.core.sql.databases import Connection, Use
from lifecycle.core.sql.dialects import POSTGRESQL
from lifecycle.core.sql.forks import tell_of_forks

_Connection = psycopg.Connection[tuple[Any, ...]]
_Cursor = psycopg.Cursor[tuple[Any, ...]]


class Postgresql:
    """A database of a PostgreSQL server.

    Servers read it for as long as they run: one connection is kept for that, and replaced when the server
    has hung up. A forked child opens its own, and breaks the transactions that it inherits.

    Args:
        url: ``postgresql://user@host/database``, as libpq takes it.
        use: What it is for.

    Raises:
        ConfigError: libpq cannot read the URL.
    """

    dialect = POSTGRESQL

    def __init__(self, url: str, use: Use) -> None:
        self._use = use
        try:
            parts = conninfo_to_dict(url)
        except psycopg.ProgrammingError:  # its words may hold the password
            raise ConfigError(
                f"the {use.name}'s address is not a URL that PostgreSQL knows",
                hint=f"set {use.setting} to postgresql://user@host/database; %-encode the password",
            ) from None
        host = str(parts.get("host") or "/")
        place = "local" if host.startswith("/") else host
        self.description = f"postgresql://{place}/{parts.get('dbname', '')}"
        self._url = url
        self._kept: _Connection | None = None
        self._lock = threading.Lock()
        self._open: weakref.WeakSet[_Connection] = weakref.WeakSet()
        tell_of_forks(self)

    def exists(self) -> bool:
        """A server is asked, whatever it answers."""
        return True

    def make_room(self) -> None:
        """Nothing: the database was made by whoever runs the server."""

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """The connection that is kept; each statement sees what was committed before it."""
        with self._translated():
            yield Connection(_Kept(self._on_kept))

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction on a connection of its own."""
        with self._translated(), self._connect() as connection:  # commits, or rolls back; and closes
            connection.execute(f"SET LOCAL lock_timeout = '{databases.WAIT_SECONDS}s'".encode())
            yield Connection(_Once(connection))
            if connection.closed:  # psycopg leaves it at that
                raise psycopg.OperationalError

    def scrub(self, *tables: str) -> None:
        """Free the room of what was deleted."""
        with self._translated(), self._connect(autocommit=True) as connection:
            connection.execute(f"VACUUM {', '.join(tables)}".encode())

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Nothing: the server keeps it."""
        yield

    def close(self) -> None:
        """Close the connection that reading keeps."""
        with self._lock:
            if self._kept is not None:
                self._kept.close()
                self._kept = None

    def __del__(self) -> None:
        """The connection goes with what keeps it."""
        if getattr(self, "_kept", None) is not None:
            self.close()

    def after_fork(self) -> None:
        """In a forked child: cut it off from the parent's connections, which stay as they are.

        To close one would end it on the server. So its socket becomes a hole first, into which the farewell
        falls.
        """
        self._kept, self._lock = None, threading.Lock()
        inherited = [connection for connection in list(self._open) if not connection.closed]
        self._open.clear()
        if inherited:
            hole = os.open(os.devnull, os.O_RDWR)
            for connection in inherited:
                os.dup2(hole, connection.fileno(), inheritable=False)
                connection.close()
            os.close(hole)

    def _on_kept(self, do: Callable[[_Connection], _Cursor]) -> _Cursor:
        kept = self._reader()
        try:
            return do(kept)
        except psycopg.OperationalError:
            if not kept.closed:
                raise
        return do(self._reader())  # the server had hung up since the last time

    def _reader(self) -> _Connection:
        with self._lock:
            if self._kept is None or self._kept.closed:
                self._kept = self._connect(autocommit=True)
            return self._kept

    def _connect(self, *, autocommit: bool = False) -> _Connection:
        connection = psycopg.connect(self._url, connect_timeout=databases.WAIT_SECONDS, autocommit=autocommit)
        self._open.add(connection)
        return connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise databases.fault(self._use, self.description, error.sqlstate or "") from error


class _Once(NamedTuple):
    """A connection of one transaction."""

    connection: _Connection

    def run(self, statement: str, values: Sequence[object]) -> _Cursor:
        return self.connection.execute(statement.replace("?", "%s").encode(), values or None)

    def run_many(self, statement: str, rows: Sequence[Sequence[object]]) -> _Cursor:
        cursor = self.connection.cursor()
        cursor.executemany(statement.replace("?", "%s").encode(), rows)
        return cursor


class _Kept(NamedTuple):
    """The connection that is kept, replaced when the server has hung up."""

    on_kept: Callable[[Callable[[_Connection], _Cursor]], _Cursor]

    def run(self, statement: str, values: Sequence[object]) -> _Cursor:
        return self.on_kept(lambda connection: _Once(connection).run(statement, values))

    def run_many(self, statement: str, rows: Sequence[Sequence[object]]) -> _Cursor:
        return self.on_kept(lambda connection: _Once(connection).run_many(statement, rows))
