"""What sealing needs of subject keys, and where they come from is none of its business.

A subject is known by its *ref*: 16 random bytes, never derived from anything about the person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

REF_BYTES = 16
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class SubjectKey:
    """The raw key of one subject, of one generation. Its repr shows nothing of the key.

    Attributes:
        generation: 1 to 65,535; new writes use the newest.
        secret: 32 random bytes.
    """

    generation: int
    secret: bytes = field(repr=False)


class KeyRing(Protocol):
    """The keys of subjects, for whoever seals and opens."""

    def newest(self, refs: Sequence[bytes]) -> list[SubjectKey]:
        """The key to write with, one per ref, in their order.

        Raises:
            ErasedError: A subject was erased.
            KeyMissingError: A ref is unknown.
        """
        ...

    def every(self, refs: Sequence[bytes]) -> list[tuple[SubjectKey, ...] | None]:
        """The keys of all generations, oldest first, one tuple per ref, in their order; None: erased.

        Raises:
            KeyMissingError: A ref is neither known nor erased.
        """
        ...
