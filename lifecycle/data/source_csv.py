"""CSV files, plain or compressed: read in blocks, every value as text, so that validation decides types."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as arrow_csv

from lifecycle.core.errors import SourceError
from lifecycle.data.batch import ROW, BrokenRow, Chunk

_BLOCK = 8 << 20
# A quotation mark that is opened and never closed swallows all lines after it into one value. What goes
# beyond these bounds is taken for that, so that the swallowed rows are not lost in silence.
_LINE_BREAKS = 20
_VALUE_BYTES = 1 << 20


def columns(path: Path, name: str) -> list[str]:
    """The names in a CSV file's header.

    Args:
        path: The file; ``.gz`` and other compressed files are opened as such.
        name: How messages call it.

    Raises:
        SourceError: The file is empty, is not UTF-8 or cannot be decompressed.
    """
    try:
        with (
            pa.input_stream(str(path), compression="detect") as stream,
            io.TextIOWrapper(io.BufferedReader(stream), encoding="utf-8-sig", newline="") as text,
        ):
            header = next(csv.reader(text), None)
    except UnicodeDecodeError:
        raise _not_utf8(path, name) from None
    except (OSError, EOFError) as error:
        raise _unreadable(name, error) from None
    if header is None:
        raise SourceError(
            f"{name} is empty: it has no header line",
            hint="write the file again, or leave it out",
        )
    return header


def chunks(path: Path, name: str, wanted: Sequence[str]) -> Iterator[Chunk]:
    """The file's rows, block by block, as text; an empty unquoted value is null.

    Rows are numbered from 1, the header and blank lines not counted. A line with too many or too few
    values is reported as broken, and counts as a row.

    Raises:
        SourceError: A value is not UTF-8, or the file cannot be read to its end.
    """
    broken: list[BrokenRow] = []
    try:
        number = 0
        reader = _open(path, wanted, broken)
        for batch in reader or ():
            rows = _row_numbers(number, batch.num_rows, broken)
            number = int(rows[-1]) if len(rows) else number
            frame = pl.DataFrame(pl.from_arrow(batch))
            if frame.select(pl.any_horizontal((pl.all().str.len_bytes() > _VALUE_BYTES).any())).item():
                raise _unclosed(name)
            frame.insert_column(0, pl.Series(ROW, rows))
            yield Chunk(frame, tuple(row for row in broken if row.row <= number))
            broken[:] = [row for row in broken if row.row > number]
    except pa.ArrowInvalid as error:
        if "UTF8" in str(error):
            raise _not_utf8(path, name) from None
        raise _unclosed(name) from None
    except OSError as error:
        raise _unreadable(name, error) from None
    if broken:
        empty = pl.DataFrame(schema={ROW: pl.Int64, **dict.fromkeys(wanted, pl.String)})
        yield Chunk(empty, tuple(broken))


def _open(path: Path, wanted: Sequence[str], broken: list[BrokenRow]) -> Any:
    """A streaming reader that adds lines of the wrong length to ``broken``; None if no line follows."""

    def note(line: Any) -> str:
        if line.text.count("\n") > _LINE_BREAKS:
            return "error"
        reason = f"the line has {line.actual_columns} values and the header {line.expected_columns}"
        broken.append(BrokenRow(line.number - 1, f"{line.actual_columns} values", reason))
        return "skip"

    unique = list(dict.fromkeys(wanted))
    stream = pa.input_stream(str(path), compression="detect")
    try:
        return arrow_csv.open_csv(
            stream,
            # One thread: only then are broken lines reported with their number.
            read_options=arrow_csv.ReadOptions(use_threads=False, block_size=_BLOCK),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=unique,
                column_types=dict.fromkeys(unique, pa.string()),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                null_values=[""],
            ),
        )
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):  # a header that no line break ends
            return None
        raise


def _row_numbers(last: int, count: int, broken: Sequence[BrokenRow]) -> np.ndarray[Any, Any]:
    """The numbers of the next ``count`` whole rows after row ``last``, leaving out the broken ones."""
    skipped = [row.row for row in broken]
    numbers = np.arange(last + 1, last + 1 + count + len(skipped), dtype=np.int64)
    return numbers[~np.isin(numbers, skipped)][:count]


def _unclosed(name: str) -> SourceError:
    return SourceError(
        f"{name} is not a readable CSV file: a value runs on over many lines",
        hint="look for a quotation mark that is opened and never closed",
    )


def _unreadable(name: str, error: BaseException) -> SourceError:
    return SourceError(
        f"{name} cannot be read to its end: {error}", hint="fetch the file again, and see that it opens"
    )


def _not_utf8(path: Path, name: str) -> SourceError:
    offset, line, utf16 = _first_undecodable(path)
    return SourceError(
        f"{name} is not UTF-8: line {line}, byte {offset} cannot be decoded",
        hint=f"re-encode it, e.g. iconv -f {'UTF-16' if utf16 else 'WINDOWS-1252'} -t UTF-8 OLD > NEW",
    )


def _first_undecodable(path: Path) -> tuple[int, int, bool]:
    """Byte offset (of the decompressed content) and line of the first fault; whether it looks like UTF-16."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    read, line, utf16 = 0, 1, False
    with pa.input_stream(str(path), compression="detect") as stream:
        while True:
            block = stream.read(1 << 20)
            pending = len(decoder.getstate()[0])
            utf16 = utf16 or (read == 0 and block[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                return read - pending + error.start, line + error.object[: error.start].count(b"\n"), utf16
            if not block:
                return read, line, utf16
            read += len(block)
            line += block.count(b"\n")
