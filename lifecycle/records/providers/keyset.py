"""Versions of a key encryption key that this process can see: AES-256-GCM with a random nonce."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lifecycle.core.errors import IntegrityError, KeyMissingError, StateError
from lifecycle.records.providers.port import WrappedKey

_NONCE = 12


class Keyset:
    """The raw versions. Their repr shows nothing of them.

    Args:
        versions: 32 bytes per version.
        place: Where they come from, for messages.
    """

    def __init__(self, versions: Mapping[int, bytes], place: str) -> None:
        self._versions = versions
        self._place = place

    def versions(self) -> tuple[int, ...]:
        """Their numbers, ascending."""
        return tuple(sorted(self._versions))

    def wrap(self, secret: bytes, context: bytes) -> WrappedKey:
        """As ``KeyProvider.wrap``."""
        version = max(self._versions, default=0)
        nonce = os.urandom(_NONCE)
        return WrappedKey(version, nonce + self._cipher(version).encrypt(nonce, secret, context))

    def unwrap(self, wrapped: WrappedKey, context: bytes) -> bytes:
        """As ``KeyProvider.unwrap``."""
        cipher = self._cipher(wrapped.version)
        try:
            return cipher.decrypt(wrapped.blob[:_NONCE], wrapped.blob[_NONCE:], context)
        except (InvalidTag, ValueError):
            raise IntegrityError(
                f"version {wrapped.version} of the key encryption key in {self._place} is not the one that "
                "wrapped this key, or the wrapped key was changed",
                hint="restore the key encryption key that belongs to this key table",
            ) from None

    def check_old(self, version: int) -> None:
        """Refuse to destroy the newest version, or one that never was."""
        newest = max(self._versions, default=0)
        if version >= newest:
            raise StateError(
                f"version {version} of the key encryption key is in use: the newest is {newest}",
                hint="rotate first: lifecycle records rotate",
            )

    def _cipher(self, version: int) -> AESGCM:
        if version not in self._versions:
            have = ", ".join(map(str, self.versions())) or "none"
            raise KeyMissingError(
                f"version {version or 1} of the key encryption key is not in {self._place} (it has: {have})",
                hint="restore it from its backup; without it nothing that it protects can be opened",
            )
        return AESGCM(self._versions[version])


class KeysetProvider(ABC):
    """A provider whose key encryption keys are at hand; where they are kept is its own affair."""

    def wrap(self, secret: bytes, context: bytes) -> WrappedKey:
        """Wrap a key with the newest version; see ``KeyProvider``."""
        return self._keyset().wrap(secret, context)

    def unwrap(self, wrapped: WrappedKey, context: bytes) -> bytes:
        """The raw key; see ``KeyProvider``."""
        return self._keyset().unwrap(wrapped, context)

    def versions(self) -> tuple[int, ...]:
        """The versions that are there; see ``KeyProvider``."""
        return self._keyset().versions()

    @abstractmethod
    def _keyset(self) -> Keyset:
        """All versions, read anew."""
