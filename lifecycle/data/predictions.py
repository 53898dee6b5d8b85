"""Logged predictions and outcomes as tables: one row per prediction, its features in typed columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from lifecycle.core.record import FieldSpec, RecordSchema
from lifecycle.core.rows import to_moments
from lifecycle.data.parsing import DTYPES

FEATURE = "feature."
"""What the column of a feature begins with; no other column has a dot in it, and no field can."""

SUBJECT = "subject"
"""The column of whom a row is about, where records are sealed."""

MOMENT = pl.Datetime("us", "UTC")
OUTCOMES: dict[str, pl.DataType] = {
    "prediction_id": pl.String(),
    "record_id": pl.String(),
    "value": pl.Float64(),
    "observed_at": MOMENT,
    "received_at": MOMENT,
}
"""Columns of outcomes; exactly one of both ids is there."""

SERVED = ("champion", "canary")
"""Shares of the traffic whose answers were given; a shadow's were not."""

Table = pl.DataFrame
"""How rows are handed on."""

_WHOLE = 2**63


@dataclass(frozen=True)
class Requests:
    """Some logged requests of one release, column by column.

    Attributes:
        release: Digest of the release that answered.
        ids: The requests' prediction ids.
        at: When each was answered, microseconds since 1970 UTC.
        versions: The release's registered version, as each names it.
        shares: Share of the traffic.
        latencies: Microseconds.
        request_ids: As sent, or empty.
        trace_ids: As sent, or empty.
        rows: Predictions each holds.
        several: Whether rows are numbered, ``<id>-<i>``; a bare record's has the request's own id.
        answers: All predictions in order, float64 little-endian.
        record_ids: One per prediction; None where none was sent.
        features: Feature -> one value per prediction.
        subjects: Whom each prediction is about; None where records are not sealed.
    """

    release: str
    ids: Sequence[str]
    at: Sequence[int]
    versions: Sequence[str]
    shares: Sequence[str]
    latencies: Sequence[int]
    request_ids: Sequence[str]
    trace_ids: Sequence[str]
    rows: Sequence[int]
    several: bool
    answers: bytes
    record_ids: Sequence[str | None]
    features: dict[str, list[Any]]
    subjects: Sequence[str] | None = None


def prediction_table(schema: RecordSchema, requests: Requests) -> pl.DataFrame:
    """One row per prediction, in order.

    Args:
        schema: Of the release; says the types of the features.
        requests: What was logged.
    """
    frame = pl.DataFrame(
        {
            "prediction_id": pl.Series(requests.ids, dtype=pl.String),
            "request_id": pl.Series(requests.request_ids, dtype=pl.String),
            "trace_id": pl.Series(requests.trace_ids, dtype=pl.String),
            "at": pl.Series(requests.at, dtype=pl.Int64).cast(MOMENT),
            "release": pl.Series([requests.release], dtype=pl.String).new_from_index(0, len(requests.ids)),
            "version": pl.Series(requests.versions, dtype=pl.String),
            "share": pl.Series(requests.shares, dtype=pl.String),
            "latency_us": pl.Series(requests.latencies, dtype=pl.Int64),
        }
    )
    if requests.several:
        rows = np.asarray(requests.rows, dtype=np.int64)
        starts = np.repeat(np.cumsum(rows) - rows, rows)
        number = pl.Series(np.arange(int(rows.sum())) - starts)
        frame = frame[np.repeat(np.arange(len(rows)), rows)]
        frame = frame.with_columns(pl.format("{}-{}", "prediction_id", number).alias("prediction_id"))
    return frame.with_columns(
        pl.Series("record_id", requests.record_ids, dtype=pl.String),
        pl.Series("prediction", np.frombuffer(requests.answers, dtype="<f8")),
        *(_column(spec, requests.features[spec.name]) for spec in schema.features),
        *([] if requests.subjects is None else [pl.Series(SUBJECT, requests.subjects, dtype=pl.String)]),
    )


Outcome = tuple[str | None, str | None, float, int, int, str | None]
"""Ids, value, both times in microseconds since 1970 UTC, and whom it is about."""


def outcome_table(rows: Sequence[Outcome]) -> pl.DataFrame:
    """Outcomes as logged; with a column ``SUBJECT`` where they name somebody."""
    raw = dict.fromkeys(("observed_at", "received_at"), pl.Int64())
    frame = pl.DataFrame(rows, schema={**OUTCOMES, **raw, SUBJECT: pl.String()}, orient="row")
    frame = frame.with_columns(pl.col(name).cast(MOMENT) for name in raw)
    return frame.drop(SUBJECT) if frame[SUBJECT].null_count() == frame.height else frame


def _column(spec: FieldSpec, values: list[Any]) -> pl.Series:
    name, dtype = FEATURE + spec.name, DTYPES[spec.kind]
    if spec.kind == "datetime":
        return pl.Series(name, to_moments(values)).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    try:
        return pl.Series(name, values, dtype=dtype)
    except (OverflowError, TypeError):  # an integer beyond 64 bits: the model took it as a float
        fitting = [value if value is None or -_WHOLE <= value < _WHOLE else None for value in values]
        return pl.Series(name, fitting, dtype=dtype)
