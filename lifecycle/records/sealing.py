"""A sealed segment: a Parquet file of envelopes, one per subject, block and access group.

    ref  fixed_size_binary(16)   the subject, at random
    n    uint32                  rows of the subject in this block
    sealed:<group>               one envelope; a column for each access group

A row group is a block: rows that were sorted by subject and sealed together, and that come back together
in their original order. A table of up to ``block_rows`` rows is one block. Memory is bounded by a block,
however long the segment. The file's metadata holds schema and layout in clear: names of columns, their
types and groups, declared choices; each envelope is bound to them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lifecycle.core.errors import ConfigError, SourceError, StorageError
from lifecycle.records.envelope import seal
from lifecycle.records.manifest import SegmentEntry, entry_of
from lifecycle.records.place import Chunks, Numbers, Place
from lifecycle.records.plan import Plan, SealedSchema
from lifecycle.records.rows import chunked
from lifecycle.records.subject_keys import REF_BYTES, KeyRing

BLOCK_ROWS = 1 << 18
"""Rows that are sorted and sealed together, unless the caller says otherwise."""

BLOCK_BYTES = 1 << 29
"""A block is cut shorter where its rows hold more than this in memory."""

SCHEMA, SEGMENT, BLOCKS = b"lifecycle.schema", b"lifecycle.segment", b"lifecycle.blocks"
"""Keys of the file's metadata."""

REF = pa.binary(REF_BYTES)


def seal_segment(
    tables: Iterable[Any],
    schema: Any,
    path: Path,
    *,
    plan: Plan,
    keys: KeyRing,
    segment: UUID,
    block_rows: int = BLOCK_ROWS,
) -> SegmentEntry:
    """Write tables as one sealed segment: whole or not at all, and nothing of them in clear.

    Args:
        tables: Arrow tables or record batches of one schema; their rows in order are the segment's.
        schema: That schema.
        path: The file to write; replaced if it exists.
        plan: How it is sealed.
        keys: Keys of all subjects that occur.
        segment: Its identity; never used for other rows, except in a re-run with suite 2.
        block_rows: Rows that are sorted and sealed together.

    Returns:
        What the manifest says of it.

    Raises:
        ConfigError: The plan does not fit the schema.
        DeclarationError: A column cannot be sealed, or holds a value that is not declared.
        SourceError: A row has no subject ref.
        StorageError: The disk refuses.
    """
    sealed = SealedSchema.of(plan, schema)
    with _replacing(path) as draft:
        fields = [pa.field("ref", REF, False), pa.field("n", pa.uint32(), False)]
        names = [f"sealed:{group}" for group in sealed.groups]
        columns = pa.schema(fields + [pa.field(name, pa.large_binary(), False) for name in names])
        layouts = []
        with pq.ParquetWriter(
            draft,
            columns,
            compression="none",
            use_dictionary=["n"],
            write_statistics=False,
            column_encoding=dict.fromkeys(names, "DELTA_LENGTH_BYTE_ARRAY") | {"ref": "PLAIN"},
        ) as writer:
            for number, block in enumerate(_blocks(tables, sealed.schema, block_rows)):
                batch, layout = _seal_block(block, sealed, segment, number, keys, columns)
                writer.write_batch(batch)
                layouts.append(layout)
            told = json.dumps(layouts, separators=(",", ":")).encode()
            writer.add_key_value_metadata(
                {SCHEMA: sealed.content(), SEGMENT: str(segment).encode(), BLOCKS: told}
            )
    rows = sum(layout["rows"] for layout in layouts)
    return entry_of(path, dataset=plan.dataset, segment=segment, rows=rows)


def _seal_block(
    block: Any, sealed: SealedSchema, segment: UUID, number: int, keys: KeyRing, columns: Any
) -> tuple[Any, dict[str, Any]]:
    """One row group, and what the metadata says of its layout."""
    order, chunks = _by_subject(block.column(sealed.plan.subject), sealed.plan.subject)
    newest = keys.newest(chunks.each())
    arrays = [pa.FixedSizeBinaryArray.from_buffers(REF, len(chunks), [None, pa.py_buffer(chunks.refs)])]
    arrays.append(pa.array(chunks.counts.astype(np.uint32)))
    cells = {}
    for group in sealed.groups:
        layout, plain = chunked(block, sealed.columns(group), order, chunks.counts)
        fingerprint = sealed.fingerprint(group, block.num_rows, layout.cells)
        place = Place(sealed.plan.dataset, segment.bytes, fingerprint, group, number)
        content, offsets = seal(sealed.plan.suite, place, chunks, newest, plain)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(content)]
        arrays.append(pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(chunks), buffers))
        cells[group] = [[cell.width, cell.nulls, cell.scale] for cell in layout.cells]
    return pa.record_batch(arrays, schema=columns), {"rows": block.num_rows, "cells": cells}


def _by_subject(column: Any, name: str) -> tuple[Numbers, Chunks]:
    """The rows subject by subject, each subject's in their order; and whose they are, by ref."""
    try:
        refs = column.combine_chunks().cast(REF)
    except pa.ArrowException:
        refs = None
    if refs is None or refs.null_count:
        raise SourceError(
            f"column {name!r} does not hold a subject ref of {REF_BYTES} bytes in every row",
            hint="register the subjects first: a row that belongs to nobody cannot be erased",
        )
    raw = np.frombuffer(refs.buffers()[1] or b"", np.uint8)
    raw = raw[refs.offset * REF_BYTES : (refs.offset + len(refs)) * REF_BYTES].reshape(-1, REF_BYTES)
    high, low = np.ascontiguousarray(raw).view(">u8").astype(np.uint64).T
    order = np.lexsort((low, high))
    high, low = high[order], low[order]
    new = np.ones(len(order), bool)
    new[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    starts = np.flatnonzero(new)
    counts = np.diff(np.append(starts, len(order)))
    return order, Chunks.of(raw[order[starts]], counts)


def _blocks(tables: Iterable[Any], schema: Any, block_rows: int) -> Iterator[Any]:
    """The same rows in tables of ``block_rows``, or fewer where they are large."""
    waiting: list[Any] = []
    rows = size = 0
    for given in tables:
        table = pa.Table.from_batches([given]) if isinstance(given, pa.RecordBatch) else given
        table = table.replace_schema_metadata(None)
        if not table.schema.equals(schema):
            raise ConfigError(
                "the tables of a segment are not of one schema", hint="cast them before they are sealed"
            )
        per_row = max(1, table.nbytes // max(1, table.num_rows))
        step = min(block_rows, max(1, BLOCK_BYTES // per_row))
        at = 0
        while at < table.num_rows:
            room = max(0, min(step, block_rows - rows, (BLOCK_BYTES - size) // per_row))
            if room == 0:
                yield pa.concat_tables(waiting)
                waiting, rows, size = [], 0, 0
                continue
            part = table.slice(at, room)
            waiting.append(part)
            at, rows, size = at + part.num_rows, rows + part.num_rows, size + part.num_rows * per_row
    if rows:
        yield pa.concat_tables(waiting)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A file beside the path, that takes its place once it is whole and on the disk."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield draft
        with draft.open("rb") as stream:
            os.fsync(stream.fileno())
        draft.replace(path)
    except OSError as error:
        raise StorageError(
            f"cannot write the sealed segment {path}: {error.strerror or 'the disk refuses'}",
            hint="free space, or make the folder writable for this user",
        ) from None
    finally:
        draft.unlink(missing_ok=True)
