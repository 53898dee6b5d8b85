"""Where rows come from: files, queries and the prediction log, brought to one column per record field."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from lifecycle.core.errors import ConfigError, SourceError
from lifecycle.core.params import SourceParams
from lifecycle.core.record import RecordSchema
from lifecycle.core.suggest import nearest
from lifecycle.data import source_arrow, source_csv, source_parquet, source_predictions, source_sql
from lifecycle.data.batch import ROW, Batch, Chunk
from lifecycle.data.parsing import accepts, expectation
from lifecycle.data.source_predictions import Logged

_READERS: dict[str, Any] = {"csv": source_csv, "parquet": source_parquet, "arrow": source_arrow}
"""Kind of file -> the module that reads it."""


@dataclass(frozen=True)
class Part:
    """One file or query of a source, opened when its rows are asked for.

    Attributes:
        name: How messages call it.
        stem: What the numbers of its rows begin with.
        source: The source it belongs to.
        read: Starts reading it.
    """

    name: str
    stem: str
    source: SourceParams
    read: Callable[[], Iterator[Chunk]]


def open_sources(
    schema: RecordSchema, sources: Sequence[SourceParams], root: Path, logged: Logged | None = None
) -> list[Part]:
    """Find every file and check its columns, before the first row of any is read.

    Args:
        schema: The record's schema.
        sources: As listed in ``params.yaml``; rows of later ones win.
        root: What paths are relative to.
        logged: The system's prediction log, and the moment to read it as of; for predictions sources.

    Raises:
        ConfigError: A source names a field that the record does not have, a bad format, or would number
            rows as another does; or the log cannot give a field that every row needs.
        SourceError: A file is missing, empty, unreadable or not of the record's shape.
    """
    checks = [source_predictions.faults if s.kind == "predictions" else _faults for s in sources]
    faults = [
        f"source {i}: {fault}"
        for i, (s, faults_of) in enumerate(zip(sources, checks, strict=True), 1)
        for fault in faults_of(schema, s)
    ]
    if faults:
        raise ConfigError(
            "params.yaml does not fit the record:\n" + "\n".join(f"  - {fault}" for fault in faults),
            hint=f"record {schema.name} has: {', '.join(field.name for field in schema.fields)}",
        )
    parts = [part for i, s in enumerate(sources, 1) for part in _parts(schema, s, i, root, logged)]
    _refuse_equal_numbers(schema, parts)
    return parts


def read_batches(schema: RecordSchema, parts: Sequence[Part]) -> Generator[Batch, None, None]:
    """All rows, part by part in order, with the record's fields for columns."""
    for part in parts:
        for frame, broken in part.read():
            renamed = frame.select(ROW, *(_field(schema, part, name) for name in _names(schema)))
            yield Batch(part.name, part.source.origin, part.source.formats, renamed, broken)


def _names(schema: RecordSchema) -> list[str]:
    return [field.name for field in schema.fields]


def _field(schema: RecordSchema, part: Part, name: str) -> pl.Expr:
    source = part.source
    if name == source.number_rows_as:
        number = pl.col(ROW)
        if schema[name].kind == "integer":
            return number.alias(name)
        return pl.format(f"{part.stem}-{{}}", number.cast(pl.String).str.zfill(7)).alias(name)
    column = source.columns.get(name, name)
    return (pl.col(column) if column else pl.lit(None, pl.String)).alias(name)


def _faults(schema: RecordSchema, source: SourceParams) -> Iterator[str]:
    """Everything that is wrong with a source's own declaration."""
    names = _names(schema)
    for key in ("columns", "formats"):
        for name in getattr(source, key):
            if name not in names:
                yield f"{key}: the record has no field {name!r}{nearest(name, names)}"
    for name, column in source.columns.items():
        if not column and name in names and not schema[name].optional:
            yield f"columns: {name} is not optional, so it needs a column"
    for name, form in source.formats.items():
        if name in names and schema[name].kind not in ("date", "datetime"):
            yield f"formats: {name} is {schema[name].kind}; only dates and datetimes have a format"
        elif not _is_format(form):
            yield f"formats: {name}: {form!r} is not a strptime format"
    number = source.number_rows_as
    if number is None:
        return
    if source.kind == "sql":
        yield "number_rows_as: a query has no row numbers that last; select an id instead"
    if number not in names:
        yield f"number_rows_as: the record has no field {number!r}{nearest(number, names)}"
    elif schema[number].kind not in ("text", "integer"):
        yield f"number_rows_as: {number} is {schema[number].kind}; a row number is text or an integer"


def _is_format(form: str) -> bool:
    return "%" in form and (_reads(form, pl.Date()) or _reads(form, pl.Datetime("us")))


def _reads(form: str, dtype: pl.Date | pl.Datetime) -> bool:
    try:
        pl.Series(["-"]).str.strptime(dtype, form, strict=False)
    except pl.exceptions.PolarsError:
        return False
    return True


