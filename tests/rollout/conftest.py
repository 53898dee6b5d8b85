"""Ledgers of every kind, and decisions to write into them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from lifecycle.core.ports import Ledger
from lifecycle.core.values import Deployment, Release
from lifecycle.rollout.ledger import SqlLedger
from tests.simulators.ledger import LedgerSimulator

START = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def sqlite_url(tmp_path) -> str:
    return f"sqlite:///{tmp_path / 'state' / 'ledger.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request) -> str:
    """The address of an empty ledger, on each kind of database."""
    return request.getfixturevalue(f"{request.param.replace('postgresql', 'postgres')}_url")


@pytest.fixture(params=["simulator", "sqlite", "postgresql"])
def ledger(request) -> Iterator[Ledger]:
    """An empty ledger of every kind."""
    if request.param == "simulator":
        yield LedgerSimulator()
        return
    opened = SqlLedger(request.getfixturevalue(f"{request.param.replace('postgresql', 'postgres')}_url"))
    yield opened
    opened.close()


def digest(letter: str) -> str:
    """A digest that is easily told from others."""
    return (letter.encode().hex() * 32)[:64]


def decision(kind: str, letter: str, *, day: int = 0, system: str = "house-prices") -> Deployment:
    """A decision about the release called by a letter, on a day."""
    release = Release(system=system, digest=digest(letter), uri=f"file:///releases/{letter}")
    return Deployment(
        id=0,
        system=system,
        decided_at=START + timedelta(days=day),
        as_of=START,
        actor="ada",
        decision=kind,
        release=release,
        version=letter,
        previous=None,
        evidence={"reason": f"because of {letter}"},
    )


@pytest.fixture
def write(ledger) -> Callable[..., Deployment]:
    """Write a decision as a flow does: look what is live, then swap."""
    return lambda kind, letter, **more: append(ledger, kind, letter, **more)


def append(ledger: Ledger, kind: str, letter: str, **more) -> Deployment:
    wanted = decision(kind, letter, **more)
    live = ledger.live(wanted.system)
    return ledger.record(wanted, expected=live.id if live else None)


def ledger_file(url: str) -> Path:
    """Where a SQLite ledger lies."""
    return Path(url.removeprefix("sqlite:///"))


@contextmanager
def stranger(url: str) -> Iterator[sqlite3.Connection | psycopg.Connection]:
    """Somebody who connects to the database without our code; what they did is committed."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(ledger_file(url))) as connection, connection:
            yield connection
    else:
        with psycopg.connect(url) as connection:
            yield connection
