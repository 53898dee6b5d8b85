"""Rotation of keys while everything goes on, and the shred epoch that makes old backups dead."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from lifecycle.core.errors import ErasedError, KeyMissingError, StateError
from lifecycle.records.key_table import KeyTable, context, subjects_of
from lifecycle.records.providers.port import WrappedKey
from lifecycle.records.segment_keys import log_group
from lifecycle.records.subject_keys import SECRET_BYTES
from lifecycle.records.wrapping import TableKey

Progress = Callable[[int, int], None]
"""Called with how many of how many subjects (or table keys) are done."""

BATCH = 5_000
_LAST_GENERATION = 65_535


def _nothing(done: int, total: int) -> None: ...


class Rotation:
    """Replaces keys in small transactions, each of which leaves a table that is whole.

    What is still to be done is what still names an old version: an interrupted rotation goes on where it
    stopped, with no cursor, and two at once share the work. Readers are never stopped.

    Args:
        table: The key table.
    """

    def __init__(self, table: KeyTable) -> None:
        self._table = table

    def rotate_kek(self, progress: Progress = _nothing, *, anew: bool = False) -> int:
        """Wrap every table key with a new version of the provider's key, whose number is returned.

        The old versions stay with the provider, which can still open backups of the key table with them.

        Args:
            progress: Told after each table key.
            anew: Make a new version even if an interrupted rotation is finished by this one.

        Raises:
            KeyMissingError: A version that table keys still need is lost; nothing was rotated.
            StateError: The provider cannot rotate by itself, and nobody added a version to it.
        """
        have = self._table.provider.versions()
        uses = {kek for _, _, kek, _ in self._wrapped()}
        if lost := uses - set(have):
            raise KeyMissingError(
                f"version {min(lost)} of the key encryption key is lost, and table keys need it",
                hint="restore it from its backup; nothing was rotated",
            )
        if anew or all(kek == max(have, default=0) for kek in uses):
            self._table.provider.rotate()
        newest = self._table.provider.versions()[-1]
        old = [row for row in self._wrapped() if row[2] != newest]
        for done, (version, purpose, kek, blob) in enumerate(old, start=1):
            place = context(version, purpose)
            secret = self._table.provider.unwrap(WrappedKey(kek, blob), place)
            wrapped = self._table.provider.wrap(secret, place)
            with self._table.writing() as connection:
                connection.execute(
                    "UPDATE table_keys SET kek_version = ?, wrapped = ? "
                    "WHERE version = ? AND kek_version = ? AND state <> 'destroyed'",
                    *(wrapped.version, wrapped.blob, version, kek),
                )
            progress(done, len(old))
        return newest

    def rotate_tek(self, group: str = "default", progress: Progress = _nothing, *, anew: bool = False) -> int:
        """Wrap the subject keys of a group under a new table key, and destroy the old one.

        Args:
            group: The dataset group.
            progress: Told after each batch.
            anew: Make a new table key even if an interrupted rotation is finished by this one.

        Returns:
            How many subject keys were wrapped anew.
        """
        purpose = subjects_of(group)
        with self._table.reading() as connection:
            live = self._table.live(connection, purpose)
        if not live:
            raise StateError(f"group {group!r} has no subjects", hint="register some first")
        if anew or len(live) == 1:
            self._table.add_key(purpose)
        keys = self._table.live_keys(purpose)
        total = sum(self._count(key.version) for key in keys[:-1])
        moved = 0
        for old in keys[:-1]:
            while some := self._move(purpose, old, keys[-1]):
                moved += some
                progress(min(moved, total), total)
            self._retire(old)
        return moved

    def rotate_system(self, system: str, progress: Progress = _nothing, *, anew: bool = False) -> int:
        """``rotate_tek`` for the subjects of a system, and for the segments of its log if there are any.

        Returns:
            How many keys of subjects were wrapped anew.
        """
        moved = self.rotate_tek(system, progress, anew=anew)
        log = log_group(system)
        with self._table.reading() as connection:
            has_log = bool(self._table.live(connection, subjects_of(log)))
        if has_log:
            self.rotate_tek(log, anew=anew)
        return moved

    def renew(self, refs: Sequence[bytes]) -> None:
        """Give subjects a key of a new generation, for what is sealed from now on.

        Raises:
            ErasedError: A subject has no key any more.
            StateError: A subject has had 65,535 keys.
        """
        unique = list(dict.fromkeys(refs))
        query = (
            "SELECT s.subject_ref, MAX(s.generation), MIN(k.purpose) FROM subjects s "
            "JOIN table_keys k ON k.version = s.tek_version WHERE s.subject_ref IN ({among}) "
            "GROUP BY s.subject_ref"
        )
        while True:
            with self._table.reading() as connection:
                purposes = {row[2] for row in connection.rows_among(query, unique)}
            active = {purpose: self._table.live_keys(purpose)[-1] for purpose in purposes}
            with self._table.writing() as connection:
                if any(self._table.live(connection, p)[-1] != key.version for p, key in active.items()):
                    continue
                rows = list(connection.rows_among(query, unique))
                if len(rows) != len(unique):
                    raise ErasedError(
                        f"{len(unique) - len(rows)} of {len(unique)} subjects have no key in this table",
                        hint="leave out who was erased",
                    )
                if any(generation >= _LAST_GENERATION for _, generation, _ in rows):
                    raise StateError("a subject has had 65,535 keys", hint="register the subject again")
                connection.execute_many(
                    "INSERT INTO subjects (subject_ref, generation, tek_version, wrapped) "
                    "VALUES (?, ?, ?, ?)",
                    [
                        (ref, last + 1, key.version, key.wrap(ref, last + 1, os.urandom(SECRET_BYTES)))
                        for ref, last, purpose in rows
                        for key in [active[purpose]]
                    ],
                )
                self._table.count_change(connection)
                return

    def shred(self, progress: Progress = _nothing) -> None:
        """Make every backup of the key table from before this moment dead: the shred epoch.

        All survivors move to new table keys, those to a new version of the provider's key, and the older
        versions of that are destroyed. A backup then holds keys that nobody can unwrap; so take a new one.
        May be repeated, and is to be after a crash. Backups of the provider's own key are not reached.
        Index keys stay, for identifiers are not kept: with the provider and the table of today, guessed
        identifiers can still be tried against the blind index of an old backup, which leads to no record.

        Raises:
            StateError: The provider cannot destroy by itself: do as the error says, then repeat.
        """
        with self._table.reading() as connection:
            query = "SELECT DISTINCT purpose FROM table_keys WHERE purpose LIKE 'subjects/%'"
            groups = [purpose.removeprefix("subjects/") for (purpose,) in connection.rows(query)]
        newest = self.rotate_kek(anew=True)
        for group in groups:
            self.rotate_tek(group, progress, anew=True)
        self.retire_kek(newest - 1)
        self._table.database.scrub("subjects", "table_keys")

    def retire_kek(self, version: int) -> None:
        """Destroy a version of the provider's key, and every older one, once no table key needs it.

        Raises:
            StateError: Table keys are still wrapped with it.
        """
        if needed := [row[0] for row in self._wrapped() if row[2] <= version]:
            raise StateError(
                f"{len(needed)} table keys are wrapped with version {version} or older",
                hint="run `lifecycle records rotate` to the end first",
            )
        self._table.provider.destroy(version)

    def _wrapped(self) -> list[tuple[int, str, int, bytes]]:
        query = (
            "SELECT version, purpose, kek_version, wrapped FROM table_keys "
            "WHERE state <> 'destroyed' ORDER BY version"
        )
        with self._table.reading() as connection:
            return [(version, purpose, kek, blob) for version, purpose, kek, blob in connection.rows(query)]

    def _count(self, version: int) -> int:
        with self._table.reading() as connection:
            [(count,)] = connection.rows("SELECT COUNT(*) FROM subjects WHERE tek_version = ?", version)
        return int(count)

    def _move(self, purpose: str, old: TableKey, new: TableKey) -> int:
        """Wrap some subject keys anew; how many there were to do."""
        with self._table.reading() as connection:
            rows = connection.rows(
                "SELECT subject_ref, generation, wrapped FROM subjects WHERE tek_version = ? LIMIT ?",
                *(old.version, BATCH),
            )
        wrapped = [
            (new.version, new.wrap(ref, number, old.unwrap(ref, number, blob)), ref, number, old.version)
            for ref, number, blob in rows
        ]
        if wrapped:
            with self._table.writing() as connection:
                if self._table.live(connection, purpose)[-1] != new.version:
                    return 0  # somebody began another rotation, which does the rest: this key may be gone
                # Compare and swap: who was erased or moved since is left alone.
                connection.execute_many(
                    "UPDATE subjects SET tek_version = ?, wrapped = ? "
                    "WHERE subject_ref = ? AND generation = ? AND tek_version = ?",
                    wrapped,
                )
        return len(wrapped)

    def _retire(self, old: TableKey) -> None:
        with self._table.writing() as connection:
            if not connection.rows("SELECT 1 FROM subjects WHERE tek_version = ? LIMIT 1", old.version):
                connection.execute(
                    "UPDATE table_keys SET state = 'destroyed', wrapped = ? WHERE version = ?",
                    *(b"", old.version),
                )
                self._table.count_change(connection)
