"""Arrow IPC files, also known as Feather 2: files or streams, read batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from lifecycle.core.errors import SourceError
from lifecycle.data.batch import ROW, Chunk

_MAGIC = b"ARROW1"
_ROWS = 131_072


def columns(path: Path, name: str) -> dict[str, pl.DataType]:
    """The names and types of an Arrow file's columns.

    Raises:
        SourceError: The file is not Arrow IPC, or has two columns of one name.
    """
    with _batches(path, name, None) as (schema, _):
        twice = sorted({column for column in schema.names if schema.names.count(column) > 1})
        if twice:
            raise SourceError(f"{name} has two columns named {twice[0]!r}", hint="rename one of them")
        return dict(pl.DataFrame(pl.from_arrow(schema.empty_table())).schema)


def chunks(path: Path, name: str, wanted: Sequence[str]) -> Iterator[Chunk]:
    """The file's rows, block by block; they are numbered from 1.

    Raises:
        SourceError: The file is damaged.
    """
    number = 1
    names = list(dict.fromkeys(wanted))
    with _batches(path, name, names) as (_, batches):
        for batch in batches:
            for start in range(0, batch.num_rows, _ROWS):
                frame = pl.DataFrame(pl.from_arrow(batch.slice(start, _ROWS).select(names)))
                rows = pl.Series(ROW, np.arange(number, number + frame.height))
                number += frame.height
                yield Chunk(frame.insert_column(0, rows))


@contextmanager
def _batches(path: Path, name: str, wanted: Sequence[str] | None) -> Iterator[tuple[Any, Iterator[Any]]]:
    """The schema and the record batches, of a file or of a stream; of a file, the wanted columns alone."""
    try:
        with pa.OSFile(str(path)) as stream:
            magic = stream.read(len(_MAGIC))
            stream.seek(0)
            if magic != _MAGIC:
                with pa.ipc.open_stream(stream) as reader:
                    yield reader.schema, iter(reader)
                return
            whole = pa.ipc.open_file(stream)
            fields = None if wanted is None else [whole.schema.get_field_index(column) for column in wanted]
            options = pa.ipc.IpcReadOptions(included_fields=fields)
            reader = pa.ipc.open_file(stream, options=options)
            yield whole.schema, (reader.get_batch(i) for i in range(reader.num_record_batches))
    except (pa.ArrowException, OSError) as error:
        raise SourceError(
            f"{name} is not a readable Arrow file: {error}",
            hint="fetch the file again, and see that it opens",
        ) from None
