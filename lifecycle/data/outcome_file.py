"""Reading outcomes from a file of any size: CSV, Parquet or JSON lines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path

import polars as pl

from lifecycle.core.errors import ConfigError, SourceError
from lifecycle.core.record import RecordSchema
from lifecycle.core.suggest import nearest
from lifecycle.data import source_csv, source_parquet
from lifecycle.data.batch import ROW, Batch, BrokenRow, Chunk
from lifecycle.data.outcome_checks import Outcomes, check, fields_of

_LINES = 65_536
_ENDINGS = {
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "json",
    ".ndjson": "json",
}


class OutcomeFile:
    """A file of outcomes.

    Args:
        path: ``.csv`` (also compressed), ``.parquet`` or ``.jsonl``.
        schema: Of the system's record: its label says which values there are.
        columns: Field -> column of the file, where they differ.
        utc: Whether times without an offset are UTC; they are refused otherwise.

    Raises:
        SourceError: The file is missing, of another kind, or lacks a column.
        ConfigError: ``columns`` names an unknown field.
    """

    def __init__(
        self, path: Path, schema: RecordSchema, columns: Mapping[str, str], *, utc: bool = False
    ) -> None:
        self._path = path
        self._schema = schema
        self._utc = utc
        self._fields = fields_of(schema)
        for name in columns:
            if name not in self._fields:
                raise ConfigError(
                    f"outcomes have no field {name!r}{nearest(name, self._fields)}",
                    hint=f"they have {', '.join(self._fields)}",
                )
        self._kind = self._kind_of(path)
        self._columns = self._find({name: columns.get(name, name) for name in self._fields}, set(columns))

    @property
    def name(self) -> str:
        """How messages call it."""
        return self._path.name

    @property
    def digest(self) -> str:
        """SHA-256 of the file and of how it is read: one digest means the same outcomes."""
        with self._path.open("rb") as stream:
            state = hashlib.file_digest(stream, "sha256")
        state.update(json.dumps([sorted(self._columns.items()), self._utc]).encode())
        return state.hexdigest()

    def read(self, now: datetime) -> Iterator[Outcomes]:
        """The file, block by block.

        Args:
            now: When it is received.

        Raises:
            SourceError: The file is damaged.
        """
        for frame, broken in self._chunks():
            yield self._check(frame, broken, now)

    def _kind_of(self, path: Path) -> str:
        if not path.is_file():
            raise SourceError(f"there is no file {path}", hint="mend the path")
        kind = "csv" if ".csv" in path.suffixes else _ENDINGS.get(path.suffix)
        if kind is None:
            raise SourceError(
                f"{path.name} does not say what it is", hint=f"outcomes are read from {', '.join(_ENDINGS)}"
            )
        if path.stat().st_size == 0:
            raise SourceError(f"{path.name} is empty (0 bytes)", hint="write the file again")
        return kind

    def _find(self, columns: dict[str, str], named: Collection[str]) -> dict[str, str]:
        """Field -> column, of the columns that are there."""
        if self._kind == "json":
            return columns
        module = source_csv if self._kind == "csv" else source_parquet
        found = list(module.columns(self._path, self._path.name))
        needed = set(self._fields) - {"prediction_id", "record_id"} | set(named)
        if not {columns["prediction_id"], columns["record_id"]} & set(found):
            needed |= {"prediction_id", "record_id"}
        if missing := [
            columns[name] for name in self._fields if name in needed and columns[name] not in found
        ]:
            many = "s" if len(missing) > 1 else ""
            raise SourceError(
                f"{self._path.name} lacks the column{many} {', '.join(missing)}; it has {', '.join(found)}",
                hint="say where it is: --column value=COLUMN; one of prediction_id and record_id will do",
            )
        return {name: column for name, column in columns.items() if column in found}

    def _chunks(self) -> Iterator[Chunk]:
        name, wanted = self._path.name, list(self._columns.values())
        if self._kind == "csv":
            return source_csv.chunks(self._path, name, wanted)
        if self._kind == "parquet":
            return source_parquet.chunks(self._path, name, wanted)
        return _json_lines(self._path, wanted)

    def _check(self, frame: pl.DataFrame, broken: Sequence[BrokenRow], now: datetime) -> Outcomes:
        rows = frame.select(
            ROW,
            *(
                (pl.col(self._columns[name]) if name in self._columns else pl.lit(None, pl.String)).alias(
                    name
                )
                for name in self._fields
            ),
        )
        return check(
            Batch(self._path.name, "user", {}, rows, tuple(broken)), self._schema, now, utc=self._utc
        )


def _json_lines(path: Path, wanted: Sequence[str]) -> Iterator[Chunk]:
    """The lines of a file, block by block, every value as text; they are numbered from 1."""
    first = 1
    with path.open("rb") as stream:
        while lines := list(islice(stream, _LINES)):
            yield _json_block(lines, first, wanted)
            first += len(lines)


def _json_block(lines: Sequence[bytes], first: int, wanted: Sequence[str]) -> Chunk:
    numbers: list[int] = []
    values: dict[str, list[str | None]] = {name: [] for name in wanted}
    broken = []
    for number, line in enumerate(lines, first):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            broken.append(BrokenRow(number, "no JSON", "must be one JSON object"))
            continue
        if not isinstance(content, dict):
            broken.append(BrokenRow(number, type(content).__name__, "must be one JSON object"))
            continue
        numbers.append(number)
        for name in wanted:
            values[name].append(_as_text(content.get(name)))
    columns = {name: pl.Series(found, dtype=pl.String) for name, found in values.items()}
    return Chunk(pl.DataFrame({ROW: pl.Series(numbers, dtype=pl.Int64), **columns}), tuple(broken))


def _as_text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return (
        repr(value) if isinstance(value, int | float) else "?"
    )  # a list or object is nothing an outcome has
