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

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

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
    layout: Layout, plain: Bytes, bounds: Numbers, counts: Numbers, wanted: Collection[str]
) -> tuple[dict[str, Any], Numbers]:
    """Columns from the plaintext of chunks, in the original order of their rows.

    Args:
        layout: How the rows are laid out.
        plain: The chunks, one after the other.
        bounds: int64 (chunks + 1,): where each begins and the last ends.
        counts: int64 (chunks,): rows of each.
        wanted: Names of the columns.

    Returns:
        The columns by name, and int64 (rows,): which of the rows as sealed comes where.

    Raises:
        TamperedError: The chunks are of another length than their rows, or repeat a row.
    """
    dtype = layout.dtype
    rows, tail = _apart(layout, plain, bounds, counts * dtype.itemsize)
    order = _order(layout, rows)
    asked = {number: column for number, column in enumerate(layout.columns) if column.name in wanted}
    fields = _fields(rows, order, dtype, asked)
    nulls = {
        number: _bit(fields, at) if number in asked else None for at, number in enumerate(layout.null_bits)
    }
    found = {}
    for number, column in asked.items():
        if column.kind == "text":
            continue
        if column.kind == "bit":
            values = _bit(fields, len(layout.null_bits) + layout.value_bits.index(number))
        else:
            values = fields.get(str(number), np.zeros(len(order), "V0"))
        found[column.name] = column.decode(values, nulls.get(number), layout.cells[number])
    texts = _texts(layout, rows.view(dtype).reshape(len(order)), tail, order, nulls, wanted)
    return found | texts, order


def _fields(
    rows: Bytes, order: Numbers, dtype: np.dtype[Any], asked: Collection[int]
) -> dict[str, NDArray[Any]]:
    """The bits and the cells of some columns, in the original order, each field by itself."""
    kept = {"bits", *map(str, asked)}
    names = [name for name in dtype.names or () if name in kept]
    found = {name: empty(len(order), dtype[name]) for name in names}
    # Rows are far apart, and so are the fields of a row: a piece that fits the cache is gathered row by
    # row, and then taken apart field by field, so that memory is gone through once.
    step = max(1, _PIECE // dtype.itemsize)
    piece = np.empty((min(step, len(order)), dtype.itemsize), np.uint8)
    for at in range(0, len(order), step):
        which = order[at : at + step]
        held = piece[: len(which)]
        rows.take(which, axis=0, out=held, mode="clip")  # "raise" would copy once more
        fields = held.view(dtype)[:, 0]
        for name in names:
            found[name][at : at + step] = fields[name]
    piece[:] = 0
    return found


def _bit(fields: Mapping[str, NDArray[Any]], at: int) -> Mask:
    """One of the bits of all rows, in the order of ``np.packbits``."""
    found: Mask = (fields["bits"][:, at >> 3] & (0x80 >> (at & 7))) != 0
    return found


def _apart(layout: Layout, plain: Bytes, bounds: Numbers, heads: Numbers) -> tuple[Bytes, bytes]:
    """The rows of all chunks, uint8 (rows, width), and the text of all."""
    width = layout.dtype.itemsize
    if not layout.texts:
        if (np.diff(bounds) != heads).any():
            raise _contradiction()
        return np.frombuffer(plain, np.uint8).reshape(-1, width), b""
    if (np.diff(bounds) < heads).any():
        raise _contradiction()
    lengths = np.stack([heads, np.diff(bounds) - heads], axis=1)
    in_rows = np.repeat(np.tile([True, False], len(heads)), lengths.ravel())
    return plain[in_rows].reshape(-1, width), plain[~in_rows].tobytes()


def _order(layout: Layout, rows: Bytes) -> Numbers:
    """Which row comes where: the rows that are left, in their original order."""
    places = np.zeros((len(rows), 8), np.uint8)
    places[:, : layout.position] = rows[:, : layout.position]
    positions = places.view("<u8").reshape(len(rows))
    if len(positions) and positions.max() >= layout.rows:
        raise _contradiction()
    found = np.full(layout.rows, -1, np.int64)
    found[positions] = np.arange(len(rows))
    order = found[found >= 0] if len(rows) < layout.rows else found
    if len(order) != len(rows) or (order < 0).any():
        raise _contradiction()
    return order


def _texts(
    layout: Layout,
    fields: Values,
    tail: bytes,
    order: Numbers,
    nulls: Mapping[int, Mask | None],
    wanted: Collection[str],
) -> dict[str, Any]:
    """The columns of text; ``fields`` are the rows as sealed, ``nulls`` in the original order."""
    count = len(layout.texts)
    if not any(layout.columns[number].name in wanted for number in layout.texts):
        return {}
    lengths = np.stack([fields[str(number)] for number in layout.texts], axis=1).astype(np.int64)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    if offsets[-1] != len(tail):
        raise _contradiction()
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(tail)]
    every = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)
    found = {}
    for at, number in enumerate(layout.texts):
        column = layout.columns[number]
        if column.name in wanted:
            picked = every.take(pa.array(order * count + at, mask=nulls.get(number)))
            contiguous = pa.large_string() if "string" in str(column.stored) else pa.large_binary()
            found[column.name] = column.restore(cast(picked.cast(contiguous), column.stored))
    return found


def _contradiction() -> TamperedError:
    return TamperedError(
        "the rows of a block contradict each other: a chunk is repeated, or of another length than its rows",
        hint="restore the segment from the remote or a backup; never skip the check",
    )
