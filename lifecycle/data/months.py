"""Rows by month and versions by record id, in bounded memory: what does not fit waits on disk."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lifecycle.core.record import RecordSchema
from lifecycle.data.snapshot_files import ClearFiles, SnapshotFiles
from lifecycle.data.tables import moment

_SEQ = "#seq"
_MONTH = "#month"


class Months:
    """Collects kept rows in the order they were read, then gives them back month by month.

    Rows lie in memory until they take ``buffer_bytes``, then in Arrow files, one per month, so that a month
    is read back alone. Of each row only a 64-bit hash of its id stays in memory (80 MB for 10 million); rows
    whose hashes are equal are compared by their real ids.

    Add all rows, settle once, then ask for months.

    Args:
        schema: The record's schema.
        folder: An empty folder for rows that wait.
        buffer_bytes: How much lies in memory before it is written there.
        rows_at_once: How many rows that may be versions of others are compared at a time.
        files: How rows that wait lie on disk.
    """

    def __init__(
        self,
        schema: RecordSchema,
        folder: Path,
        *,
        buffer_bytes: int = 192 << 20,
        rows_at_once: int = 1_000_000,
        files: SnapshotFiles | None = None,
    ) -> None:
        self._schema = schema
        self._files = files or ClearFiles(schema)
        self._folder = folder
        self._buffer_bytes = buffer_bytes
        self._rows_at_once = rows_at_once
        self._buffer: list[pl.DataFrame] = []
        self._parts: dict[int, list[pl.DataFrame | Path]] = defaultdict(list)
        self._hashes: list[NDArray[np.uint64]] = []
        self._rows = 0
        self._dropped: NDArray[np.bool_] = np.empty(0, np.bool_)

    def add(self, rows: pl.DataFrame) -> None:
        """Take rows; each is newer than any taken before it."""
        if not rows.height:
            return
        self._hashes.append(_hashed(rows[self._schema.record_id.name]))
        self._buffer.append(rows.with_row_index(_SEQ, self._rows))
        self._rows += rows.height
        if sum(frame.estimated_size() for frame in self._buffer) > self._buffer_bytes:
            for month, part in self._split():
                path = self._folder / f"{month}-{len(self._parts[month])}.arrow"
                self._files.put(part, path)
                self._parts[month].append(path)

    def settle(self) -> tuple[int, int]:
        """Find the newest version of each record, whatever its month.

        Returns:
            How many rows equal the version before them, and how many are replaced by a newer version.
        """
        for month, part in self._split():
            self._parts[month].append(part)
        hashes = np.concatenate([np.empty(0, np.uint64), *self._hashes])
        self._hashes = []
        suspect = _repeated(hashes)
        self._dropped = np.zeros(self._rows, np.bool_)
        duplicates = corrections = 0
        buckets = 1 + int(suspect.sum()) // self._rows_at_once if suspect.any() else 0
        for bucket in range(buckets):
            chosen = suspect & (hashes % np.uint64(buckets) == bucket)
            versions = pl.concat(
                _where(rows, chosen) for month in self._parts for rows in self._stored(month)
            )
            changes, newest = self._versions(versions)
            self._dropped[versions[_SEQ].to_numpy()] = True
            self._dropped[newest[_SEQ].to_numpy()] = False
            duplicates += versions.height - changes.height
            corrections += changes.height - newest.height
        return duplicates, corrections

    def months(self) -> list[int]:
        """The months that have rows, oldest first, counted from the year 0."""
        return sorted(self._parts)

    def rows(self, month: int) -> pl.DataFrame:
        """The newest rows of one month, by event time, then id; possibly none."""
        rows = pl.concat(self._stored(month))
        if self._dropped.any():
            rows = _where(rows, ~self._dropped)
        return rows.drop(_SEQ).sort(self._schema.event_time.name, self._schema.record_id.name)

    def _versions(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The rows that change their record, and of these the newest of each record."""
        key = self._schema.record_id.name
        rows = rows.sort(key, _SEQ)
        fields = [pl.col(field.name) for field in self._schema.fields]
        # A row that comes again changes nothing, not even the origin: the first of equal versions stays.
        same = pl.all_horizontal(field.eq_missing(field.shift(1)) for field in fields)
        changes = rows.filter(~same)
        return changes, changes.filter(pl.col(key).ne_missing(pl.col(key).shift(-1)))

    def _split(self) -> list[tuple[int, pl.DataFrame]]:
        """Take the rows out of the buffer, by month."""
        if not self._buffer:
            return []
        time = moment(self._schema).dt
        month = (time.year() * 12 + time.month() - 1).alias(_MONTH)
        rows = pl.concat(self._buffer).with_columns(month)
        self._buffer = []
        parts = rows.partition_by(_MONTH, as_dict=True, include_key=False)
        return [(key[0], part) for key, part in parts.items()]

    def _stored(self, month: int) -> Iterator[pl.DataFrame]:
        for part in self._parts[month]:
            yield self._files.get(part) if isinstance(part, Path) else part


def month_name(month: int) -> str:
    """A month as partitions are named.

    Example:
        >>> month_name(1996 * 12)
        '1996-01'
    """
    return f"{month // 12:04d}-{month % 12 + 1:02d}"


def _hashed(ids: pl.Series) -> NDArray[np.uint64]:
    return ids.hash().to_numpy()


def _repeated(hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Where a hash occurs more than once."""
    ordered = np.sort(hashes)
    twins = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    del ordered
    if not len(twins):
        return np.zeros(len(hashes), dtype=np.bool_)
    return pl.Series(hashes).is_in(pl.Series(twins).implode()).to_numpy()


def _where(rows: pl.DataFrame, chosen: NDArray[np.bool_]) -> pl.DataFrame:
    return rows.filter(pl.Series(chosen[rows[_SEQ].to_numpy()], dtype=pl.Boolean))
