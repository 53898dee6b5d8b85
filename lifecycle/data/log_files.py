"""How the parts of a prediction log lie on disk: in clear, or sealed person by person."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import polars as pl

from lifecycle.core.clock import SystemClock
from lifecycle.core.errors import ConfigError, IntegrityError
from lifecycle.core.ports import Vault
from lifecycle.core.purposes import INGEST, LOGGING
from lifecycle.core.record import SUBJECT_REF, RecordSchema
from lifecycle.data.predictions import FEATURE, SUBJECT

DRAFT = ".draft"


@dataclass(frozen=True)
class Kept:
    """Rows that may be kept.

    Attributes:
        rows: With ``SUBJECT_REF``, where they are to be sealed.
        left_out: Reason -> rows that are not among them: ``erased``, ``withdrawn``.
    """

    rows: pl.DataFrame
    left_out: dict[str, int]


def draft_of(path: Path) -> Path:
    """Where a part waits until it counts."""
    return path.with_name(f".{path.name}{DRAFT}")


def final_name(draft: str) -> str:
    """The name of the part that waits under a draft's."""
    return draft.removeprefix(".").removesuffix(DRAFT)


class LogFiles(Protocol):
    """Writes and reads parts."""

    def keep(self, rows: pl.DataFrame) -> Kept:
        """The rows that may be kept, ready to be written."""
        ...

    def write(self, rows: pl.DataFrame, path: Path) -> None:
        """Write and sync one file."""
        ...

    def rows(self, path: Path) -> int:
        """How many rows were written to a file."""
        ...

    def columns(self, path: Path) -> Sequence[str]:
        """Names of the columns of a file."""
        ...

    def sign(self, folder: Path) -> Sequence[str]:
        """All parts of a day are in its folder; names of the files that say so."""
        ...

    def read(self, path: Path, columns: Sequence[str]) -> pl.LazyFrame:
        """Columns of a file."""
        ...


class ClearLog:
    """Parts as plain Parquet."""

    def keep(self, rows: pl.DataFrame) -> Kept:
        """All of them."""
        return Kept(rows, {})

    def write(self, rows: pl.DataFrame, path: Path) -> None:
        """Write one file."""
        # Through memory: only Python's own write says reliably why a disk refuses.
        content = io.BytesIO()
        rows.write_parquet(content, compression="zstd", compression_level=1, statistics=True)
        with path.open("wb") as stream:
            stream.write(content.getbuffer())
            stream.flush()
            os.fsync(stream.fileno())

    def rows(self, path: Path) -> int:
        """As its footer says."""
        return int(pl.scan_parquet(path).select(pl.len()).collect().item())

    def columns(self, path: Path) -> Sequence[str]:
        """As its footer says."""
        return list(pl.read_parquet_schema(path))

    def sign(self, _folder: Path) -> Sequence[str]:
        """Nothing to do."""
        return ()

    def read(self, path: Path, columns: Sequence[str]) -> pl.LazyFrame:
        """Only these are read."""
        return pl.scan_parquet(path).select(*columns)


class SealedLog:
    """Parts that hold nothing in clear but refs and counts.

    Args:
        schema: Of the system's record.
        vault: Of the system.
    """

    def __init__(self, schema: RecordSchema, vault: Vault) -> None:
        self._vault = vault
        groups = {FEATURE + name: group for name, group in schema.access_groups.items()}
        record_id = schema.record_id.sensitive or "clinical"
        self._groups = {**groups, SUBJECT: "identifiers", "record_id": record_id}

    def keep(self, rows: pl.DataFrame) -> Kept:
        """Those of everybody who was not erased and has not withdrawn; who is new gets a key."""
        if SUBJECT not in rows.columns:
            raise IntegrityError(
                "logged rows name nobody, and the records of the system are sealed now",
                hint="nothing was deleted: compact them with the record type that they were logged with",
            )
        people = rows[SUBJECT].unique(maintain_order=True)
        refs = pl.Series(SUBJECT_REF, self._vault.admit(people.to_list()), dtype=pl.Binary)
        found = rows.join(pl.DataFrame([people, refs]), on=SUBJECT, how="left", maintain_order="left")
        staying = found.filter(pl.col(SUBJECT_REF).is_not_null())
        said = self._vault.consents(staying[SUBJECT_REF].to_list(), LOGGING, SystemClock().now())
        kept = staying.filter(pl.Series([word is not False for word in said], dtype=pl.Boolean))
        left_out = {"erased": rows.height - staying.height, "withdrawn": staying.height - kept.height}
        return Kept(kept, {reason: count for reason, count in left_out.items() if count})

    def write(self, rows: pl.DataFrame, path: Path) -> None:
        """Seal one file."""
        named = path.with_name(final_name(path.name))
        self._vault.seal(rows.rechunk().to_arrow(), named, self._groups)
        named.rename(path)

    def rows(self, path: Path) -> int:
        """Of everybody, erased since or not; told without any key."""
        return self._vault.rows(path)

    def columns(self, path: Path) -> Sequence[str]:
        """Told without any key."""
        return list(self._vault.columns([path]))

    def sign(self, folder: Path) -> Sequence[str]:
        """Sign which files the folder holds."""
        return self._vault.close(folder)

    def read(self, path: Path, columns: Sequence[str]) -> pl.LazyFrame:
        """Opened in memory; rows of erased subjects are not among them."""
        [opened] = self._vault.open([path], columns, INGEST)
        frame = pl.from_arrow(opened.table)
        assert isinstance(frame, pl.DataFrame)
        return frame.lazy().select(*columns)


def log_files(schema: RecordSchema, vault: Vault | None) -> LogFiles:
    """How the parts of a system's log lie on disk.

    Raises:
        ConfigError: They must be sealed, and there is no vault.
    """
    if vault is not None:
        return SealedLog(schema, vault)
    if schema.is_sealed:
        raise ConfigError(
            f"record {schema.name} has sensitive fields, and no keys were given to open its log with",
            hint="run it by `lifecycle`, which opens the key table of the project",
        )
    return ClearLog()
