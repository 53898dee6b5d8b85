"""Key tables on every kind of database, and the ways to look at one from outside."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from lifecycle.core.clock import FixedClock
from lifecycle.records.identifiers import Identifiers
from lifecycle.records.key_table import KeyTable
from lifecycle.records.providers.local_file import LocalKeyFile

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def sqlite_url(tmp_path) -> str:
    return f"sqlite:///{tmp_path / 'state' / 'keys.db'}"


@pytest.fixture
def postgres_url(postgres) -> str:
    """A schema of its own: that takes a hundredth of the time that a database takes."""
    name = f"keys_{next(_numbers)}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return f"{postgres}&options=-csearch_path%3D{name}"


_numbers = itertools.count()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request) -> str:
    """The address of an empty key table, on each kind of database."""
    return request.getfixturevalue(f"{request.param.replace('postgresql', 'postgres')}_url")


@pytest.fixture
def provider(tmp_path) -> LocalKeyFile:
    return LocalKeyFile(tmp_path / "keys" / "kek.json")


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture
def opened(provider, clock) -> Iterator[Callable[[str], KeyTable]]:
    """Opens key tables, each as a process of its own would, and closes them."""
    tables: list[KeyTable] = []

    def table_at(url: str) -> KeyTable:
        tables.append(KeyTable(url, provider, clock))
        return tables[-1]

    yield table_at
    for table in tables:
        table.close()


@pytest.fixture
def table(opened, url) -> KeyTable:
    return opened(url)


@pytest.fixture
def patients(table) -> Identifiers:
    return Identifiers(table, "record_number")


def names(count: int) -> list[str]:
    return [f"MRN-{number:05d}" for number in range(count)]


def key_file(url: str) -> Path:
    """Where a SQLite key table lies."""
    return Path(url.removeprefix("sqlite:///"))


@contextmanager
def stranger(url: str) -> Iterator[sqlite3.Connection | psycopg.Connection]:
    """Somebody who connects to the database without our code; what they did is committed."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(key_file(url))) as connection, connection:
            yield connection
    else:
        with psycopg.connect(url) as connection:
            yield connection


def dump(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that is in the tables."""
    tables = [
        "table_keys",
        "subjects",
        "identifiers",
        "refused_identifiers",
        "tombstones",
        "consents",
        "audit",
    ]
    with stranger(url) as connection:
        return {name: sorted(connection.execute(f"SELECT * FROM {name}").fetchall()) for name in tables}


@pytest.fixture
def backup(url, tmp_path, request) -> Callable[[], str]:
    """Copies the database as it is; the address of the copy. Nobody may be connected to PostgreSQL."""
    if url.startswith("sqlite"):

        def copy() -> str:
            with closing(sqlite3.connect(key_file(url))) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            shutil.copy(key_file(url), tmp_path / "backup.db")
            return f"sqlite:///{tmp_path / 'backup.db'}"

        return copy
    server = request.getfixturevalue("postgres")

    def template() -> str:
        name = f"backup_{next(_numbers)}"
        with psycopg.connect(server.replace("/postgres?", "/template1?"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE postgres")
        return url.replace("/postgres?", f"/{name}?")

    return template
