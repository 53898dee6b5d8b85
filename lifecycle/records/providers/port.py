"""What the key table asks of whoever holds the key encryption keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class WrappedKey:
    """A key that only the provider can unwrap.

    Attributes:
        version: Of the key encryption key that wraps it.
        blob: What the provider made of it.
    """

    version: int
    blob: bytes


class KeyProvider(Protocol):
    """Holds the versions of one key encryption key (KEK), numbered from 1, and never gives them out.

    It wraps the few keys of the key table, so it is called a few times per process and rotation, never once
    per subject. The newest version wraps; every version that was not destroyed unwraps. Nothing is made
    unasked: where the key is lost, wrapping fails rather than going on with a new one.

    How others fit:

    - **Cloud KMS** (AWS, Google, Azure): ``wrap`` and ``unwrap`` are its Encrypt and Decrypt with the context
      as encryption context or additional authenticated data. ``rotate`` makes a new key and points the alias
      at it; the version is ours, kept in the alias's or key's tags, for AWS does not number what it rotates
      by itself. ``destroy`` schedules the deletion, which takes effect after days (7 to 30 at AWS): a shred
      epoch is not done before.
    - **PKCS#11**: versions are AES keys with the attributes CKA_SENSITIVE and not CKA_EXTRACTABLE, labelled
      ``name:version``; ``wrap`` and ``unwrap`` are CKM_AES_GCM with the context as additional data, and
      ``destroy`` is C_DestroyObject. Backups of the token must be destroyed with it.
    """

    def wrap(self, secret: bytes, context: bytes) -> WrappedKey:
        """Wrap a key with the newest version.

        Args:
            secret: The raw key.
            context: What the key is for, authenticated with it; the same is needed to unwrap.

        Raises:
            KeyMissingError: There is no key encryption key: it was lost, or never made.
            ConfigError: The provider refuses us.
            UnavailableError: It does not answer in time.
        """
        ...

    def unwrap(self, wrapped: WrappedKey, context: bytes) -> bytes:
        """The raw key.

        Raises:
            KeyMissingError: The version was lost or destroyed.
            IntegrityError: The version is another key than the one that wrapped this, or the context or blob
                is wrong.
            ConfigError: The provider refuses us.
            UnavailableError: It does not answer in time.
        """
        ...

    def rotate(self) -> int:
        """Make a new version, from then on the newest; the first one where there is none. Its number.

        Raises:
            StateError: The provider cannot do that by itself.
            ConfigError: It refuses us.
            StorageError: It cannot store the new version.
            UnavailableError: It does not answer in time.
        """
        ...

    def destroy(self, version: int) -> None:
        """Destroy this version and every older one, for good; those that are gone already are no error.

        Raises:
            StateError: It is the newest version, or the provider cannot do that by itself.
            ConfigError: It refuses us.
            UnavailableError: It does not answer in time.
        """
        ...

    def versions(self) -> tuple[int, ...]:
        """The versions that can unwrap, ascending; empty if there is no key.

        Raises:
            ConfigError: The provider refuses us.
            UnavailableError: It does not answer in time.
        """
        ...
