"""Erasure: with the keys of a subject goes everything that they sealed, wherever it lies."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from lifecycle.core.clock import parse_moment
from lifecycle.core.errors import KeyMissingError
from lifecycle.core.sql.databases import Connection
from lifecycle.records.blind_index import BlindKey
from lifecycle.records.key_table import KeyTable


class Erasure:
    """Erases subjects, in three steps that each survive a crash.

    1. *Requested*: the wish is on disk.
    2. *Erased*: one transaction deletes the wrapped keys of all generations, the identifier mapping and the
       blind index entries, and makes the tombstone; every cache, in any process, is stale from here on.
    3. *Scrubbed*: no file of the database holds the deleted bytes any more (``Database.scrub``).

    Success is reported after the third. ``resume`` finishes what a crash interrupted. A backup of the key
    table from before still holds the wrapped keys, until a shred epoch (``Rotation.shred``) makes it dead.

    Args:
        table: The key table.
    """

    def __init__(self, table: KeyTable) -> None:
        self._table = table

    def erase(self, refs: Sequence[bytes]) -> None:
        """Erase subjects; those that were erased already are no error.

        Raises:
            KeyMissingError: A ref is unknown; nobody was erased.
            UnavailableError: The provider or database does not answer, or somebody reads for too long what
                was there before: repeat it, or ``resume``.
        """
        wanted = list(dict.fromkeys(refs))
        with self._table.writing() as connection:
            self._request(connection, wanted)
        self.resume()

    def resume(self) -> int:
        """Finish every erasure that was requested and interrupted; how many there were."""
        while not self._destroy():
            pass
        with self._table.reading() as connection:
            query = "SELECT subject_ref FROM tombstones WHERE state = 'erased'"
            erased = [ref for (ref,) in connection.rows(query)]
        if erased:
            self._table.database.scrub("subjects", "identifiers")
            with self._table.writing() as connection:
                connection.execute_many(
                    "UPDATE tombstones SET state = 'scrubbed' WHERE subject_ref = ?",
                    [(ref,) for ref in erased],
                )
        return len(erased)

    def erased_at(self, ref: bytes) -> datetime | None:
        """When a subject was erased; None if it was not."""
        with self._table.reading() as connection:
            rows = connection.rows("SELECT erased_at FROM tombstones WHERE subject_ref = ?", ref)
        return parse_moment(rows[0][0]) if rows and rows[0][0] else None

    def requested(self) -> list[bytes]:
        """Everybody whose erasure was asked for, finished or not, in the order of asking."""
        with self._table.reading() as connection:
            rows = connection.rows("SELECT subject_ref FROM tombstones ORDER BY requested_at, subject_ref")
        return [ref for (ref,) in rows]

    def erased(self) -> dict[bytes, datetime]:
        """Everybody who was erased, and when."""
        query = "SELECT subject_ref, erased_at FROM tombstones WHERE erased_at IS NOT NULL"
        with self._table.reading() as connection:
            return {ref: parse_moment(moment) for ref, moment in connection.rows(query)}

    def _request(self, connection: Connection, refs: list[bytes]) -> None:
        query = "SELECT DISTINCT subject_ref FROM subjects WHERE subject_ref IN ({among})"
        known = {ref for (ref,) in connection.rows_among(query, refs)}
        query = "SELECT subject_ref FROM tombstones WHERE subject_ref IN ({among})"
        buried = {ref for (ref,) in connection.rows_among(query, refs)}
        if unknown := [ref for ref in refs if ref not in known | buried]:
            raise KeyMissingError(
                f"{len(unknown)} of {len(refs)} subjects are not in this key table, "
                f"{unknown[0].hex()} among them",
                hint="see that the ref is right; nobody was erased",
            )
        now = self._table.clock.now()
        connection.execute_many(
            "INSERT INTO tombstones (subject_ref, state, requested_at) VALUES (?, 'requested', ?)",
            [(ref, now) for ref in refs if ref not in buried],
        )

    def _destroy(self) -> bool:
        """Erase whoever is requested; False if an index key was made meanwhile: once more."""
        with self._table.reading() as connection:
            self._table.changed(connection)
            query = "SELECT version FROM table_keys WHERE purpose LIKE 'index/%' AND state <> 'destroyed'"
            keys = self._table.keys(connection, [version for (version,) in connection.rows(query)])
        blind_keys = {version: BlindKey(key) for version, key in (keys or {}).items()}
        with self._table.writing() as connection:
            query = "SELECT subject_ref FROM tombstones WHERE state = 'requested'"
            refs = [ref for (ref,) in connection.rows(query)]
            query = "SELECT field, version, blind FROM identifiers WHERE subject_ref IN ({among})"
            entries = list(connection.rows_among(query, refs))
            if any(version not in blind_keys for _, version, _ in entries):
                return False
            refused = [(field, version, blind_keys[version].tombstone(b)) for field, version, b in entries]
            self._bury(connection, refs, refused)
        return True

    def _bury(self, connection: Connection, refs: list[bytes], refused: list[tuple[str, int, bytes]]) -> None:
        connection.execute_many(
            "INSERT INTO refused_identifiers (field, version, digest) VALUES (?, ?, ?)", sorted(refused)
        )
        rows = [(ref,) for ref in refs]
        connection.execute_many("DELETE FROM subjects WHERE subject_ref = ?", rows)
        connection.execute_many("DELETE FROM identifiers WHERE subject_ref = ?", rows)
        connection.execute_many(
            "UPDATE tombstones SET state = 'erased', erased_at = ? WHERE subject_ref = ?",
            [(self._table.clock.now(), ref) for ref in refs],
        )
        if refs:
            self._table.count_change(connection)
