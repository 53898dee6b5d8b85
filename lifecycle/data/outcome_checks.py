"""What can be wrong with an outcome of a file: expressions over columns that never show a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

from lifecycle.core.record import FieldSpec, RecordSchema
from lifecycle.data.batch import ROW, Batch
from lifecycle.data.checks import Check, checks
from lifecycle.data.parsing import accepts, parse, tidy
from lifecycle.data.predictions import MOMENT, OUTCOMES, SUBJECT
from lifecycle.data.tables import FAULTS

FIELDS = ("prediction_id", "record_id", "value", "observed_at")
"""What a file may hold; one of both ids, and the others always."""


def fields_of(schema: RecordSchema) -> tuple[str, ...]:
    """``FIELDS``, and whom an outcome is about where records are sealed."""
    return (*FIELDS, SUBJECT) if schema.about else FIELDS


MAX_ID = 512
"""Characters of the longest id."""
AHEAD = timedelta(minutes=5)
"""How far another clock may run ahead of ours."""
_OFFSET = r"(?:[Zz]|[+-]\d{2}:?\d{2})$"


@dataclass(frozen=True)
class Outcomes:
    """A block of a file after checking.

    Attributes:
        rows: Good ones, as ``OUTCOMES``; with ``SUBJECT`` where records are sealed.
        faults: What is wrong with the others, as ``tables.FAULTS``; several lines may tell of one row.
        refused: How many rows are wrong.
    """

    rows: pl.DataFrame
    faults: pl.DataFrame
    refused: int


def check(batch: Batch, schema: RecordSchema, now: datetime, *, utc: bool) -> Outcomes:
    """Parse and check outcomes.

    Args:
        batch: ``#row`` and ``fields_of`` the schema, of whatever types the file has.
        schema: Of the system's record: its label says which values there are.
        now: When they are received, timezone-aware.
        utc: Whether times without an offset are UTC; they are refused otherwise.
    """
    table, label = _parsed(batch.frame, schema, utc)
    rules = {
        "(ids)": _id_checks(),
        "prediction_id": [_too_long("#prediction_id")],
        "record_id": [*_record_checks(schema.record_id), _too_long("#record_id")],
        "value": checks(label, pl.col("value"), table.schema["value"], pl.col("#value"), None),
        "observed_at": _time_checks(now),
    }
    about = []
    if schema.about:
        rules[SUBJECT] = [*_subject_checks(schema.about), _too_long("#subject")]
        about = [pl.col("#subject").alias(SUBJECT)]
    wrong = pl.any_horizontal(rule.wrong.fill_null(False) for found in rules.values() for rule in found)
    bad = table.filter(wrong)
    rows = table.filter(~wrong).select(
        *about,
        prediction_id="#prediction_id",
        record_id="#record_id",
        value=pl.col("#value").cast(pl.Float64),
        observed_at="#observed",
        received_at=pl.lit(now).cast(MOMENT),
    )
    assert rows.select(*OUTCOMES).schema == pl.Schema(OUTCOMES)
    lost = [(batch.source, row.row, "(line)", row.value, row.reason) for row in batch.broken]
    faults = [pl.DataFrame(lost, schema=FAULTS, orient="row"), *_faults(batch.source, bad, rules)]
    return Outcomes(rows, pl.concat(faults).sort("row", maintain_order=True), bad.height + len(batch.broken))


def _parsed(frame: pl.DataFrame, schema: RecordSchema, utc: bool) -> tuple[pl.DataFrame, FieldSpec]:
    """The columns as they came, beside them parsed ones with a ``#``; and what a value must be."""
    label = schema.label.model_copy(update={"name": "value", "label": False, "optional": False})
    raw = frame.with_columns(
        tidy(pl.col(name)) for name in fields_of(schema) if frame.schema[name] == pl.String
    )
    if not accepts(label, raw.schema["value"], None) and raw.schema["value"] != pl.String:
        raw = raw.with_columns(pl.lit("?").alias("value"))  # no value of such a column can be one
    table = raw.with_columns(
        parse(label, pl.col("value"), raw.schema["value"]).alias("#value"),
        _moment(raw.schema["observed_at"], utc).alias("#observed"),
        pl.col("prediction_id").cast(pl.String).alias("#prediction_id"),
        _key(schema.record_id, "record_id", raw.schema["record_id"]).alias("#record_id"),
    )
    if schema.about:
        table = table.with_columns(_key(schema.about, SUBJECT, raw.schema[SUBJECT]).alias("#subject"))
    return table, label


