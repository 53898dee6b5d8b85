"""Parquet files: read in blocks of rows, so that a file of any size fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lifecycle.core.errors import SourceError
from lifecycle.data.batch import ROW, Chunk

_ROWS = 131_072


def columns(path: Path, name: str) -> dict[str, pl.DataType]:
    """The names and types of a Parquet file's columns.

    Raises:
        SourceError: The file is not Parquet, or has two columns of one name.
    """
    try:
        with _open(path) as file:
            names = file.schema_arrow.names
            twice = sorted({column for column in names if names.count(column) > 1})
            if twice:
                raise SourceError(f"{name} has two columns named {twice[0]!r}", hint="rename one of them")
            return dict(pl.DataFrame(pl.from_arrow(file.schema_arrow.empty_table())).schema)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(name, error) from None


def count(path: Path) -> int:
    """How many rows a (readable) Parquet file says it has."""
    with _open(path) as file:
        return int(file.metadata.num_rows)


def chunks(path: Path, name: str, wanted: Sequence[str]) -> Iterator[Chunk]:
    """The file's rows, block by block; they are numbered from 1.

    Raises:
        SourceError: The file is damaged.
    """
    number = 1
    try:
        with _open(path) as file:
            for batch in file.iter_batches(_ROWS, columns=list(dict.fromkeys(wanted))):
                rows = pl.Series(ROW, np.arange(number, number + batch.num_rows))
                number += batch.num_rows
                yield Chunk(pl.DataFrame(pl.from_arrow(batch)).insert_column(0, rows))
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(name, error) from None


def _open(path: Path) -> Any:
    # Without pre-buffering, a file written as one huge row group does not have to fit into memory.
    return pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)


def _unreadable(name: str, error: BaseException) -> SourceError:
    return SourceError(
        f"{name} is not a readable Parquet file: {error}", hint="fetch the file again, and see that it opens"
    )
