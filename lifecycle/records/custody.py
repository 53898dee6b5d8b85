"""What a prediction service holds of people: who may not be scored or logged, and keys to log with.

No key that opens a record is among it. Who was erased, or has withdrawn, is known by blind index entries
that are read from the key table whenever it has changed; to look somebody up is then two hashes, and none
where nobody ever objected.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from lifecycle.core.ports import SegmentKey as Key
from lifecycle.core.record import RecordSchema
from lifecycle.core.sql.databases import Connection
from lifecycle.records.blind_index import BlindKey
from lifecycle.records.key_table import KeyTable, index_of
from lifecycle.records.segment_keys import SegmentKey, SegmentKeys

_AGAIN_SECONDS = 60.0
"""How often the table is read even if nothing has changed: a withdrawal may hold from a later moment on."""


@dataclass(frozen=True)
class _Objections:
    """What is known at one moment.

    Attributes:
        keys: Of the column's index.
        erased: Digests of erased subjects, with the version of their key.
        withdrawn: Per purpose the index entries of those who withdrew, with the version of their key.
    """

    keys: tuple[BlindKey, ...]
    erased: frozenset[tuple[int, bytes]]
    withdrawn: dict[str, frozenset[tuple[int, bytes]]]

    def holds(self, subject: str, purpose: str) -> bool:
        """Whether somebody was erased, or has withdrawn their consent to a purpose."""
        said = self.withdrawn.get(purpose, frozenset())
        for key in self.keys:
            entry = key.entry(subject)
            if (key.version, entry) in said:
                return True
            if self.erased and (key.version, key.tombstone(entry)) in self.erased:
                return True
        return False


class SystemCustody:
    """Implements the port ``Custody`` for one system.

    Args:
        table: The key table. Whoever was trained on is in it: where there is none, it was lost.
        system: Name of the system.
        subject: Name of the field that names its subjects.
    """

    def __init__(self, table: KeyTable, system: str, subject: str) -> None:
        self._table = table
        self._field = f"{system}.{subject}"
        self._keys = SegmentKeys(table, system)
        self._lock = threading.Lock()
        self._counted = 0  # as in a new key table
        self._read_at = float("-inf")
        self._objections = _Objections((), frozenset(), {})

    @property
    def moved(self) -> int:
        """The key table's count of changes, as last seen."""
        return self._counted

    def refresh(self) -> None:
        """Read who objects, if anything has changed since the last time.

        Raises:
            KeyMissingError: There is no key table.
            UnavailableError: It does not answer.
        """
        with self._lock:
            with self._table.reading() as connection:
                counted = self._table.changed(connection)
            if counted == self._counted and time.monotonic() - self._read_at < _AGAIN_SECONDS:
                return
            keys = self._table.live_keys(index_of(self._field))
            with self._table.reading() as connection:
                self._objections = _Objections(
                    tuple(map(BlindKey, keys)),
                    frozenset(self._erased(connection)),
                    self._withdrawn(connection),
                )
            self._counted, self._read_at = counted, time.monotonic()

    def refused(self, subjects: Sequence[str], purpose: str) -> list[int]:
        """Positions of those who were erased, or have withdrawn their consent to a purpose."""
        known = self._objections
        if not known.erased and not known.withdrawn.get(purpose):
            return []
        return [position for position, subject in enumerate(subjects) if known.holds(subject, purpose)]

    def new_key(self) -> SegmentKey:
        """A key for a new segment."""
        return self._keys.new()

    def drop_key(self, key: Key) -> None:
        """Destroy a key that nothing was sealed with."""
        self._keys.destroy([key.name])

    def _erased(self, connection: Connection) -> list[tuple[int, bytes]]:
        query = "SELECT version, digest FROM refused_identifiers WHERE field = ?"
        return [(version, bytes(digest)) for version, digest in connection.rows(query, self._field)]

    def _withdrawn(self, connection: Connection) -> dict[str, frozenset[tuple[int, bytes]]]:
        """The last word of everybody who ever withdrew; PostgreSQL and SQLite read this alike."""
        query = (
            "SELECT c.purpose, i.version, i.blind FROM identifiers i "
            "JOIN consents c ON c.subject_ref = i.subject_ref "
            "WHERE i.field = ? AND c.granted = 0 AND c.since <= ? AND NOT EXISTS ("
            "SELECT 1 FROM consents later WHERE later.subject_ref = c.subject_ref "
            "AND later.purpose = c.purpose AND later.since <= ? "
            "AND (later.since > c.since OR (later.since = c.since AND later.id > c.id)))"
        )
        now = self._table.clock.now()
        found: dict[str, set[tuple[int, bytes]]] = {}
        for purpose, version, blind in connection.rows(query, self._field, now, now):
            found.setdefault(purpose, set()).add((version, bytes(blind)))
        return {purpose: frozenset(entries) for purpose, entries in found.items()}


class TrialCustody:
    """For a service that is measured with made-up records: its keys are stored nowhere."""

    moved = 0

    def refresh(self) -> None:
        """Nobody objects."""

    def refused(self, _subjects: Sequence[str], _purpose: str) -> list[int]:
        """Nobody."""
        return []

    def new_key(self) -> SegmentKey:
        """A key that dies with the process."""
        return SegmentKey.fresh()

    def drop_key(self, _key: Key) -> None:
        """It was never stored."""


def open_trial(_system: str, _schema: RecordSchema) -> TrialCustody:
    """As ``OpenCustody``, for trials."""
    return TrialCustody()
