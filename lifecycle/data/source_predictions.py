"""The system's own predictions, joined with what became true: rows of the record, as of a moment."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl

from lifecycle.core.params import SourceParams
from lifecycle.core.record import RecordSchema
from lifecycle.data.batch import ROW, Chunk
from lifecycle.data.log_files import LogFiles
from lifecycle.data.log_parts import CompactedLog
from lifecycle.data.outcome_join import Matched, join, known
from lifecycle.data.parsing import DTYPES
from lifecycle.data.predictions import FEATURE, SUBJECT

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Logged:
    """A prediction log, read as of a moment.

    Attributes:
        folder: The system's folder of the log; need not be there yet.
        as_of: Only predictions answered and outcomes observed before it exist; timezone-aware.
        files: How its parts lie on disk.
    """

    folder: Path
    as_of: datetime
    files: LogFiles


def faults(schema: RecordSchema, _source: SourceParams) -> Iterator[str]:
    """The fields that every record needs and no request carries."""
    keys = {key.name for key in schema.keys}
    for spec in schema.fields:
        carried = spec.feature or spec.name in keys or spec.event_time or spec.label
        if not (carried or spec.optional):
            yield f"kind: {spec.name} is not optional, and as it is no feature, requests do not carry it"


def chunks(schema: RecordSchema, logged: Logged) -> Iterator[Chunk]:
    """The predictions whose outcome is known, part by part; rows are numbered from 1.

    Features are as logged. The record id is the one that was sent, else the prediction's id. The event time
    is the feature where it is one, else when the prediction was answered. The label is the outcome.
    Predictions of a release whose record lacked a feature that every row needs now are left out, and told
    in the log.

    Raises:
        IntegrityError: A part of the log is missing or was changed.
        BusyError: A compaction or an import is at work on the log.
    """
    if not logged.folder.is_dir():
        return
    files = logged.files
    log = CompactedLog(logged.folder, logged.folder.name, files)
    number, left_out = 1, 0
    with log.held():  # no retention deletes what is being read
        outcomes = known(files, log.paths("outcomes"), logged.as_of)
        for matched in join(files, log.paths("predictions"), outcomes, logged.as_of):
            frame = _rows(schema, files, matched)
            if frame is None:
                left_out += matched.rows.height
                continue
            yield Chunk(frame.insert_column(0, pl.Series(ROW, np.arange(number, number + frame.height))))
            number += frame.height
    if left_out:
        logger.warning(
            "%d logged predictions with a known outcome are left out: the record of their release lacked a "
            "feature that every row needs now",
            left_out,
        )


def _rows(schema: RecordSchema, files: LogFiles, matched: Matched) -> pl.DataFrame | None:
    """Rows of one part as the record has them; None where the part lacks a feature."""
    columns = set(files.columns(matched.path))
    if any(FEATURE + spec.name not in columns and not spec.optional for spec in schema.features):
        return None
    wanted = [FEATURE + spec.name for spec in schema.features if FEATURE + spec.name in columns]
    keys = ["prediction_id", "record_id", "at", *([SUBJECT] if schema.about else [])]
    logged = files.read(matched.path, [*keys, *wanted]).collect()
    rows = logged.join(
        matched.rows.select("prediction_id", "value"), on="prediction_id", maintain_order="right"
    )
    return rows.select(*(_field(schema, spec.name, rows.columns) for spec in schema.fields))


def _field(schema: RecordSchema, name: str, columns: list[str]) -> pl.Expr:
    spec = schema[name]
    if spec.label:
        value = pl.col("value")
        return (value != 0 if spec.kind == "boolean" else value.cast(DTYPES[spec.kind])).alias(name)
    if FEATURE + name in columns:
        return pl.col(FEATURE + name).alias(name)
    if schema.about and name == schema.about.name:
        return pl.col(SUBJECT).cast(DTYPES[spec.kind]).alias(name)
    if spec.record_id:
        return pl.coalesce("record_id", "prediction_id").alias(name)
    if spec.event_time:
        return pl.col("at").cast(DTYPES[spec.kind]).alias(name)
    return pl.lit(None, DTYPES[spec.kind]).alias(name)
