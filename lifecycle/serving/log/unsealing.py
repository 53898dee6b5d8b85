"""Sealed entries of a segment, opened with its key and in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from lifecycle.core.errors import IntegrityError
from lifecycle.core.ports import SegmentKey
from lifecycle.serving.log.entries import Entry, KeyEntry, OutcomeEntry, PredictionEntry, SealedEntry
from lifecycle.serving.log.segment import SegmentReader

_decoder: msgspec.msgpack.Decoder[PredictionEntry | OutcomeEntry] = msgspec.msgpack.Decoder(
    PredictionEntry | OutcomeEntry
)


def unsealed(reader: SegmentReader, key_of: Callable[[bytes], SegmentKey] | None) -> Iterator[Entry]:
    """The entries of a segment as they were before they were sealed; clear ones as they are.

    Args:
        reader: Of the segment.
        key_of: Gives a key by its name; None: sealed entries are refused.

    Raises:
        IntegrityError: An entry is not in its place, was changed, or there is nothing to open it with.
    """
    key: SegmentKey | None = None
    following: int | None = None
    for entry in reader:
        if isinstance(entry, KeyEntry):
            if key_of is None:
                raise IntegrityError(
                    f"{reader.path.name} is sealed, and no keys were given to open it with",
                    hint="the record type has no sensitive fields any more: compact it with the one that had",
                )
            key, following = key_of(entry.name), None
        elif isinstance(entry, SealedEntry):
            if key is None or following not in (None, entry.number):
                raise IntegrityError(
                    f"{reader.path.name}: the sealed entry before byte {reader.whole} is not in its place",
                    hint="nothing was deleted; keep the segment, and see who writes to its folder",
                )
            following = entry.number + 1
            yield _decoder.decode(key.open(entry.number, entry.content))
        else:
            yield entry


def key_names(path: Path) -> list[bytes]:
    """Names of the keys of a segment; none if it is not sealed."""
    return [entry.name for entry in SegmentReader(path) if isinstance(entry, KeyEntry)]
