"""What stands for an identifier in the key table, and for one that was erased."""

from __future__ import annotations

import hmac
import unicodedata

from lifecycle.records.wrapping import TableKey

BLIND_BYTES = 16


class BlindKey:
    """Makes the entries of an index under one key, and their tombstones.

    Both are HMAC-SHA256 (RFC 2104), cut to 16 bytes. What depends on the key alone is done once: a service
    looks up whoever it is asked about.

    Args:
        key: Of the column.

    Example:
        >>> key = BlindKey(TableKey(1, bytes(32)))
        >>> key.entry("MRN-1") == hmac.digest(bytes(32), b"MRN-1", "sha256")[:BLIND_BYTES]
        True
    """

    def __init__(self, key: TableKey) -> None:
        self.version = key.version
        self._entries = hmac.new(key.secret, digestmod="sha256")
        grave = hmac.digest(key.secret, b"lifecycle tombstone", "sha256")
        self._tombstones = hmac.new(grave, digestmod="sha256")

    def entry(self, identifier: str) -> bytes:
        """The index entry of an identifier, compared as NFC text."""
        return _digest(self._entries, unicodedata.normalize("NFC", identifier).encode())

    def tombstone(self, entry: bytes) -> bytes:
        """What stays of an index entry when its subject is erased."""
        return _digest(self._tombstones, entry)


def _digest(begun: hmac.HMAC, message: bytes) -> bytes:
    made = begun.copy()
    made.update(message)
    return made.digest()[:BLIND_BYTES]
