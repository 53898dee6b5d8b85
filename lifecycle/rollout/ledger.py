"""The deployment ledger on SQLite or PostgreSQL: append-only, with the switch in the same transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from lifecycle.core.clock import parse_moment
from lifecycle.core.errors import UnavailableError
from lifecycle.core.sql.databases import Connection, Use, open_database
from lifecycle.core.values import Deployment, Release
from lifecycle.rollout import tables
from lifecycle.rollout.decisions import Trail

_FACTS = "d.id, d.system, d.decided_at, d.as_of, d.actor, d.decision, d.digest, d.uri, d.version, d.previous"
_ROW = f"{_FACTS}, CAST(d.evidence AS TEXT) AS evidence"
_LIVE = f"SELECT {_ROW} FROM live JOIN deployments d ON d.id = live.deployment"
_APPEND = f"""INSERT INTO deployments
(system, decided_at, as_of, actor, decision, digest, uri, version, previous, evidence)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING {_ROW.replace("d.", "")}"""


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
        self._database = open_database(url, Use("ledger", "LIFECYCLE_LEDGER_URL"))
        self._switched = switched
        self._made = False
        self._seen = False

    def live(self, system: str) -> Deployment | None:
        """The deployment that is live now: one indexed query, cheap enough to poll.

        Raises:
            UnavailableError: The database is locked, gone since it was last read, or does not answer.
        """
        found = self._read(f"{_LIVE} WHERE live.system = ?", system)
        return found[0] if found else None

    def live_all(self) -> Sequence[Deployment]:
        """What is live of every system, by name; as cheap as ``live``, and with its errors."""
        return self._read(f"{_LIVE} ORDER BY live.system")

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
        query = f"SELECT {_ROW} FROM deployments d WHERE d.system = ?"
        if until is None:
            return self._read(f"{query} ORDER BY d.id", system)
        return self._read(f"{query} AND d.decided_at <= ? ORDER BY d.id", system, parse_moment(until))

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
        self._make()
        with self._database.writing() as connection:
            for statement in self._database.dialect.lock(tables.LOCK):
                connection.execute(statement)
            query = f"SELECT {_FACTS} FROM deployments d WHERE d.system = ? ORDER BY d.id"
            rows = connection.execute(query, deployment.system)
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
        self._database.close()

    def _make(self) -> None:
        """Make the folder and the tables, once."""
        if self._made:
            return
        self._database.make_room()
        with self._database.writing() as connection:
            tables.create_tables(connection, self._database.dialect)
        self._made = self._seen = True

    def _read(self, query: str, *values: object) -> Sequence[Deployment]:
        """What a query finds, without writing anything; nothing where there is no ledger yet."""
        if not self._database.exists():
            if self._seen:
                raise UnavailableError(
                    f"the ledger {self._database.description} is gone",
                    hint="restore it; servers keep answering with what they had",
                )
            return ()
        with self._database.reading() as connection:
            if not self._seen:
                if not tables.have_tables(connection, self._database.dialect):
                    return ()
                tables.check_version(connection)
                self._seen = True
            return tuple(_deployment(row) for row in connection.execute(query, *values))


def _append(connection: Connection, deployment: Deployment, before: Deployment | None) -> Deployment:
    evidence = json.loads(deployment.model_dump_json(include={"evidence"}))["evidence"]
    [row] = connection.execute(
        _APPEND,
        deployment.system,
        parse_moment(deployment.decided_at),
        parse_moment(deployment.as_of),
        deployment.actor,
        deployment.decision,
        deployment.release.digest,
        deployment.release.uri,
        deployment.version,
        before.release.digest if before else None,
        json.dumps(evidence),
    )
    if deployment.decision != "hold":
        _switch(connection, deployment.system, row["id"], first=before is None)
    return _deployment(row)


def _switch(connection: Connection, system: str, deployment: int, *, first: bool) -> None:
    if first:
        connection.execute("INSERT INTO live (deployment, system) VALUES (?, ?)", deployment, system)
    else:
        connection.execute("UPDATE live SET deployment = ? WHERE system = ?", deployment, system)


def _deployment(facts: dict[str, Any]) -> Deployment:
    release = Release(system=facts["system"], digest=facts.pop("digest"), uri=facts.pop("uri"))
    moments = {name: parse_moment(facts[name]) for name in ("decided_at", "as_of")}
    evidence = json.loads(facts.pop("evidence", "{}"))
    return Deployment.model_validate({**facts, **moments, "evidence": evidence, "release": release})
