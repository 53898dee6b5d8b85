"""A sealed segment that is read: what it is without any key, and its rows with the keys of their subjects.

``sealing.py`` says how it is laid out.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lifecycle.core.errors import ConfigError, EnvelopeError, NotSealedError, TamperedError, TruncatedError
from lifecycle.records.columns import Cell, cast
from lifecycle.records.envelope import open_pieces
from lifecycle.records.place import Chunks, Numbers, Place
from lifecycle.records.plan import SealedSchema
from lifecycle.records.rows import Layout, assembled
from lifecycle.records.sealing import BLOCKS, REF, SCHEMA, SEGMENT
from lifecycle.records.subject_keys import REF_BYTES, KeyRing

_RESTORE = "restore the segment from the remote or a backup"
_SMALL = 1 << 20
"""Bytes of a file that is read in one go: to map it takes longer."""
_CHUNKS, _PIECE = 1024, 1 << 20
"""Chunks, and bytes of them, that are opened at a time: a core's cache holds them and their plaintext."""


@dataclass(frozen=True)
class Opened:
    """Rows that were opened.

    Attributes:
        table: The columns asked for and the subject refs, in the original order.
        dropped: Rows that are not in it, because their subject was erased.
    """

    table: Any
    dropped: int


class SealedSegment:
    """A segment that lies on disk; looking at it needs no key.

    Args:
        path: The file, or the name of what a stream gives.
        stream: Reads it, where it is no file.

    Raises:
        TruncatedError: It is not whole.
        NotSealedError: It is no sealed segment.
        EnvelopeError: It is of a format that is not known.
    """

    def __init__(self, path: Path, stream: BinaryIO | None = None) -> None:
        self.path = path
        self._stream = stream
        self._footer: Any = None  # parsed once: for a small file that is most of opening it
        file = self._file()
        self._footer = file.metadata
        told = file.metadata.metadata or {}
        if not {SCHEMA, SEGMENT, BLOCKS} <= set(told):
            raise NotSealedError(
                f"{path} is not a sealed segment", hint="nothing is read as plaintext: seal it first"
            )
        self.sealed = SealedSchema.parse(told[SCHEMA])
        try:
            self.id = UUID(told[SEGMENT].decode())
            self._layouts = [self._layout(block) for block in json.loads(told[BLOCKS])]
        except (KeyError, ValueError, TypeError, AttributeError):
            raise EnvelopeError(f"what {path} says of its blocks is malformed", hint=_RESTORE) from None
        if len(self._layouts) != file.num_row_groups:
            raise TruncatedError(
                f"{path} has {file.num_row_groups} of {len(self._layouts)} blocks", hint=_RESTORE
            )

    @property
    def rows(self) -> int:
        """Rows that were sealed, those of erased subjects included."""
        return sum(layouts[self.sealed.groups[0]].rows for layouts in self._layouts)

    def subjects(self) -> Iterator[Chunks]:
        """Whose rows it holds and how many, block by block; a scan proves an erasure by it, without keys."""
        file = self._file()
        for number in range(len(self._layouts)):
            yield self._chunks(file, number)

    def open(
        self, keys: KeyRing, groups: Collection[str], columns: Collection[str] | None = None
    ) -> Iterator[Opened]:
        """Open it block by block; the plaintext of one block is in memory at a time.

        Args:
            keys: The keys of its subjects.
            groups: The access groups to open; no other is decrypted.
            columns: Those wanted, of these groups; None: all of them.

        Raises:
            ConfigError: A group or column is not there, or a column is of a group that was not asked for.
            KeyMissingError: A subject is neither known nor erased.
            SealError: Something was changed, cut, moved or sealed under another key.
        """
        return self._open(keys, self._wanted(groups, columns))

    def read(self, keys: KeyRing, groups: Collection[str], columns: Collection[str] | None = None) -> Opened:
        """The whole segment at once; as ``open``."""
        wanted = self._wanted(groups, columns)
        blocks = list(self._open(keys, wanted))
        tables = [block.table for block in blocks] or [self._schema(wanted).empty_table()]
        return Opened(pa.concat_tables(tables), sum(block.dropped for block in blocks))

    def _open(self, keys: KeyRing, wanted: dict[str, set[str]]) -> Iterator[Opened]:
        file, schema = self._file(), self._schema(wanted)
        for number in range(len(self._layouts)):
            chunks = self._chunks(file, number)
            held = keys.every(chunks.each())
            counts = np.where([found is not None for found in held], chunks.counts, 0)
            rows = int(counts.sum())
            columns: dict[str, Any] = {}
            placed: list[Numbers] = []
            for group, names in wanted.items():
                envelopes = self._envelopes(file, number, group)
                place, layout = self._place(number, group), self._layouts[number][group]
                with closing(open_pieces(self.sealed.plan.suite, place, chunks, held, envelopes)) as opened:
                    found, places = assembled(layout, opened, chunks.counts, rows, names)
                columns |= found
                placed.append(places)
            if any(not np.array_equal(placed[0], other) for other in placed[1:]):
                raise TamperedError(
                    f"{self.path}: the access groups of block {number} disagree", hint=_RESTORE
                )
            refs = np.empty((rows, REF_BYTES), np.uint8)
            refs.view(f"V{REF_BYTES}")[placed[0]] = chunks.refs.view(f"V{REF_BYTES}").repeat(counts, axis=0)
            subject = pa.FixedSizeBinaryArray.from_buffers(REF, rows, [None, pa.py_buffer(refs)])
            columns[self.sealed.plan.subject] = subject.cast(schema.field(self.sealed.plan.subject).type)
            table = pa.table([columns[name] for name in schema.names], schema=schema)
            yield Opened(table, int(chunks.counts.sum()) - rows)

    def _place(self, number: int, group: str) -> Place:
        layout = self._layouts[number][group]
        fingerprint = self.sealed.fingerprint(group, layout.rows, layout.cells)
        return Place(self.sealed.plan.dataset, self.id.bytes, fingerprint, group, number)

    def _wanted(self, groups: Collection[str], columns: Collection[str] | None) -> dict[str, set[str]]:
        """The columns to decode, by access group."""
        known = self.sealed.groups
        if unknown := sorted(set(groups) - set(known)) or not groups:
            asked = ", ".join(map(repr, unknown)) if isinstance(unknown, list) else "none"
            raise ConfigError(
                f"access groups asked for: {asked}", hint=f"the segment has: {', '.join(known)}"
            )
        wanted = {
            group: {column.name for column in self.sealed.columns(group)} for group in sorted(set(groups))
        }
        if columns is None:
            return wanted
        there = set().union(*wanted.values()) | {self.sealed.plan.subject}
        if refused := sorted(set(columns) - there):
            raise ConfigError(
                f"columns {', '.join(map(repr, refused))} are not in the access groups "
                f"{', '.join(sorted(groups))}",
                hint="ask for their group too, if the policy allows it, or leave them out",
            )
        return {group: names & set(columns) for group, names in wanted.items()}

    def _schema(self, wanted: dict[str, set[str]]) -> Any:
        names = set().union(*wanted.values()) | {self.sealed.plan.subject}
        return pa.schema([field for field in self.sealed.schema if field.name in names])

    def _layout(self, block: dict[str, Any]) -> dict[str, Layout]:
        """How each access group of a block is laid out."""
        found = {}
        for group in self.sealed.groups:
            cells = tuple(_cell(width, nulls, scale) for width, nulls, scale in block["cells"][group])
            columns = self.sealed.columns(group)
            if len(cells) != len(columns):
                raise ValueError
            found[group] = Layout(columns, cells, int(block["rows"]))
        return found

    def _file(self) -> Any:
        try:
            source: Any = self._stream or self.path
            if source is self.path and self.path.stat().st_size <= _SMALL:
                source = pa.BufferReader(self.path.read_bytes())
            return pq.ParquetFile(source, metadata=self._footer, memory_map=source is self.path)
        except (OSError, pa.ArrowException):
            raise TruncatedError(f"{self.path} is not a whole Parquet file", hint=_RESTORE) from None

    def _chunks(self, file: Any, number: int) -> Chunks:
        """Whose rows a block holds."""
        with self._readable(number):
            block = file.read_row_group(number, columns=["ref", "n"], use_threads=False)
            refs, counts = _as(block, "ref", REF), _as(block, "n", pa.uint32())
        raw = np.frombuffer(
            refs.buffers()[1] or b"", np.uint8, len(refs) * REF_BYTES, refs.offset * REF_BYTES
        )
        rows = counts.to_numpy().astype(np.int64)
        if rows.sum() != self._layouts[number][self.sealed.groups[0]].rows:
            raise TamperedError(
                f"block {number} of {self.path} does not count the rows that were sealed",
                hint=_RESTORE,
            )
        return Chunks.of(raw.reshape(-1, REF_BYTES), rows)

    def _envelopes(self, file: Any, number: int, group: str) -> Iterator[tuple[memoryview, Numbers]]:
        """The envelopes of an access group of a block, and where each begins and the last ends.

        Some at a time, in memory that the next ones get: decrypting finds them in a core's cache.
        """
        name = f"sealed:{group}"
        held = file.metadata.row_group(number)
        size = held.column(held.num_columns - len(self.sealed.groups) + self.sealed.groups.index(group))
        step = _PIECE * held.num_rows // max(1, size.total_uncompressed_size)
        with self._readable(number):
            for batch in file.iter_batches(
                min(max(1, step), _CHUNKS), row_groups=[number], columns=[name], use_threads=False
            ):
                envelopes = _as(batch, name, pa.large_binary())
                _, offsets, data = envelopes.buffers()
                bounds = np.frombuffer(offsets, np.int64, len(envelopes) + 1, envelopes.offset * 8)
                # Arrow's buffers are of signed bytes, which the ciphers refuse.
                yield memoryview(data).cast("B") if data is not None else memoryview(b""), bounds

    @contextmanager
    def _readable(self, number: int) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, KeyError, pa.ArrowException):
            raise TruncatedError(f"block {number} of {self.path} cannot be read", hint=_RESTORE) from None


@lru_cache(maxsize=1024)
def _cell(width: float, nulls: bool, scale: float) -> Cell:
    """There are few kinds, and thousands of each in the segments of a snapshot."""
    return Cell(int(width), bool(nulls), int(scale))


def _as(columns: Any, name: str, kind: Any) -> Any:
    """A column without nulls in one piece and of one type."""
    column = columns.column(name)
    if column.null_count:
        raise ValueError
    if isinstance(column, pa.ChunkedArray):  # ``combine_chunks`` copies even what is in one piece
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    return cast(column, kind)
