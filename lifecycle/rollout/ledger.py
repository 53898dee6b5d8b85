"""The deployment ledger on SQLite or PostgreSQL: append-only, with the switch in the same transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Column, Connection, Engine, Row, Select, select
from sqlalchemy.exc import DBAPIError

from lifecycle.core.clock import parse_moment
from lifecycle.core.errors import StorageError, UnavailableError
from lifecycle.core.values import Deployment, Release
from lifecycle.rollout import databases, tables
from lifecycle.rollout.decisions import Trail

_Found = TypeVar("_Found")
_LIVE = select(tables.deployments).select_from(tables.live.join(tables.deployments))
_FACTS = [column for column in tables.deployments.c if column.name != "evidence"]


class SqlLedger:
    """What was decided, why, and what is live.

    Reading never writes and never waits for a writer; a ledger that does not exist yet says that nothing
    is live. The first decision makes the file, its folder and the tables.

    Args:
        url: ``sqlite:///path`` or ``postgresql://user@host/database``.
        switched: Called after a switch was stored, to tell those who obey this ledger; must not fail.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> SqlLedger(f"sqlite:///{folder}/state/ledger.db").live("house-prices") is None
        True
    """

    def __init__(self, url: str, switched: Callable[[], None] | None = None) -> None:
        self._url = databases.parse_url(url)
        self._switched = switched
        self._seen = False

    def live(self, system: str) -> Deployment | None:
        """The deployment that is live now: one indexed query, cheap enough to poll.

        Raises:
            UnavailableError: The database is locked, gone since it was last read, or does not answer.
        """
        query = _LIVE.where(tables.live.c.system == system)
        found = self._read(lambda connection: connection.execute(query).first())
        return _deployment(found) if found else None

    def live_all(self) -> Sequence[Deployment]:
        """What is live of every system, by name; as cheap as ``live``, and with its errors."""
        query = _LIVE.order_by(tables.live.c.system)
        rows = self._read(lambda connection: connection.execute(query).all())
        return tuple(_deployment(row) for row in rows or ())

    def live_at(self, system: str, moment: datetime) -> Deployment | None:
        """The deployment that was live at a moment; ``decided_at`` counts, the moment included."""
        return Trail(system, self.history(system, moment)).live

    def history(self, system: str, until: datetime | None = None) -> Sequence[Deployment]:
        """Every decision, oldest first.

        Args:
            system: Name of the system.
            until: Leave out what was decided after this moment.

        Raises:
            UnavailableError: As for ``live``.
        """
        query = _history(tables.deployments.c, system)
        if until is not None:
            query = query.where(tables.deployments.c.decided_at <= parse_moment(until))
        rows = self._read(lambda connection: connection.execute(query).all())
        return tuple(_deployment(row) for row in rows or ())

    def record(self, deployment: Deployment, *, expected: int | None) -> Deployment:
        """Append a decision and make its switch, in one transaction.

        Args:
            deployment: The decision. Its ``id`` and ``previous`` are given by the ledger, which alone
                knows what was live; a moment without an offset is UTC.
            expected: Id of the deployment believed live, None for nothing.

        Returns:
            The decision as it stands in the ledger.

        Raises:
            StateError: Another deployment is live than expected, or the decision does not fit it.
            StorageError: The disk or server refuses to store.
            UnavailableError: Another writer holds the ledger, or the server does not answer.
        """
        with databases.translated(self._url), self._writer.begin() as connection:
            databases.lock_for_write(connection)
            rows = connection.execute(_history(_FACTS, deployment.system))
            trail = Trail(deployment.system, (_deployment(row) for row in rows))
            trail.expect(expected)
            before = trail.live
            trail.append(deployment)
            stored = _append(connection, deployment, before)
        if self._switched is not None and stored.decision != "hold":
            self._switched()
        return stored

    def close(self) -> None:
        """Let go of the connection that reading keeps (PostgreSQL only); the ledger can be used again."""
        self._reader.dispose()

    @cached_property
    def _reader(self) -> Engine:
        return databases.open_engine(self._url, read_only=True)

    @cached_property
    def _writer(self) -> Engine:
        """The engine for writing; the folder and the tables are there once it is."""
        if self._file is not None:
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StorageError(
                    f"the ledger's folder {self._file.parent} cannot be made: {error.strerror}",
                    hint="give write permission, or set LIFECYCLE_LEDGER_URL to another place",
                ) from error
        engine = databases.open_engine(self._url, read_only=False)
        with engine.begin() as connection:
            tables.create_tables(connection)
        self._seen = True
        return engine

    @property
    def _file(self) -> Path | None:
        return Path(str(self._url.database)) if self._url.get_backend_name() == "sqlite" else None

    def _read(self, query: Callable[[Connection], _Found]) -> _Found | None:
        """Run a query without writing anything; None when there is no ledger yet."""
        if self._file is not None and not self._file.exists():
            if self._seen:
                raise UnavailableError(
                    f"the ledger {databases.describe(self._url)} is gone",
                    hint="restore it; servers keep answering with what they had",
                )
            return None
        with databases.translated(self._url):
            try:
                with self._reader.connect() as connection:
                    if not self._seen:
                        tables.check_version(connection)
                        self._seen = True
                    return query(connection)
            except DBAPIError as error:
                if databases.table_is_missing(error) and not self._seen:
                    return None
                raise


def _history(columns: Iterable[Column[Any]], system: str) -> Select[Any]:
    table = tables.deployments
    return select(*columns).where(table.c.system == system).order_by(table.c.id)


def _append(connection: Connection, deployment: Deployment, before: Deployment | None) -> Deployment:
    values = {
        "system": deployment.system,
        "decided_at": parse_moment(deployment.decided_at),
        "as_of": parse_moment(deployment.as_of),
        "actor": deployment.actor,
        "decision": deployment.decision,
        "digest": deployment.release.digest,
        "uri": deployment.release.uri,
        "version": deployment.version,
        "previous": before.release.digest if before else None,
        "evidence": json.loads(deployment.model_dump_json(include={"evidence"}))["evidence"],
    }
    row = connection.execute(
        tables.deployments.insert().values(values).returning(*tables.deployments.c)
    ).one()
    if deployment.decision != "hold":
        _switch(connection, deployment.system, row.id, first=before is None)
    return _deployment(row)


def _switch(connection: Connection, system: str, deployment: int, *, first: bool) -> None:
    if first:
        connection.execute(tables.live.insert().values(system=system, deployment=deployment))
    else:
        switch = tables.live.update().where(tables.live.c.system == system)
        connection.execute(switch.values(deployment=deployment))


def _deployment(row: Row[Any]) -> Deployment:
    facts = dict(row._mapping)
    release = Release(system=facts["system"], digest=facts.pop("digest"), uri=facts.pop("uri"))
    return Deployment.model_validate({"evidence": {}, **facts, "release": release})
