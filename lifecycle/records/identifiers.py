"""Blind indexes: from a person's identifier to the ref, in the key table alone.

An entry is 16 bytes of BLAKE2b, keyed with a key of the column. It shows to whoever reads the table
how many identifiers there are; with the column's key too (so with the key provider), guesses can be tried.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from lifecycle.core.errors import DeclarationError, ErasedError
from lifecycle.core.sql.databases import Connection
from lifecycle.records.blind_index import BlindKey
from lifecycle.records.key_table import KeyTable, index_of, subjects_of
from lifecycle.records.subject_keys import REF_BYTES, SECRET_BYTES
from lifecycle.records.wrapping import TableKey

_ENOUGH_TO_JUDGE = 200
_MOST_REPEATS = 20


class Identifiers:
    """The subjects of one identifying column.

    Identifiers are compared as NFC text, nothing else is changed: two spellings are two subjects.

    **What an erased identifier leaves behind.** So that the person does not come back unasked with the next
    file, a second hash of the index entry stays, under a key derived for that, with no ref, time or order
    beside it. Whoever has the key table *and* the key provider can thereby try a guessed identifier and
    learn that it was once erased; it leads to no record. Registering again with ``again`` removes it.
    PostgreSQL itself notes by which transaction a row came, until it freezes the row: whoever reads its files
    can tell which tombstone was made together with which entry. SQLite keeps these rows in the order of
    their digests and notes nothing.

    Args:
        table: The key table.
        field: Name of the column, such as ``medical_record_number``.
        group: Dataset group, whose table key wraps the keys of new subjects.
    """

    def __init__(self, table: KeyTable, field: str, group: str = "default") -> None:
        self._table = table
        self._field = field
        self._group = group

    def find(self, identifiers: Sequence[str]) -> list[bytes | None]:
        """The ref of each identifier; None where it is not known, or was erased."""
        blinds = _blinds(self._blind_keys(), identifiers)
        with self._table.reading() as connection:
            refs = self._known(connection, blinds)
        return [refs.get(text) for text in identifiers]

    def erased(self, identifiers: Sequence[str]) -> list[bool]:
        """Which identifiers belong to erased subjects: set these records aside before registering."""
        keys = self._blind_keys()
        with self._table.reading() as connection:
            refused = self._refused(connection, keys, _blinds(keys, identifiers))
        return [text in refused for text in identifiers]

    def register(self, identifiers: Sequence[str], *, again: bool = False) -> list[bytes]:
        """The ref of each identifier; those that are not known become new subjects, with a key each.

        All or nothing, in one transaction; safe to repeat, and from several processes at once.

        Args:
            identifiers: One per record; equal ones are one subject.
            again: Erased subjects come back, as new ones: only with their explicit consent.

        Raises:
            ErasedError: Some belong to erased subjects; their positions are named, never they themselves.
            DeclarationError: The column has so few different values that its index would tell who is who:
                at least 200 values, each on average more than 20 times.
            KeyMissingError, IntegrityError, UnavailableError: The key provider fails; nothing is written.
        """
        distinct = list(dict.fromkeys(identifiers))
        self._check_cardinality(len(distinct), len(identifiers))
        while True:
            keys = self._blind_keys(make=True)
            tek = self._table.live_keys(subjects_of(self._group), make=True)[-1]
            blinds = _blinds(keys, distinct)
            with self._table.reading() as connection:
                refs = self._known(connection, blinds)
            if len(refs) == len(distinct):
                break
            with self._table.writing() as connection:
                live = self._table.live
                if live(connection, index_of(self._field)) != [key.version for key in keys]:
                    continue
                if live(connection, subjects_of(self._group))[-1] != tek.version:
                    continue
                refs = self._known(connection, blinds)
                new = {text: blind for text, blind in blinds.items() if text not in refs}
                self._admit(connection, keys, new, identifiers, again=again)
                refs |= self._add(connection, new, tek)
                break
        return [refs[text] for text in identifiers]

    def rotate_index(self) -> None:
        """New entries come under a new key of the column; older ones are still found by theirs.

        An entry cannot be moved, for the identifier is not kept.
        """
        self._table.add_key(index_of(self._field))

    def _blind_keys(self, *, make: bool = False) -> list[BlindKey]:
        return [BlindKey(key) for key in self._table.live_keys(index_of(self._field), make=make)]

    def _check_cardinality(self, distinct: int, total: int) -> None:
        if total >= _ENOUGH_TO_JUDGE and distinct * _MOST_REPEATS < total:
            raise DeclarationError(
                f"column {self._field!r} has {distinct} different values in {total:,}: a blind index over it "
                "would tell who has which",
                hint="index a column that names one person, such as a record number",
            )

    def _known(self, connection: Connection, blinds: dict[str, dict[int, bytes]]) -> dict[str, bytes]:
        query = (
            "SELECT version, blind, subject_ref FROM identifiers "
            "WHERE field = ? AND version = ? AND blind IN ({among})"
        )
        refs = _asked(connection, query, self._field, blinds)
        return {
            text: refs[pair] for text, entries in blinds.items() for pair in entries.items() if pair in refs
        }

    def _refused(
        self, connection: Connection, keys: Sequence[BlindKey], blinds: dict[str, dict[int, bytes]]
    ) -> dict[str, dict[int, bytes]]:
        query = (
            "SELECT version, digest, 1 FROM refused_identifiers "
            "WHERE field = ? AND version = ? AND digest IN ({among})"
        )
        blind_keys = {key.version: key for key in keys}
        digests = {
            text: {version: blind_keys[version].tombstone(blind) for version, blind in entries.items()}
            for text, entries in blinds.items()
        }
        found = _asked(connection, query, self._field, digests)
        return {
            text: entries for text, entries in digests.items() if any(p in found for p in entries.items())
        }

    def _admit(
        self,
        connection: Connection,
        keys: Sequence[BlindKey],
        new: dict[str, dict[int, bytes]],
        identifiers: Sequence[str],
        *,
        again: bool,
    ) -> None:
        refused = self._refused(connection, keys, new)
        if refused and not again:
            at = [position for position, text in enumerate(identifiers) if text in refused]
            shown = ", ".join(map(str, at[:10])) + (", ..." if len(at) > 10 else "")
            raise ErasedError(
                f"{len(at)} of {len(identifiers)} records belong to subjects who were erased "
                f"(at positions {shown}, counted from 0)",
                hint="leave them out; if the person explicitly wants to come back, register them again",
            )
        connection.execute_many(
            "DELETE FROM refused_identifiers WHERE field = ? AND version = ? AND digest = ?",
            [(self._field, *pair) for entries in refused.values() for pair in entries.items()],
        )

    def _add(
        self, connection: Connection, new: dict[str, dict[int, bytes]], tek: TableKey
    ) -> dict[str, bytes]:
        refs = {text: os.urandom(REF_BYTES) for text in new}
        connection.execute_many(
            "INSERT INTO subjects (subject_ref, generation, tek_version, wrapped) VALUES (?, 1, ?, ?)",
            [
                (ref, tek.version, tek.wrap(ref, 1, os.urandom(SECRET_BYTES)))
                for ref in sorted(refs.values())  # in the order of the index
            ],
        )
        rows = [(self._field, *max(entries.items()), refs[text]) for text, entries in new.items()]
        connection.execute_many(
            "INSERT INTO identifiers (field, version, blind, subject_ref) VALUES (?, ?, ?, ?)", sorted(rows)
        )
        return refs


def _blinds(keys: Sequence[BlindKey], identifiers: Sequence[str]) -> dict[str, dict[int, bytes]]:
    """Per identifier its index entry under each key, by the key's version."""
    return {text: {key.version: key.entry(text) for key in keys} for text in identifiers}


def _asked(
    connection: Connection, query: str, field: str, entries: dict[str, dict[int, bytes]]
) -> dict[tuple[int, bytes], bytes]:
    versions = next(iter(entries.values()), {})
    return {
        (version, entry): found
        for wanted in versions
        for version, entry, found in connection.rows_among(
            query, [pairs[wanted] for pairs in entries.values()], field, wanted
        )
    }
