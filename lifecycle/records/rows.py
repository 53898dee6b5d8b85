"""Tables as rows of bytes: the rows of one subject lie side by side, so that a chunk is a slice.

    chunk = rows × width ‖ tail
    row   = position in the block ‖ bits (nulls, booleans) ‖ one cell per column
    tail  = the text of the rows, row by row, column by column

The position lets a block come back in its original order, and is known to nobody who cannot open the
chunk: in clear it would tell which visits of a person lay between which visits of others. Nothing about a
block is kept but the widths of its cells and which columns have nulls: no minimum, no dictionary, no
statistics, since those would outlive the erasure of the person they came from.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lifecycle.core.errors import TamperedError
from lifecycle.records.columns import (
    Cell,
    Column,
    Mask,
    Values,
    as_bytes,
    cast,
    empty,
    encode,
    stored_dtype,
    wipe,
)
from lifecycle.records.place import Bytes, Numbers

_PIECE = 1 << 18
"""Bytes of rows that are taken apart at a time: they stay in a core's cache."""


@dataclass(frozen=True)
class Layout:
    """How the columns of one access group lie in the rows of one block.

    Attributes:
        columns: In their order.
        cells: One per column.
        rows: Of the block.
    """

    columns: tuple[Column, ...]
    cells: tuple[Cell, ...]
    rows: int

    @cached_property
    def position(self) -> int:
        """Bytes of the position of a row in the block."""
        return max(1, (max(self.rows - 1, 0).bit_length() + 7) // 8)

    @cached_property
    def null_bits(self) -> tuple[int, ...]:
        """Numbers of the columns with a bit for nulls, in the order of the bits."""
        return tuple(number for number, cell in enumerate(self.cells) if cell.nulls)

    @cached_property
    def value_bits(self) -> tuple[int, ...]:
        """Numbers of the columns whose values are bits; these come after those for nulls."""
        return tuple(number for number, column in enumerate(self.columns) if column.kind == "bit")

    @cached_property
    def texts(self) -> tuple[int, ...]:
        """Numbers of the columns whose values lie in the tail."""
        return tuple(number for number, column in enumerate(self.columns) if column.kind == "text")

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """A row as numpy sees it: ``position`` and ``bits`` as bytes, each cell under its column's number."""
        bits = (len(self.null_bits) + len(self.value_bits) + 7) // 8
        fields: list[Any] = [("position", "u1", (self.position,))]
        if bits:
            fields.append(("bits", "u1", (bits,)))
        for number, (column, cell) in enumerate(zip(self.columns, self.cells, strict=True)):
            if cell.width:
                fields.append((str(number), stored_dtype(column, cell)))
        return np.dtype(fields)


def chunked(
    table: Any, columns: Sequence[Column], order: Numbers, counts: Numbers
) -> tuple[Layout, Iterator[bytes | memoryview]]:
    """The plaintext of each chunk of a block.

    Args:
        table: The block, in its original order.
        columns: Those of one access group.
        order: int64 (rows,): the rows, subject by subject.
        counts: int64 (chunks,): rows of each subject, in that order.

    Returns:
        How the rows are laid out, and one buffer per chunk, made when it is asked for.
    """
    arrays = [_array(table, column) for column in columns]
    encoded = [encode(column, array) for column, array in zip(columns, arrays, strict=True)]
    layout = Layout(tuple(columns), tuple(cell for cell, _, _ in encoded), table.num_rows)
    rows = _rows(layout, [(values, nulls) for _, values, nulls in encoded]).take(order, axis=0)
    ends = np.cumsum(counts)
    view, width = memoryview(rows.data).cast("B"), rows.shape[1]
    bounds = [(end - count) * width for end, count in zip(ends.tolist(), counts.tolist(), strict=True)]
    bounds.append(len(view))
    heads = (view[low:high] for low, high in pairwise(bounds))
    if not layout.texts:
        return layout, heads
    tails = _tails(layout, arrays, order, ends)
    return layout, (b"".join(pair) for pair in zip(heads, tails, strict=True))


def _array(table: Any, column: Column) -> Any:
    array = table.column(column.name).combine_chunks()
    return array.cast(column.stored) if pa.types.is_dictionary(array.type) else array


def _rows(layout: Layout, encoded: Sequence[tuple[Values, Mask | None]]) -> Bytes:
    """uint8 (rows, width): the rows in the original order."""
    dtype = layout.dtype
    rows = np.zeros((layout.rows, dtype.itemsize), np.uint8)
    fields = rows.view(dtype).reshape(layout.rows)
    places = np.arange(layout.rows, dtype="<u8").view(np.uint8).reshape(layout.rows, 8)
    fields["position"] = places[:, : layout.position]
    bits = [encoded[number][1] for number in layout.null_bits]
    bits += [encoded[number][0] for number in layout.value_bits]
    if bits:
        fields["bits"] = np.packbits(np.stack(bits, axis=1), axis=1)  # type: ignore[arg-type]
    for number, (values, _) in enumerate(encoded):
        if layout.cells[number].width:
            fields[str(number)] = values
    return rows


def _tails(layout: Layout, arrays: Sequence[Any], order: Numbers, ends: Numbers) -> Iterator[memoryview]:
    """The text of each chunk."""
    parts = [as_bytes(arrays[number]) for number in layout.texts]
    whole = pc.binary_join_element_wise(*parts, pa.scalar(b"", pa.large_binary())) if parts[1:] else parts[0]
    sorted_ = whole.take(pa.array(order))
    _, offsets, data = sorted_.buffers()
    starts = np.frombuffer(offsets, np.int64)[np.concatenate([np.zeros(1, np.int64), ends])].tolist()
    view = memoryview(data).cast("B") if data is not None else memoryview(b"")
    return (view[low:high] for low, high in pairwise(starts))


def assembled(
    layout: Layout,
    pieces: Iterable[tuple[Bytes, Numbers, Numbers]],
    counts: Numbers,
    rows: int,
    wanted: Collection[str],
) -> tuple[dict[str, Any], Numbers]:
    """Columns from the plaintext of chunks, in the original order of their rows.

    Args:
        layout: How the rows are laid out.
        pieces: Some chunks at a time: their plaintexts one after the other, which are copied; int64
            (chunks + 1,): where each begins and the last ends; int64 (chunks,): their numbers.
        counts: int64 (chunks of the block,): rows of each.
        rows: Of all chunks in the pieces together.
        wanted: Names of the columns.

    Returns:
        The columns by name, and int64 (rows,): where each of the rows as sealed comes.

    Raises:
        TamperedError: The chunks are of another length than their rows, or repeat a row.
    """
    asked = {number: column for number, column in enumerate(layout.columns) if column.name in wanted}
    with _Fields(layout, asked, rows) as fields:
        for plain, bounds, numbers in pieces:
            fields.add(plain, bounds, counts[numbers])
        places = fields.places()
        bits = fields.placed("bits", places) if "bits" in fields.held else np.zeros((rows, 0), np.uint8)
        nulls = {number: _bit(bits, at) for at, number in enumerate(layout.null_bits) if number in asked}
        found = fields.texts(places, nulls, asked)
        for number, column in asked.items():
            if column.kind == "text":
                continue
            if column.kind == "bit":
                values = _bit(bits, len(layout.null_bits) + layout.value_bits.index(number))
            elif layout.cells[number].width:
                values = fields.placed(str(number), places)
            else:
                values = np.zeros(rows, "V0")
            found[column.name] = column.decode(values, nulls.get(number), layout.cells[number])
    return found, places


class _Fields:
    """Some fields of the rows of a block, each by itself, in the order of the chunks.

    Rows are taken apart while they lie in a core's cache, and only then brought into their original order,
    column by column: no memory of the size of a block is needed but that of the columns. At the end all of
    it is overwritten.

    Args:
        layout: How the rows are laid out.
        asked: Numbers of the columns.
        rows: Of all chunks together.
    """

    def __init__(self, layout: Layout, asked: Collection[int], rows: int) -> None:
        self._layout = layout
        lengths = layout.texts if set(asked) & set(layout.texts) else ()
        names = {"position", "bits", *map(str, asked), *map(str, lengths)}
        dtype = layout.dtype
        self.held = {name: empty(rows, dtype[name]) for name in dtype.names or () if name in names}
        self._tails: list[Bytes] = []
        self._rows = 0

    def __enter__(self) -> _Fields:
        return self

    def __exit__(self, *_: object) -> None:
        for values in (*self.held.values(), *self._tails):
            wipe(values)

    def add(self, plain: Bytes, bounds: Numbers, counts: Numbers) -> None:
        """The rows and texts of the next chunks."""
        dtype = self._layout.dtype
        rows, tail = _apart(self._layout, plain, bounds, counts * dtype.itemsize)
        self._tails.append(tail)
        step = max(1, _PIECE // dtype.itemsize)
        for at in range(0, len(rows), step):
            fields = rows[at : at + step].view(dtype)[:, 0]
            low, high = self._rows, self._rows + len(fields)
            for name, values in self.held.items():
                values[low:high] = fields[name]
            self._rows = high
        wipe(rows)

    def places(self) -> Numbers:
        """Where each row belongs, among those that are left in their original order."""
        layout, held = self._layout, self.held["position"]
        wide = np.zeros((len(held), 8), np.uint8)
        wide[:, : layout.position] = held
        places = wide.view("<i8").reshape(len(held))
        if len(places) and places.max() >= layout.rows:
            raise _contradiction()
        there = np.zeros(layout.rows, np.bool_)
        there[places] = True
        if there.sum() != len(places):
            raise _contradiction()
        return places if len(places) == layout.rows else (np.cumsum(there) - 1)[places]

    def placed(self, name: str, places: Numbers) -> Values:
        """A field in the original order; it is held no longer."""
        values = self.held.pop(name)
        found = empty(len(values), self._layout.dtype[name])
        found[places] = values  # twice as fast as to gather them: no write waits for memory
        wipe(values)  # the next field gets its memory
        return found

    def texts(
        self, places: Numbers, nulls: Mapping[int, Mask], asked: Mapping[int, Column]
    ) -> dict[str, Any]:
        """The columns of text; ``nulls`` in the original order."""
        numbers = self._layout.texts
        if not set(asked) & set(numbers):
            return {}
        lengths = np.stack([self.held[str(number)] for number in numbers], axis=1).astype(np.int64)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        tail = np.concatenate(self._tails) if self._tails else np.empty(0, np.uint8)
        self._tails.append(tail)
        if offsets[-1] != len(tail):
            raise _contradiction()
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(tail)]
        every = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)
        order, found = np.empty(len(places), np.int64), {}
        order[places] = np.arange(len(places))
        for at, number in enumerate(numbers):
            if number in asked:
                column = asked[number]
                picked = every.take(pa.array(order * len(numbers) + at, mask=nulls.get(number)))
                contiguous = pa.large_string() if "string" in str(column.stored) else pa.large_binary()
                found[column.name] = column.restore(cast(picked.cast(contiguous), column.stored))
        return found


def _bit(bits: Bytes, at: int) -> Mask:
    """One of the bits of all rows, in the order of ``np.packbits``."""
    found: Mask = (bits[:, at >> 3] & (0x80 >> (at & 7))) != 0
    return found


def _apart(layout: Layout, plain: Bytes, bounds: Numbers, heads: Numbers) -> tuple[Bytes, Bytes]:
    """The rows of some chunks, uint8 (rows, width), and their text."""
    width = layout.dtype.itemsize
    if not layout.texts:
        if (np.diff(bounds) != heads).any():
            raise _contradiction()
        return plain.reshape(-1, width), plain[:0]
    if (np.diff(bounds) < heads).any():
        raise _contradiction()
    lengths = np.stack([heads, np.diff(bounds) - heads], axis=1)
    in_rows = np.repeat(np.tile([True, False], len(heads)), lengths.ravel())
    return plain[in_rows].reshape(-1, width), plain[~in_rows]


def _contradiction() -> TamperedError:
    return TamperedError(
        "the rows of a block contradict each other: a chunk is repeated, or of another length than its rows",
        hint="restore the segment from the remote or a backup; never skip the check",
    )
