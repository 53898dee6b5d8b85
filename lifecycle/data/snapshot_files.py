"""How the partitions of a snapshot lie on disk: in clear, or sealed where the record has sensitive fields."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import polars as pl
import pyarrow as pa

from lifecycle.core.errors import ConfigError
from lifecycle.core.ports import Vault
from lifecycle.core.purposes import TRAINING
from lifecycle.core.record import RECORD_REF, SUBJECT_REF, RecordSchema
from lifecycle.data.partitions import write_partition


class SnapshotFiles(Protocol):
    """Writes partitions, reads columns of them, and keeps rows that wait."""

    @property
    def key(self) -> str:
        """The column that names a record wherever it is not sealed, such as in a split."""
        ...

    @property
    def subject(self) -> str | None:
        """The column that tells subjects apart, if there is one."""
        ...

    def write(self, rows: pl.DataFrame, path: Path) -> None:
        """Write one partition, in the given order of rows; the same rows make the same bytes."""
        ...

    def finish(self, folder: Path) -> None:
        """A snapshot is whole: all its partitions are in the folder."""
        ...

    def read(self, paths: Sequence[Path], columns: Sequence[str]) -> tuple[list[pl.LazyFrame], int]:
        """Columns of each partition, and how many rows are not among them because they were erased."""
        ...

    def put(self, rows: pl.DataFrame, path: Path) -> None:
        """Let rows wait on disk for this very object."""
        ...

    def get(self, path: Path) -> pl.DataFrame:
        """Rows that waited."""
        ...


class ClearFiles:
    """Partitions as plain Parquet.

    Args:
        schema: The record's schema.
    """

    def __init__(self, schema: RecordSchema) -> None:
        self.key = schema.record_id.name
        self.subject = schema.subject_id.name if schema.subject_id else None

    def write(self, rows: pl.DataFrame, path: Path) -> None:
        """Write one partition."""
        write_partition(rows, path)

    def finish(self, folder: Path) -> None:
        """Nothing to do."""

    def read(self, paths: Sequence[Path], columns: Sequence[str]) -> tuple[list[pl.LazyFrame], int]:
        """Columns of each partition; only they are read."""
        return [pl.scan_parquet(path).select(*columns) for path in paths], 0

    def put(self, rows: pl.DataFrame, path: Path) -> None:
        """Let rows wait."""
        path.write_bytes(_ipc(rows))

    def get(self, path: Path) -> pl.DataFrame:
        """Rows that waited."""
        return pl.read_ipc(path)


class SealedFiles:
    """Partitions that hold nothing in clear but refs and counts.

    Args:
        vault: Of the system.
    """

    key = RECORD_REF
    subject = SUBJECT_REF

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def write(self, rows: pl.DataFrame, path: Path) -> None:
        """Seal one partition."""
        self._vault.seal(rows.rechunk().to_arrow(), path)

    def finish(self, folder: Path) -> None:
        """Sign the snapshot."""
        self._vault.close(folder)

    def read(self, paths: Sequence[Path], columns: Sequence[str]) -> tuple[list[pl.LazyFrame], int]:
        """Columns of each partition, opened in memory."""
        names = list(dict.fromkeys(name for name in columns if name != SUBJECT_REF))
        opened = list(self._vault.open(paths, names, TRAINING))
        if not opened:
            return [], 0
        # Handed over in one go: for hundreds of small tables that takes longer than to open them.
        rows = pl.DataFrame(pl.from_arrow(pa.concat_tables([it.table for it in opened])))
        sizes = [it.table.num_rows for it in opened]
        starts = accumulate(sizes, initial=0)
        frames = [
            rows.slice(start, size).lazy().select(*columns)
            for start, size in zip(starts, sizes, strict=False)
        ]
        return frames, sum(it.dropped for it in opened)

    def put(self, rows: pl.DataFrame, path: Path) -> None:
        """Let rows wait, readable by this object alone."""
        path.write_bytes(self._vault.conceal(_ipc(rows)))

    def get(self, path: Path) -> pl.DataFrame:
        """Rows that waited."""
        return pl.read_ipc(io.BytesIO(self._vault.reveal(path.read_bytes())))


def snapshot_files(schema: RecordSchema, vault: Vault | None) -> SnapshotFiles:
    """How the partitions of a record type lie on disk.

    Raises:
        ConfigError: They must be sealed, and there is no vault.
    """
    if vault is not None:
        return SealedFiles(vault)
    if schema.is_sealed:
        raise ConfigError(
            f"record {schema.name} has sensitive fields, and no keys were given to seal it with",
            hint="run it by `lifecycle`, which opens the key table of the project",
        )
    return ClearFiles(schema)


def _ipc(rows: pl.DataFrame) -> bytes:
    return bytes(rows.write_ipc(None, compression="lz4").getbuffer())
