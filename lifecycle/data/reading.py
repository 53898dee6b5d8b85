"""From a split's manifest to the rows of one part: only the columns and months that are needed are read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lifecycle.core.errors import IntegrityError
from lifecycle.core.ports import Vault
from lifecycle.core.record import RECORD_REF, FieldSpec, RecordSchema
from lifecycle.core.rows import Rows, encode
from lifecycle.core.synthetic import synthetic_records
from lifecycle.data.parsing import DTYPES
from lifecycle.data.snapshot_files import ClearFiles, SnapshotFiles, snapshot_files
from lifecycle.data.tables import moment

Part = Literal["train", "validation", "test"]


def read_rows(
    schema: RecordSchema, data: Path, manifest: Path, part: Part, vault: Vault | None = None
) -> Rows:
    """The rows of one part, encoded for the model, in order of event time, then id.

    Args:
        schema: The record's schema.
        data: The snapshot: a folder of monthly partitions.
        manifest: The split's manifest.
        part: Which part.
        vault: Opens a snapshot that is sealed; rows of subjects erased since are left out.

    Raises:
        IntegrityError: The manifest names records that the snapshot does not hold.
    """
    label = schema.label.name
    wanted = [*dict.fromkeys(field.name for field in schema.features), label]
    frame = _join(data, _entries(manifest, part), schema, wanted, snapshot_files(schema, vault))
    columns = {field.name: as_column(field, frame[field.name]) for field in schema.features}
    return Rows(
        ids=np.asarray(frame["#record_id"].to_list(), dtype=np.str_),
        event_time=frame["#time"].to_numpy().astype("datetime64[us]"),
        tensors=encode(schema, columns, frame.height),
        label=frame[label].cast(pl.Float64).to_numpy(),
        weight=frame["#weight"].to_numpy(),
    )


def read_records(
    schema: RecordSchema, data: Path, manifest: Path, part: Part, limit: int
) -> list[dict[str, object]]:
    """The first records of a part as request bodies: features and record id, ready for JSON.

    Of a sealed record, they are synthetic: no request is worth opening anybody's.

    Args:
        schema: The record's schema.
        data: The snapshot: a folder of monthly partitions.
        manifest: The split's manifest.
        part: Which part.
        limit: How many records at most.

    Raises:
        IntegrityError: The manifest names records that the snapshot does not hold.
    """
    if schema.is_sealed:
        known = [schema.record_id.name, *(field.name for field in schema.features)]
        return [{name: _json(record[name]) for name in known} for record in synthetic_records(schema, limit)]
    names = list(dict.fromkeys([schema.record_id.name, *(field.name for field in schema.features)]))
    frame = _join(data, _entries(manifest, part).head(limit), schema, names, ClearFiles(schema))
    return [{name: _json(value) for name, value in row.items()} for row in frame.select(names).to_dicts()]


def _entries(manifest: Path, part: Part) -> pl.DataFrame:
    """A part's ``#record_id``, ``#weight`` and ``#month``: a record may have fields that are called so."""
    entries = pl.scan_parquet(manifest).filter(pl.col("part") == part).drop("part").collect()
    return entries.rename(lambda name: f"#{name}")


def _join(
    data: Path, entries: pl.DataFrame, schema: RecordSchema, names: Sequence[str], files: SnapshotFiles
) -> pl.DataFrame:
    """The named columns of the manifest's records, ``#record_id``, ``#weight``, ``#time``, in its order."""
    paths = []
    for month in entries["#month"].unique().sort():
        path = data / f"{month}.parquet"
        if not path.is_file():
            raise _differs(f"{data} has no {path.name}, which the split names")
        paths.append(path)
    wanted = list(dict.fromkeys([files.key, schema.event_time.name, *names]))
    if paths:
        found, erased = files.read(paths, wanted)
    else:
        types = {field.name: DTYPES[field.kind] for field in schema.fields} | {RECORD_REF: pl.String()}
        found, erased = pl.LazyFrame(schema={name: types[name] for name in wanted}), 0
    key = pl.col(files.key).cast(pl.String).alias("#record_id")
    rows = found.select(key, moment(schema).alias("#time"), *names)
    frame = entries.lazy().join(rows, on="#record_id", how="inner", maintain_order="left").collect()
    if not entries.height - erased <= frame.height <= entries.height:
        raise _differs(f"{data} holds {frame.height} of the {entries.height} records that the split names")
    return frame


def _differs(message: str) -> IntegrityError:
    return IntegrityError(message, hint="the snapshot is not the one that was split: dvc checkout, dvc repro")


def as_column(field: FieldSpec, values: pl.Series) -> Sequence[Any] | NDArray[Any]:
    """A column as ``encode`` takes it: arrays for numbers (missing is NaN or NaT), objects for text."""
    if field.kind == "text":
        return values.to_list()
    if field.kind == "date":
        return values.to_numpy().astype("datetime64[us]")
    if field.kind == "datetime":
        return values.dt.replace_time_zone(None).to_numpy()
    return values.cast(pl.Float64).to_numpy()


def _json(value: object) -> object:
    return value.isoformat() if isinstance(value, date) else value
