"""Entries that wait to be written together, and what stands ahead of them."""

from __future__ import annotations

import time
from collections.abc import Container, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Head:
    """What a segment holds ahead of a release's first prediction.

    Attributes:
        release: Digest of the release.
        payload: Its ``SchemaEntry`` in msgpack.
    """

    release: str
    payload: bytes


@dataclass
class Buffer:
    """Entries of durability ``relaxed``.

    Attributes:
        payloads: In msgpack, in the order they came.
        size: Their bytes.
        since: When the first of them came, ``time.monotonic()`` seconds.
    """

    payloads: list[bytes] = field(default_factory=list)
    size: int = 0
    since: float = 0.0
    _heads: dict[str, Head] = field(default_factory=dict)

    def add(self, payloads: Sequence[bytes], head: Head | None) -> None:
        """Keep entries."""
        if not self.payloads:
            self.since = time.monotonic()
        self.payloads += payloads
        self.size += sum(map(len, payloads))
        if head is not None:
            self._heads[head.release] = head

    def heads(self, told: Container[str]) -> list[Head]:
        """The heads a segment needs ahead of the entries, but for the releases it has been told of."""
        return [head for release, head in self._heads.items() if release not in told]

    def clear(self) -> None:
        """All of it is written."""
        self.payloads.clear()
        self._heads.clear()
        self.size = 0
