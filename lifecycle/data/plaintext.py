"""Opened records on their way to somebody who may have them: CSV or Parquet, in a file of its owner alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lifecycle.core.errors import ConfigError, StateError
from lifecycle.data.storage import storing

Tables = Iterable[Any]
"""Arrow tables of one schema."""


def write_plaintext(tables: Tables, columns: Sequence[str], file: Path) -> int:
    """Write columns of tables to a new file of mode 0600, whole or not at all; how many rows.

    Nothing is made before the first table is there: whoever gives them may still refuse.

    Args:
        tables: The rows; at least one table.
        columns: Names of the columns, in the order in which they are written.
        file: ``.csv`` or ``.parquet``.

    Raises:
        StorageError: The disk refuses; nothing is left there.
    """
    write = _WRITERS[file.suffix]
    iterator = iter(tables)
    first = next(iterator)
    with storing(str(file)), _private(file) as stream:
        return write(chain([first], iterator), columns, stream)


def write_csv(tables: Tables, columns: Sequence[str], stream: IO[bytes]) -> int:
    """The same as CSV to a stream, table by table; how many rows."""
    rows = 0
    for number, table in enumerate(tables):
        frame = pl.DataFrame(pl.from_arrow(table.select(columns)))
        frame.write_csv(stream, include_header=number == 0)
        rows += frame.height
    return rows


def require_new(file: Path) -> None:
    """Return where a file of plaintext may be written.

    Raises:
        ConfigError: Its name says no format that is known, or its folder is not there.
        StateError: It is there already.
    """
    if file.suffix not in _WRITERS:
        raise ConfigError(
            f"{file.name} is neither .csv nor .parquet", hint="the end of its name says the format"
        )
    if not file.parent.is_dir():
        raise ConfigError(f"there is no folder {file.parent}", hint="make it, and see who may read it")
    if file.exists() or file.is_symlink():
        raise StateError(f"{file} is there already", hint="choose another name: nothing is overwritten")


def _write_parquet(tables: Tables, columns: Sequence[str], stream: IO[bytes]) -> int:
    iterator = iter(tables)
    first = next(iterator).select(columns)
    rows = 0
    with pq.ParquetWriter(pa.PythonFile(stream, mode="w"), first.schema, compression="zstd") as writer:
        for table in chain([first], iterator):
            writer.write_table(table.select(columns))
            rows += table.num_rows
    return rows


_WRITERS: dict[str, Callable[[Tables, Sequence[str], IO[bytes]], int]] = {
    ".csv": write_csv,
    ".parquet": _write_parquet,
}


@contextmanager
def _private(file: Path) -> Iterator[IO[bytes]]:
    """A file beside it, for its owner alone, that takes the name once it is whole and on the disk."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
