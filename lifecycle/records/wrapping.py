"""A subject key under a table key: AES-256-GCM, tied to its subject, its generation and the table key."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lifecycle.core.errors import IntegrityError

NONCE_BYTES = 12


class TableKey:
    """A raw key of the table, in memory. Its repr shows nothing of it.

    A random nonce is safe for 2**32 wrappings by one key, far more than there are people.

    Args:
        version: Its number in the table.
        secret: 32 bytes.
    """

    def __init__(self, version: int, secret: bytes) -> None:
        self.version = version
        self.secret = secret
        self._bound = version.to_bytes(8)
        self._cipher = AESGCM(secret)

    def wrap(self, ref: bytes, generation: int, secret: bytes) -> bytes:
        """A subject key as it lies in the table: nonce, ciphertext and tag, 60 bytes."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, ref + self._bound + generation.to_bytes(2))

    def unwrap(self, ref: bytes, generation: int, wrapped: bytes) -> bytes:
        """The raw subject key.

        Raises:
            IntegrityError: The row was changed, or belongs to another subject, generation or table key.
        """
        try:
            return self._cipher.decrypt(
                wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], ref + self._bound + generation.to_bytes(2)
            )
        except (InvalidTag, ValueError):
            raise IntegrityError(
                f"the key of subject {ref.hex()}, generation {generation}, does not open: it was changed",
                hint="restore the key table from its backup",
            ) from None
