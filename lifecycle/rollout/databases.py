"""Connections to the ledger's database: SQLite files and PostgreSQL servers, and what their errors mean."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, NullPool, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from lifecycle.core.errors import ConfigError, StorageError, TransientError, UnavailableError

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


def parse_url(text: str) -> URL:
    """Read the ledger's URL.

    Raises:
        ConfigError: It is no URL, or of a database the ledger does not know. The URL itself is not
            shown: it may hold a password.
    """
    hint = "set LIFECYCLE_LEDGER_URL to sqlite:///path/to/ledger.db or postgresql://user@host/database"
    try:
        url = make_url(text)
    except ArgumentError:
        raise ConfigError("the ledger's address is not a SQLAlchemy URL", hint=hint) from None
    backend = url.get_backend_name()
    if backend == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise ConfigError(f"the ledger cannot lie in {backend}", hint=hint)
    if not url.database or url.database == ":memory:" or url.query:
        raise ConfigError("a SQLite ledger needs the path of a file and nothing more", hint=hint)
    return url.set(database=str(Path(url.database).absolute()))


def describe(url: URL) -> str:
    """The database in words fit for a message: no user, no password, no options."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return f"postgresql://{url.host or 'local'}/{url.database}"


def open_engine(url: URL, *, read_only: bool) -> Engine:
    """An engine for reading, or for writing with one writer at a time.

    A SQLite file is opened anew for each use: that takes a fraction of a millisecond, and a server then
    sees a file that was restored from a backup rather than the one it replaced.
    """
    if url.get_backend_name() == "postgresql":
        connect = {"connect_timeout": WAIT_SECONDS}
        if not read_only:
            return create_engine(url, poolclass=NullPool, connect_args=connect)
        # Polled for as long as a server runs: one connection is kept.
        engine = create_engine(url, pool_size=1, pool_pre_ping=True, connect_args=connect)
        return engine.execution_options(isolation_level="AUTOCOMMIT")
    file = Path(str(url.database)).as_uri()
    if read_only:
        engine = create_engine(url, poolclass=NullPool, creator=lambda: _open_file(f"{file}?mode=ro"))
        return engine.execution_options(isolation_level="AUTOCOMMIT")
    engine = create_engine(url, poolclass=NullPool, creator=lambda: _writable_file(f"{file}?mode=rwc"))
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _open_file(uri: str) -> sqlite3.Connection:
    # sqlite3's own transactions are off (isolation_level=None): SQLAlchemy and we say when one begins.
    return sqlite3.connect(uri, uri=True, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False)


def _writable_file(uri: str) -> sqlite3.Connection:
    connection = _open_file(uri)
    try:
        _keep_log(connection)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _keep_log(connection: sqlite3.Connection) -> None:
    """Write ahead into a log, so that servers read while a flow writes; a no-op where it is on already.

    SQLite waits for no lock when it turns the log on, so processes that make one file together must.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _begin_immediate(connection: Connection) -> None:
    """Take the write lock before reading, so that what was compared still holds when it is swapped."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def lock_for_write(connection: Connection) -> None:
    """Let one writer at a time pass; on SQLite the transaction itself has done so."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{WAIT_SECONDS}s'")
        connection.exec_driver_sql("LOCK TABLE live IN EXCLUSIVE MODE")


@contextmanager
def translated(url: URL) -> Iterator[None]:
    """Turn the database's errors into ours.

    Raises:
        StorageError: The database refuses to store: disk full, read-only, damaged.
        UnavailableError: It is locked, gone or does not answer.
    """
    try:
        yield
    except PoolTimeoutError as error:
        raise UnavailableError(_unavailable(url), hint="try again") from error
    except DBAPIError as error:
        raise _fault(url, error) from error
    except sqlite3.Error as error:
        raise _fault_of_code(url, getattr(error, "sqlite_errorname", "")) from error


def table_is_missing(error: DBAPIError) -> bool:
    """Whether the ledger's tables have not been made yet."""
    return getattr(error.orig, "sqlstate", "") == "42P01" or "no such table" in str(error.orig)


def _fault(url: URL, error: DBAPIError) -> StorageError | TransientError:
    code = getattr(error.orig, "sqlite_errorname", None) or getattr(error.orig, "sqlstate", None)
    return _fault_of_code(url, code or "")


def _fault_of_code(url: URL, code: str) -> StorageError | TransientError:
    for prefix, meaning in _REFUSALS.items():
        if code.startswith(prefix):
            return StorageError(
                f"the ledger {describe(url)} refuses to store: {meaning}",
                hint="mend that, then run the command again; nothing was recorded",
            )
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "55P03", "40")):
        return UnavailableError(
            f"the ledger {describe(url)} is locked by another writer for over {WAIT_SECONDS} s",
            hint="try again when the other flow has ended",
        )
    return UnavailableError(_unavailable(url, code), hint="see that it is there and running; then try again")


def _unavailable(url: URL, code: str = "") -> str:
    return f"the ledger {describe(url)} does not answer" + (f" ({code})" if code else "")
