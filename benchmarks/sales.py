"""Made-up house sales of 60 months, each valid, in no order of time: as many as wanted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from lifecycle.core.record import FieldSpec
from systems.house_prices import SYSTEM

BATCH = 500_000
DAYS = 60 * 365 // 12


def write_parquet(path: Path, rows: int) -> None:
    """Write them to one Parquet file, block by block."""
    writer = None
    for frame in _blocks(rows):
        table = frame.to_arrow()
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer:
        writer.close()


def write_csv(path: Path, rows: int) -> None:
    """Write them to one CSV file."""
    with path.open("wb") as stream:
        for number, frame in enumerate(_blocks(rows)):
            frame.write_csv(stream, include_header=number == 0)


def _blocks(rows: int) -> Iterator[pl.DataFrame]:
    rng = np.random.default_rng(0)
    for start in range(0, rows, BATCH):
        count = min(BATCH, rows - start)
        yield pl.DataFrame({field.name: _column(field, start, count, rng) for field in SYSTEM.schema.fields})


def _column(field: FieldSpec, start: int, count: int, rng: np.random.Generator) -> pl.Series:
    if field.record_id:
        return pl.Series(np.arange(start, start + count)).cast(pl.String).str.zfill(9)
    if field.event_time:
        days = np.datetime64("2019-01-01") + rng.integers(0, DAYS, count)
        return pl.Series(days.astype("datetime64[D]"))
    if field.choices:
        return pl.Series(np.array(field.choices)[rng.integers(0, len(field.choices), count)])
    if field.kind == "integer":
        return pl.Series(rng.integers(int(field.ge or 0), int(field.le or 100), count))
    low = field.ge if field.ge is not None else 1_000.0
    return pl.Series(rng.uniform(low, field.le or 1_000_000.0, count).round(1))
