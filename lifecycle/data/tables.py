"""Validation of whole tables from the record's schema: expressions over columns, no loop over rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from lifecycle.core.record import RecordSchema
from lifecycle.data.batch import ORIGIN, ROW, Batch
from lifecycle.data.checks import Check, checks
from lifecycle.data.parsing import accepts, parse, quick, tidy

FAULTS = pl.Schema(
    {"source": pl.String, "row": pl.Int64, "field": pl.String, "value": pl.String, "reason": pl.String}
)
"""One line per fault: where it is and of which class the value is, never the value."""

_RAW = "#raw "


@dataclass(frozen=True)
class Sifted:
    """A batch after validation.

    Attributes:
        kept: Rows that are whole and whose label is known; the record's fields and ``origin``.
        faults: What is wrong with the others, as ``FAULTS``; several lines may tell of one row.
        read: Rows in the batch.
        quarantined: Rows with a fault.
        future: Rows whose event lies at or after ``as_of``.
        immature: Rows whose label is not known by ``as_of``, or has not arrived.
    """

    kept: pl.DataFrame
    faults: pl.DataFrame
    read: int
    quarantined: int
    future: int
    immature: int


def moment(schema: RecordSchema) -> pl.Expr:
    """The event time as a naive UTC datetime; a date is its first instant."""
    name = schema.event_time.name
    column = pl.col(name) if schema.event_time.kind == "date" else pl.col(name).dt.replace_time_zone(None)
    return column.cast(pl.Datetime("us"))


def sift(schema: RecordSchema, batch: Batch, as_of: datetime) -> Sifted:
    """Parse and check a batch, and set apart what does not exist by ``as_of``.

    Only what was known at ``as_of`` counts: a row whose event lies ahead is ``future`` whatever else is
    wrong with it, and a label is not looked at before it is due.

    Args:
        schema: The record's schema.
        batch: Rows as the source holds them.
        as_of: The moment to stand at, timezone-aware.
    """
    frame, rules = _prepare(schema, batch)
    now = pl.lit(as_of.astimezone(UTC).replace(tzinfo=None), pl.Datetime("us"))
    due = (moment(schema) + schema.label.delay <= now).fill_null(True)
    label = schema.label.name
    rules[label] = [Check(rule.wrong & due, rule.value, rule.reason) for rule in rules[label]]
    wrong = pl.any_horizontal(rule.wrong for rules_ in rules.values() for rule in rules_)
    frame = frame.with_columns(
        (moment(schema) >= now).fill_null(False).alias("#future"),
        wrong.fill_null(False).alias("#wrong"),
        (~due | pl.col(label).is_null()).alias("#immature"),
    )
    exists = frame.filter(~pl.col("#future"))
    bad = exists.filter("#wrong")
    whole = exists.filter(~pl.col("#wrong"))
    fields = [field.name for field in schema.fields]
    kept = whole.filter(~pl.col("#immature")).select(*fields, pl.lit(batch.origin).alias(ORIGIN))
    return Sifted(
        kept=kept,
        faults=pl.concat([_broken(batch), _faults(batch.source, bad, rules)]),
        read=frame.height + len(batch.broken),
        quarantined=bad.height + len(batch.broken),
        future=frame.height - exists.height,
        immature=whole.height - kept.height,
    )


@dataclass(frozen=True)
class Screened:
    """A batch after validation of every field, whatever the time.

    Attributes:
        whole: Rows without a fault: ``#row`` and the record's fields.
        faults: What is wrong with the others, as ``FAULTS``.
        read: Rows in the batch.
    """

    whole: pl.DataFrame
    faults: pl.DataFrame
    read: int


def screen(schema: RecordSchema, batch: Batch) -> Screened:
    """Parse and check a batch of records that are asked about, not learnt from: no label, no ``as_of``.

    Args:
        schema: What is asked for: features, and the record's id.
        batch: Rows as the source holds them.
    """
    frame, rules = _prepare(schema, batch)
    wrong = pl.any_horizontal(rule.wrong for rules_ in rules.values() for rule in rules_)
    frame = frame.with_columns(wrong.fill_null(False).alias("#wrong"))
    whole = frame.filter(~pl.col("#wrong")).select(ROW, *(field.name for field in schema.fields))
    faults = _faults(batch.source, frame.filter("#wrong"), rules)
    return Screened(whole, pl.concat([_broken(batch), faults]), frame.height + len(batch.broken))


def _prepare(schema: RecordSchema, batch: Batch) -> tuple[pl.DataFrame, dict[str, list[Check]]]:
    """The batch with parsed columns beside the raw ones, and every field's checks."""
    raw, done = _parse_quickly(schema, batch)
    parsed: list[pl.Expr | pl.Series] = []
    rules = {}
    for field in schema.fields:
        name, form, dtype = field.name, batch.formats.get(field.name), raw.schema[field.name]
        column = pl.col(_RAW + name)
        parsed.append(done[name] if name in done else parse(field, column, dtype, form).alias(name))
        rules[name] = checks(field, column, dtype, pl.col(name), form)
    renamed = raw.rename({field.name: _RAW + field.name for field in schema.fields})
    return renamed.with_columns(parsed), rules


def _parse_quickly(schema: RecordSchema, batch: Batch) -> tuple[pl.DataFrame, dict[str, pl.Series]]:
    """Parse the text columns that hold nothing but the commonest spelling; tidy the other ones."""
    frame = batch.frame.with_columns(
        pl.col(field.name).cast(pl.String, strict=False)
        for field in schema.fields
        if not accepts(field, batch.frame.schema[field.name], batch.formats.get(field.name))
        or batch.frame.schema[field.name] in (pl.Categorical, pl.Enum)
    )
    texts = [f for f in schema.fields if f.kind != "text" and frame.schema[f.name] == pl.String]
    quickly = [quick(field, pl.col(field.name), batch.formats.get(field.name)) for field in texts]
    found = frame.select(expression for expression in quickly if expression is not None)
    whole = {s.name: s for s in found if s.null_count() == frame[s.name].null_count()}
    rest = [tidy(pl.col(field.name)) for field in texts if field.name not in whole]
    return frame.with_columns(rest), whole


def _faults(source: str, bad: pl.DataFrame, rules: dict[str, list[Check]]) -> pl.DataFrame:
    """One line per field that is wrong, with the first check it fails."""
    found = [FAULTS.to_frame()]
    for name, checks_ in rules.items():
        if not (checks_ and bad.height):
            continue
        number = pl.coalesce(pl.when(rule.wrong).then(i) for i, rule in enumerate(checks_))
        rows = bad.select(ROW, number=number).drop_nulls("number")
        which = rows["number"]
        found.append(
            rows.select(
                source=pl.lit(source),
                row=ROW,
                field=pl.lit(name),
                value=pl.Series([rule.value for rule in checks_]).gather(which),
                reason=pl.Series([rule.reason for rule in checks_]).gather(which),
            )
        )
    return pl.concat(found).sort("row", maintain_order=True)


def _broken(batch: Batch) -> pl.DataFrame:
    rows = [(batch.source, row.row, "(line)", row.value, row.reason) for row in batch.broken]
    return pl.DataFrame(rows, schema=FAULTS, orient="row")
