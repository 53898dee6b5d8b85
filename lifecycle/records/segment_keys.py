"""Keys of the segments of a prediction log: made by whoever writes one, destroyed by whoever has read it.

A segment holds what was asked about many people, in the order it came, for some minutes. It is sealed as a
whole, under a key that lies in the key table as a subject's does: wrapped by a table key that rotates, and
covered by the shred epoch. Once its rows are sealed person by person, the key is destroyed, so that a copy of
the segment in a backup of the disk cannot be opened again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lifecycle.core.errors import KeyMissingError, TamperedError
from lifecycle.records.key_table import KeyTable, subjects_of
from lifecycle.records.subject_keys import REF_BYTES, SECRET_BYTES

_CONTEXT = b"lifecycle log entry v1\0"
_GENERATION = 1


class SegmentKey:
    """Seals the entries of one segment, numbered from 0; a process that was forked must not go on with it.

    The number is the nonce of AES-256-GCM: a key belongs to one writer in one process, and no number comes
    twice.

    Args:
        name: By which the key table knows it.
        secret: 32 random bytes.

    Example:
        >>> key = SegmentKey(bytes(16), bytes(32))
        >>> number, content = key.seal(b"entry")
        >>> number, key.open(number, content)
        (0, b'entry')
    """

    def __init__(self, name: bytes, secret: bytes) -> None:
        self.name = name
        self._cipher = AESGCM(secret)
        self._bound = _CONTEXT + name
        self._next = 0

    @classmethod
    def fresh(cls) -> SegmentKey:
        """A new one, that nothing but this object holds."""
        return cls(os.urandom(REF_BYTES), os.urandom(SECRET_BYTES))

    def seal(self, content: bytes) -> tuple[int, bytes]:
        """The next number, and the entry sealed to stand under it."""
        number = self._next
        self._next += 1
        return number, self._cipher.encrypt(number.to_bytes(12), content, self._bound)

    def open(self, number: int, content: bytes) -> bytes:
        """The entry that was sealed under this number.

        Raises:
            TamperedError: It was changed, or sealed for another place.
        """
        try:
            return self._cipher.decrypt(number.to_bytes(12), content, self._bound)
        except (InvalidTag, ValueError, OverflowError):
            raise TamperedError(
                f"entry {number} of a sealed segment was changed, or does not belong there",
                hint="restore the segment from a backup of the last minutes; never skip the check",
            ) from None


class SegmentKeys:
    """The keys of one system's segments.

    Args:
        table: The key table.
        system: Name of the system.
    """

    def __init__(self, table: KeyTable, system: str) -> None:
        self._table = table
        self._purpose = subjects_of(log_group(system))

    def new(self) -> SegmentKey:
        """A key for a new segment.

        Raises:
            KeyMissingError, StorageError, UnavailableError: It cannot be stored; there is none.
        """
        name, secret = os.urandom(REF_BYTES), os.urandom(SECRET_BYTES)
        while True:
            tek = self._table.live_keys(self._purpose, make=True)[-1]
            with self._table.writing() as connection:
                if self._table.live(connection, self._purpose)[-1] != tek.version:
                    continue  # a rotation came between
                connection.execute(
                    "INSERT INTO subjects (subject_ref, generation, tek_version, wrapped) "
                    "VALUES (?, ?, ?, ?)",
                    *(name, _GENERATION, tek.version, tek.wrap(name, _GENERATION, secret)),
                )
            return SegmentKey(name, secret)

    def get(self, name: bytes) -> SegmentKey:
        """The key of a segment.

        Raises:
            KeyMissingError: It is gone.
        """
        query = "SELECT tek_version, wrapped FROM subjects WHERE subject_ref = ?"
        while True:
            with self._table.reading() as connection:
                self._table.changed(connection)
                rows = connection.rows(query, name)
                keys = self._table.keys(connection, {tek for tek, _ in rows})
            if not rows:
                raise KeyMissingError(
                    f"the key {name.hex()} of a segment of the prediction log is gone",
                    hint="restore the key table from its backup, or move the segment away: it stays closed",
                )
            if keys is not None:  # else it was wrapped anew in between
                [(tek, wrapped)] = rows
                return SegmentKey(name, keys[tek].unwrap(name, _GENERATION, wrapped))

    def destroy(self, names: Sequence[bytes]) -> None:
        """Destroy keys, in the file of the database too; those that are gone already are no error."""
        if not names:
            return
        with self._table.writing() as connection:
            connection.execute_many(
                "DELETE FROM subjects WHERE subject_ref = ?", [(name,) for name in dict.fromkeys(names)]
            )
        self._table.database.scrub("subjects")


def log_group(system: str) -> str:
    """The dataset group of the keys of a system's segments."""
    return f"log/{system}"
