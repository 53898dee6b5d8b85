"""A key that dies with its process: for files that hold rows for minutes, and that nobody else is to read."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lifecycle.core.errors import TamperedError

_NONCE = 12


class EphemeralKey:
    """Conceals contents under a random key that is never stored.

    Example:
        >>> key = EphemeralKey()
        >>> key.reveal(key.conceal(b"rows"))
        b'rows'
    """

    def __init__(self) -> None:
        self._cipher = AESGCM(AESGCM.generate_key(256))

    def conceal(self, content: bytes) -> bytes:
        """The content, encrypted."""
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, content, None)

    def reveal(self, content: bytes) -> bytes:
        """What was concealed under this key.

        Raises:
            TamperedError: It was changed, or concealed under another key.
        """
        try:
            return self._cipher.decrypt(content[:_NONCE], content[_NONCE:], None)
        except (InvalidTag, ValueError):
            raise TamperedError(
                "rows that waited on disk were changed", hint="run it again; see who writes to its folder"
            ) from None
