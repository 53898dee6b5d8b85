"""Subject keys in memory: erased is not unknown, and new writes take the newest generation."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from lifecycle.core.errors import ErasedError, KeyMissingError
from lifecycle.records.subject_keys import SubjectKey


class KeyRingSimulator:
    """A `KeyRing` whose keys follow from a seed, so that what is sealed can be compared.

    Args:
        seed: Two rings of one seed hold the same keys.
    """

    def __init__(self, seed: str = "ring") -> None:
        self._seed = seed
        self._keys: dict[bytes, tuple[SubjectKey, ...] | None] = {}

    def register(self, *refs: bytes) -> KeyRingSimulator:
        """Give each subject a key, unless it has one."""
        for ref in refs:
            self._keys.setdefault(ref, (self._key(ref, 1),))
        return self

    def rotate(self, ref: bytes) -> None:
        """Give a subject a new generation."""
        keys = self._keys[ref] or ()
        self._keys[ref] = (*keys, self._key(ref, len(keys) + 1))

    def erase(self, ref: bytes) -> None:
        """Destroy a subject's keys, and remember that they were."""
        self._keys[ref] = None

    def lose(self, ref: bytes) -> None:
        """Forget a subject, as a key table that was not restored whole does."""
        del self._keys[ref]

    def newest(self, refs: Sequence[bytes]) -> list[SubjectKey]:
        """The key to write with."""
        found = self.every(refs)
        if None in found:
            raise ErasedError("a subject was erased")
        return [keys[-1] for keys in found if keys]

    def every(self, refs: Sequence[bytes]) -> list[tuple[SubjectKey, ...] | None]:
        """All generations, or None for an erased subject."""
        if not set(refs) <= set(self._keys):
            raise KeyMissingError("a subject is neither known nor erased")
        return [self._keys[ref] for ref in refs]

    def _key(self, ref: bytes, generation: int) -> SubjectKey:
        secret = hashlib.sha256(self._seed.encode() + ref + generation.to_bytes(2, "big")).digest()
        return SubjectKey(generation, secret)
