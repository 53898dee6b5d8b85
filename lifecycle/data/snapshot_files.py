"""How the partitions of a snapshot lie on disk: in clear, or sealed where the record has sensitive fields."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl
import pyarrow as pa

from lifecycle.core.errors import ConfigError
from lifecycle.core.ports import Vault
from lifecycle.core.purposes import TRAINING
from lifecycle.core.record import RECORD_REF, SUBJECT_REF, RecordSchema
from lifecycle.data.partitions import write_partition

PARTITION = "#partition"
"""The column that names the partition of a row; no field of a record is called so."""


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

    def read(self, paths: Sequence[Path], columns: Sequence[str]) -> tuple[pl.LazyFrame, int]:
        """Columns of the rows of one partition or more, in their order.

        Returns:
            The columns, and the name of each row's partition as ``PARTITION``; how many rows are not among
            them because they were erased.
        """
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

    def read(self, paths: Sequence[Path], columns: Sequence[str]) -> tuple[pl.LazyFrame, int]:
        """Columns of partitions; only they are read."""
        named = {path: pl.lit(path.stem).alias(PARTITION) for path in paths}
        return pl.concat([pl.scan_parquet(path).select(*columns, name) for path, name in named.items()]), 0

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

    def read(self, paths: Sequence[Path], columns: Sequence[str]) -> tuple[pl.LazyFrame, int]:
        """Columns of partitions, opened in memory."""
        names = list(dict.fromkeys(name for name in columns if name != SUBJECT_REF))
        opened = list(self._vault.open(paths, names, TRAINING))
        # Handed over in one piece: hundreds of small tables take longer than it takes to open them.
        table = pa.concat_tables([it.table for it in opened]).combine_chunks()
        whose = np.repeat(np.arange(len(opened)), [it.table.num_rows for it in opened])
        partition = pl.Series(PARTITION, [path.stem for path in paths]).gather(whose)
        rows = pl.DataFrame(pl.from_arrow(table)).select(*columns).with_columns(partition)
        return rows.lazy(), sum(it.dropped for it in opened)

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
