"""Entries that wait to be written together, and the schemas that stand ahead of them."""

from __future__ import annotations

import time
from collections.abc import Container
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
    """Frames of durability ``relaxed``.

    Attributes:
        frames: In the order they came.
        size: Their bytes.
        since: When the first of them came, ``time.monotonic()`` seconds.
    """

    frames: list[bytes] = field(default_factory=list)
    size: int = 0
    since: float = 0.0
    _heads: dict[str, Head] = field(default_factory=dict)

    def add(self, data: bytes, head: Head | None) -> None:
        """Keep a frame."""
        if not self.frames:
            self.since = time.monotonic()
        self.frames.append(data)
        self.size += len(data)
        if head is not None:
            self._heads[head.release] = head

    def heads(self, told: Container[str]) -> list[Head]:
        """The heads a segment needs ahead of the frames, but for the releases it has been told of."""
        return [head for release, head in self._heads.items() if release not in told]

    def clear(self) -> None:
        """All of it is written."""
        self.frames.clear()
        self._heads.clear()
        self.size = 0