def _faults(source: str, bad: pl.DataFrame, rules: Mapping[str, Sequence[Check]]) -> Iterator[pl.DataFrame]:
    """One line per field that is wrong, with the first check it fails."""
    for name, found in rules.items():
        number = pl.coalesce(pl.when(rule.wrong).then(i) for i, rule in enumerate(found))
        rows = bad.select(ROW, number=number).drop_nulls("number")
        yield rows.select(
            source=pl.lit(source),
            row=ROW,
            field=pl.lit(name),
            value=pl.Series([rule.value for rule in found], dtype=pl.String).gather(rows["number"]),
            reason=pl.Series([rule.reason for rule in found], dtype=pl.String).gather(rows["number"]),
        )


def _key(spec: FieldSpec, name: str, dtype: pl.DataType) -> pl.Expr:
    """An id as the log has it: text; a whole number without zeros before it."""
    column = pl.col(name)
    return (parse(spec, column, dtype) if spec.kind == "integer" else column).cast(pl.String)


def _id_checks() -> list[Check]:
    first, second = (pl.col(name).is_not_null() for name in FIELDS[:2])
    return [
        Check(first & second, "two ids", "must have a prediction_id or a record_id, not both"),
        Check(~(first | second), "no id", "must have a prediction_id or a record_id"),
    ]


def _record_checks(spec: FieldSpec, name: str = "record_id") -> list[Check]:
    unfit = pl.col(name).is_not_null() & pl.col(f"#{name}").is_null()
    return [
        Check(unfit, "another type", "must be a whole number" if spec.kind == "integer" else "must be text")
    ]


def _subject_checks(spec: FieldSpec) -> list[Check]:
    absent = Check(pl.col(SUBJECT).is_null(), "null", f"must be the {spec.name} of whom it is about")
    return [absent, *_record_checks(spec, SUBJECT)]


def _too_long(column: str) -> Check:
    most = f"{MAX_ID} characters"
    return Check(pl.col(column).str.len_chars() > MAX_ID, f"longer than {most}", f"must have at most {most}")


def _moment(dtype: pl.DataType, utc: bool) -> pl.Expr:
    """``observed_at`` in UTC; null where it is no time, or has no offset and needs one."""
    column = pl.col("observed_at")
    spec = FieldSpec(name="observed_at", kind="datetime")
    naive = dtype == pl.Date or (isinstance(dtype, pl.Datetime) and dtype.time_zone is None)
    if not accepts(spec, dtype, None) or (naive and not utc):
        return pl.lit(None, MOMENT)
    parsed = parse(spec, column, dtype)
    return pl.when(column.str.contains(_OFFSET)).then(parsed) if dtype == pl.String and not utc else parsed


def _time_checks(now: datetime) -> list[Check]:
    observed, latest = pl.col("#observed"), pl.lit(now.astimezone(UTC) + AHEAD).cast(MOMENT)
    wanted = "must be a time with its offset, as 2026-01-31T06:00:00+00:00 (--utc: an offset may be missing)"
    return [
        Check(pl.col("observed_at").is_null(), "null", "must not be empty"),
        Check(observed.is_null(), "no time with an offset", wanted),
        Check(observed > latest, "in the future", "must not be over 5 minutes ahead of this machine's clock"),
    ]
