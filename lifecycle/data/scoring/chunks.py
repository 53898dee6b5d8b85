"""Cutting a stream of rows into chunks: where a cut lies follows from the rows' numbers alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from lifecycle.data.batch import ROW, Batch


@dataclass(frozen=True)
class Piece:
    """Rows of one file.

    Attributes:
        batch: The rows, numbered as in their file.
        offset: What is added to such a number to give the row's position over all files.
    """

    batch: Batch
    offset: int


@dataclass(frozen=True)
class Chunk:
    """A chunk of the input; it may span files.

    Attributes:
        index: From 0.
        rows: How many rows it holds, broken ones included.
        pieces: The rows, in order.
    """

    index: int
    rows: int
    pieces: tuple[Piece, ...]


def cut(batches: Iterable[Batch], size: int) -> Iterator[Chunk]:
    """Cut batches of any sizes into chunks of one size; the last may be smaller.

    Row ``i`` of the input, counted from 1 over all files and with broken rows, lies in chunk
    ``(i - 1) // size``, however the files are read in blocks.

    Args:
        batches: In order, numbered from 1 in each file without a gap.
        size: Rows per chunk.
    """
    pieces: list[Piece] = []
    source, offset, done = None, 0, 0
    for batch in batches:
        if batch.source != source:
            source, offset = batch.source, done
        last = offset + _last(batch)
        while done < last:
            end = min(last, (done // size + 1) * size)
            pieces.append(Piece(_between(batch, done - offset + 1, end - offset), offset))
            done = end
            if done % size == 0:
                yield Chunk(done // size - 1, size, tuple(pieces))
                pieces = []
    if pieces:
        yield Chunk(done // size, done % size, tuple(pieces))


def _last(batch: Batch) -> int:
    """The number of the last row, whole or broken; 0 without rows."""
    whole = batch.frame[ROW][-1] if batch.frame.height else 0
    return max([int(whole), *(row.row for row in batch.broken)])


def _between(batch: Batch, first: int, last: int) -> Batch:
    """The rows numbered ``first`` to ``last``; their numbers rise."""
    numbers = batch.frame[ROW]
    start, end = int(numbers.search_sorted(first)), int(numbers.search_sorted(last + 1))
    broken = tuple(row for row in batch.broken if first <= row.row <= last)
    return replace(batch, frame=batch.frame.slice(start, end - start), broken=broken)
