"""Sealing the entries of a stream: each segment under a key of its own, the next one's ready beforehand."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from lifecycle.core.errors import LifecycleError
from lifecycle.core.ports import Custody, SegmentKey
from lifecycle.serving.log.entries import KeyEntry, Sealed, SealedEntry
from lifecycle.serving.log.open_segment import OpenSegment

logger = logging.getLogger(__name__)
_encode = msgspec.msgpack.Encoder().encode


class Sealing:
    """The keys of one stream.

    A key is made with a segment, and destroyed with it once its rows are sealed elsewhere: copies of the
    segment that were left somewhere are dead then. One that no entry was sealed with is as good for the next
    segment.

    Args:
        custody: Gives the keys.
        kind: Of the entries.
        system: Whose log it is.
    """

    def __init__(self, custody: Custody, kind: Sealed, system: str) -> None:
        self._custody = custody
        self._kind: Sealed = kind
        self._system = system
        self._key: SegmentKey | None = None
        self._spare: SegmentKey | None = None
        self._as_of = 0
        self._is_closed = False

    def begin(self) -> None:
        """Have a key for a segment that was opened.

        Raises:
            LifecycleError: There is none to be had.
        """
        self._as_of = self._custody.moved
        if self._key is None:
            self._key, self._spare = self._spare, None
        self._key = self._key or self._custody.new_key()

    def sealed(self, segment: OpenSegment, payloads: Sequence[bytes]) -> list[bytes]:
        """Entries as they stand in a segment; the name of its key goes with the first of them."""
        key = self._key
        assert key is not None, "begun with the segment"
        first = [] if segment.is_keyed else [_encode(KeyEntry(key.name))]
        return [*first, *[_encode(SealedEntry(self._kind, *key.seal(payload))) for payload in payloads]]

    def end(self, segment: OpenSegment) -> None:
        """A segment is closed."""
        if segment.is_keyed:
            self._key = None

    @property
    def is_stale(self) -> bool:
        """Whether somebody in the open segment may have been erased: it is to be compacted soon."""
        return self._custody.moved != self._as_of

    def provide(self) -> None:
        """Have a key ready for the next segment: to store one takes longer than an answer may wait."""
        if self._spare is None and not self._is_closed:
            try:
                self._spare = self._custody.new_key()
            except LifecycleError as error:
                logger.warning("%s: no key for the next segment of the log: %s", self._system, error.message)

    def close(self) -> None:
        """Destroy the keys that nothing was sealed with."""
        self._is_closed = True
        for key in filter(None, (self._key, self._spare)):
            with suppress(LifecycleError):  # it opens nothing; it only stays where keys are
                self._custody.drop_key(key)
        self._key = self._spare = None

    def leave(self) -> None:
        """In a forked child: one counter of two processes would seal two entries alike."""
        self._is_closed = True
        self._key = self._spare = None
