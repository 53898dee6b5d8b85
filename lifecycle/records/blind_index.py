"""What stands for an identifier in the key table, and for one that was erased."""

from __future__ import annotations

import unicodedata
from hashlib import blake2b

from lifecycle.records.wrapping import TableKey

BLIND_BYTES = 16


class BlindKey:
    """Makes the entries of an index under one key, and their tombstones.

    Both are keyed BLAKE2b (RFC 7693) of 16 bytes. What depends on the key alone is done once: a service looks
    up whoever it is asked about.

    Args:
        key: Of the column.

    Example:
        >>> key = BlindKey(TableKey(1, bytes(32)))
        >>> key.entry("MRN-1") == blake2b(b"MRN-1", key=bytes(32), digest_size=BLIND_BYTES).digest()
        True
    """

    def __init__(self, key: TableKey) -> None:
        self.version = key.version
        self._entries = blake2b(key=key.secret, digest_size=BLIND_BYTES)
        grave = blake2b(b"lifecycle tombstone", key=key.secret, digest_size=32).digest()
        self._tombstones = blake2b(key=grave, digest_size=BLIND_BYTES)

    def entry(self, identifier: str) -> bytes:
        """The index entry of an identifier, compared as NFC text."""
        made = self._entries.copy()
        made.update(unicodedata.normalize("NFC", identifier).encode())
        return made.digest()

    def tombstone(self, entry: bytes) -> bytes:
        """What stays of an index entry when its subject is erased."""
        made = self._tombstones.copy()
        made.update(entry)
        return made.digest()
