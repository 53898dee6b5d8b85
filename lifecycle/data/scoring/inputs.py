"""The files that are scored: found, identified by content, and read as records without a label."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from lifecycle.core.errors import ConfigError, StateError
from lifecycle.core.params import SourceParams
from lifecycle.core.ports import Vault
from lifecycle.core.purposes import SCORING
from lifecycle.core.record import RecordSchema
from lifecycle.core.release import file_entry
from lifecycle.core.scoring import InputFile, Reading
from lifecycle.core.suggest import nearest
from lifecycle.data import source_parquet
from lifecycle.data.batch import ROW, Batch
from lifecycle.data.sources import columns_of, files, name_of, open_sources, read_batches

_KINDS = {
    "csv": (".csv", ".csv.gz", ".csv.bz2", ".csv.zst"),
    "parquet": (".parquet", ".pq"),
    "arrow": (".arrow", ".arrows", ".feather", ".ipc"),
}


@dataclass(frozen=True)
class Inputs:
    """Files whose columns fit the record, none of whose rows has been read.

    Attributes:
        schema: What is read of each row: the features, and the record's id, which may be missing.
        files: In the order they are read.
        rows: How many rows there are, as far as all files say so without being read.
        without_ids: Names of the files that have no record ids.
    """

    schema: RecordSchema
    files: tuple[InputFile, ...]
    rows: int | None
    without_ids: tuple[str, ...]
    _paths: tuple[Path, ...]
    _stamps: tuple[tuple[int, int, int], ...]
    _read: Callable[[], Generator[Batch, None, None]]

    def batches(self) -> Generator[Batch, None, None]:
        """All rows, file by file."""
        return self._read()

    def require_unchanged(self) -> None:
        """See that no file was written to since it was identified.

        Raises:
            StateError: One was; what was read of it may be neither its old nor its new content.
        """
        for file, path, stamp in zip(self.files, self._paths, self._stamps, strict=True):
            if not path.is_file() or _stamp(path) != stamp:
                raise StateError(
                    f"{file.name} was changed while it was scored; nothing was published",
                    hint="wait until it is whole, then run the same command with --restart",
                )


def open_inputs(schema: RecordSchema, patterns: Sequence[str], reading: Reading, root: Path) -> Inputs:
    """Find every file, hash it and check its columns.

    Args:
        schema: The release's record schema.
        patterns: Files and globs.
        reading: How columns are read.
        root: What patterns are relative to.

    Raises:
        ConfigError: A file is of no known kind or named twice, or a field does not exist.
        SourceError: A file is missing, empty, unreadable or not of the record's shape.
    """
    _refuse_unknown(schema, reading)
    paths = [path for pattern in patterns for path in files(pattern, root)]
    names = [name_of(path, root) for path in paths]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{twice[0]} is named twice", hint="every row is scored once: name each file once")
    asked = asked_schema(schema)
    stamps = tuple(_stamp(path) for path in paths)  # before hashing: a change during it shows, too
    sources, without_ids = [], []
    for path, name in zip(paths, names, strict=True):
        source = _source(schema, asked, path, name, reading)
        sources.append(source)
        if not source.columns.get(schema.record_id.name, "it"):
            without_ids.append(name)
    parts = open_sources(asked, sources, root)
    entries = [(name, file_entry(path)) for name, path in zip(names, paths, strict=True)]
    return Inputs(
        schema=asked,
        files=tuple(InputFile(name=name, sha256=it.sha256, size=it.size) for name, it in entries),
        rows=sum(map(source_parquet.count, paths)) if all(s.kind == "parquet" for s in sources) else None,
        without_ids=tuple(without_ids),
        _paths=tuple(paths),
        _stamps=stamps,
        _read=partial(read_batches, asked, parts),
    )


def sealed_inputs(asked: RecordSchema, vault: Vault, paths: Sequence[Path]) -> Inputs:
    """Sealed files of one folder as input; each is opened in memory when its turn comes.

    Args:
        asked: As of ``asked_schema``; the files hold its fields.
        vault: Opens them, for the purpose of scoring.
        paths: In the order they are read.
    """

    def read() -> Generator[Batch, None, None]:
        names = [field.name for field in asked.fields]
        for path, opened in zip(paths, vault.open(paths, names, SCORING), strict=True):
            frame = pl.DataFrame(pl.from_arrow(opened.table)).select(names)
            yield Batch(path.name, "user", {}, frame.with_row_index(ROW, 1).cast({ROW: pl.Int64}))

    entries = [(path.name, file_entry(path)) for path in paths]
    return Inputs(
        schema=asked,
        files=tuple(InputFile(name=name, sha256=it.sha256, size=it.size) for name, it in entries),
        rows=sum(map(vault.rows, paths)),
        without_ids=(),
        _paths=tuple(paths),
        _stamps=tuple(map(_stamp, paths)),
        _read=read,
    )


def asked_schema(schema: RecordSchema) -> RecordSchema:
    """What a prediction request holds: the features, and the record's id if it is known.

    Of a sealed record the subject too: an answer that belongs to nobody could not be erased.

    Example:
        >>> from lifecycle.core.record import FieldSpec
        >>> fields = (FieldSpec(name="id", kind="text", record_id=True),
        ...           FieldSpec(name="day", kind="date", event_time=True),
        ...           FieldSpec(name="area", kind="number", feature=True),
        ...           FieldSpec(name="price", kind="number", label=True))
        >>> asked = asked_schema(RecordSchema(name="r", fields=fields))
        >>> [(field.name, field.optional) for field in asked.fields]
        [('id', True), ('area', False)]
    """
    key = schema.record_id
    fields = schema.features
    if (subject := schema.subject_id) and schema.is_sealed and not subject.feature:
        fields = (subject.model_copy(update={"optional": False}), *fields)
    if not key.feature and key is not schema.subject_id:
        fields = (key.model_copy(update={"record_id": False, "optional": True}), *fields)
    return RecordSchema(name=schema.name, description=schema.description, fields=fields)


def _refuse_unknown(schema: RecordSchema, reading: Reading) -> None:
    names = [field.name for field in schema.fields]
    for name in (*reading.columns, *reading.formats):
        if name not in names:
            raise ConfigError(
                f"record {schema.name} has no field {name!r}{nearest(name, names)}",
                hint=f"it has: {', '.join(names)}",
            )


def _source(
    schema: RecordSchema, asked: RecordSchema, path: Path, name: str, reading: Reading
) -> SourceParams:
    """The file as a source; where it has no record ids, it says so."""
    kind = next((kind for kind, ends in _KINDS.items() if path.name.lower().endswith(ends)), None)
    if kind is None:
        known = ", ".join(end for ends in _KINDS.values() for end in ends)
        raise ConfigError(f"{name} is of no known kind", hint=f"files that are scored end in one of {known}")
    fields = {field.name for field in asked.fields}
    columns = {field: column for field, column in reading.columns.items() if field in fields}
    key = schema.record_id
    if not key.feature and key.name != reading.number_rows_as:
        column = columns.get(key.name, key.name)
        if column not in columns_of(path, name, kind):
            columns[key.name] = ""
    return SourceParams.model_validate(
        {
            "origin": "user",
            "kind": kind,
            "path": str(path),
            "columns": columns,
            "formats": {field: form for field, form in reading.formats.items() if field in fields},
            "number_rows_as": reading.number_rows_as if reading.number_rows_as in fields else None,
        }
    )


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