def _parts(
    schema: RecordSchema, source: SourceParams, position: int, root: Path, logged: Logged | None
) -> Iterator[Part]:
    if source.kind == "predictions":
        if logged is None:
            raise ConfigError(
                "a predictions source is read from the prediction log, and there is none here",
                hint="ingest with `lifecycle update`, which knows where the log is",
            )
        yield Part("prediction log", "", source, partial(source_predictions.chunks, schema, logged))
        return
    if source.kind == "sql":
        url = source_sql.address(source.url or "", root)
        name = f"source {position} ({url.get_backend_name()})"
        choose = partial(_columns, schema, source, name)
        yield Part(name, "", source, partial(source_sql.chunks, url, source.query or "", name, choose))
        return
    for path in files(source.path or "", root):
        name = name_of(path, root)
        found = columns_of(path, name, source.kind)
        wanted = _columns(schema, source, name, found)
        if isinstance(found, dict):
            _check_types(schema, source, name, found)
        chunks = _READERS[source.kind].chunks
        yield Part(name, path.name.split(".")[0], source, partial(chunks, path, name, wanted))


def columns_of(path: Path, name: str, kind: str) -> list[str] | dict[str, pl.DataType]:
    """The columns of a file; with their types, where its kind has any.

    Args:
        path: The file.
        name: How messages call it.
        kind: As in ``SourceParams``; not ``sql``.

    Raises:
        SourceError: The file is empty, unreadable or of another kind.
    """
    if path.stat().st_size == 0:
        raise SourceError(f"{name} is empty (0 bytes)", hint="write the file again, or leave it out")
    found: list[str] | dict[str, pl.DataType] = _READERS[kind].columns(path, name)
    return found


def name_of(path: Path, root: Path) -> str:
    """How messages call a file: relative to the project where it lies inside."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def files(pattern: str, root: Path) -> list[Path]:
    """The files a path or glob stands for, in the order of their names.

    Raises:
        SourceError: There is none.
    """
    whole = root / pattern
    if whole.is_file():
        return [whole]
    absolute = Path(pattern).is_absolute()
    base, rest = (Path(whole.anchor), str(whole.relative_to(whole.anchor))) if absolute else (root, pattern)
    found = sorted(path for path in base.glob(rest) if path.is_file())
    if not found:
        what = "no file matches" if any(sign in pattern for sign in "*?[") else "there is no file"
        raise SourceError(f"{what} {pattern}", hint=f"paths are relative to {root}")
    return found


def _columns(schema: RecordSchema, source: SourceParams, name: str, found: Collection[str]) -> list[str]:
    """The source's columns that the record needs.

    Raises:
        SourceError: A column is missing, or is there twice; all are named.
    """
    wanted = {
        field: column
        for field in _names(schema)
        if field != source.number_rows_as and (column := source.columns.get(field, field))
    }
    missing = {field: column for field, column in wanted.items() if column not in found}
    if missing:
        raise _missing(schema, name, missing, [c for c in found if c not in wanted.values()])
    listed = list(found)
    twice = [column for column in wanted.values() if listed.count(column) > 1]
    if twice:
        raise SourceError(f"{name} has two columns named {twice[0]!r}", hint="rename one of them")
    return list(wanted.values())


def _missing(schema: RecordSchema, name: str, missing: dict[str, str], free: list[str]) -> SourceError:
    faults, mapping = [], []
    for field, column in missing.items():
        near = _near(column, free) or _near(field, free)
        faults.append(f"  - {column!r} for the field {field}" + (f"; did you mean {near!r}?" if near else ""))
        mapping.append(f"{field}: {near or 'COLUMN'}")
    hint = f"say in params.yaml, in this source, where it is: columns: {{{', '.join(mapping)}}}"
    hint += " (or, when scoring, --column FIELD=COLUMN)"
    optional = next((field for field in missing if schema[field].optional), None)
    if optional:
        hint += f'; or, for an optional field that it does not have, {optional}: ""'
    many = "s" if len(missing) > 1 else ""
    return SourceError(f"{name} lacks {len(missing)} column{many}:\n" + "\n".join(faults), hint=hint)


def _near(name: str, known: Sequence[str]) -> str | None:
    """The nearest known column, whatever its case."""
    lower = {column.lower(): column for column in known}
    matches = get_close_matches(name.lower(), lower, n=1)
    return lower[matches[0]] if matches else None


def _check_types(
    schema: RecordSchema, source: SourceParams, name: str, found: dict[str, pl.DataType]
) -> None:
    faults = []
    for field in schema.fields:
        column = "" if field.name == source.number_rows_as else source.columns.get(field.name, field.name)
        if column and not accepts(field, found[column], source.formats.get(field.name)):
            faults.append(f"  - {column!r} is {found[column]}; {field.name} needs {expectation(field)}")
    if faults:
        raise SourceError(
            f"{name} is of another schema:\n" + "\n".join(faults),
            hint="write the file with these types, or name other columns in params.yaml",
        )


def _refuse_equal_numbers(schema: RecordSchema, parts: Sequence[Part]) -> None:
    """Two files that number their rows alike would overwrite each other's records."""
    seen: dict[str, str] = {}
    for part in parts:
        field = part.source.number_rows_as
        if field is None or not schema[field].record_id:
            continue
        key = part.stem if schema[field].kind == "text" else ""
        if key in seen:
            raise ConfigError(
                f"number_rows_as would give the rows of {seen[key]} and {part.name} the same {field}s",
                hint="rename one file, or put ids into the files"
                if key
                else "make the id text, or put ids in",
            )
        seen[key] = part.name
