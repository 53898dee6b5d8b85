"""What can be wrong with a field: the record's constraints as expressions that never show a value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from lifecycle.core.record import FieldSpec

_SHOWN_CHOICES = 10
_KIND_REASONS = {
    "number": "must be a number",
    "integer": "must be a whole number",
    "boolean": "must be true or false",
    "text": "must be text",
    "date": "must be a date, as 2026-01-31",
    "datetime": "must be a time, as 2026-01-31T06:00:00+00:00",
}


@dataclass(frozen=True)
class Check:
    """One way for a field to be wrong.

    Attributes:
        wrong: True where the value is (null counts as false).
        value: The class of such a value, for the quarantine file: ``below 100``.
        reason: The rule it breaks: ``must be at least 100``.
    """

    wrong: pl.Expr
    value: str
    reason: str


def checks(
    spec: FieldSpec, raw: pl.Expr, dtype: pl.DataType, parsed: pl.Expr, form: str | None
) -> list[Check]:
    """Every check of a field, the more basic first.

    Args:
        spec: The field.
        raw: The source's column, tidied if it is text.
        dtype: Its type.
        parsed: The column in the declared type.
        form: strptime format of a date, if one is declared.
    """
    found = []
    # A label that is null has not arrived yet, which is no fault; an id or event time must be there.
    if spec.record_id or spec.event_time or not (spec.optional or spec.label):
        found.append(Check(raw.is_null(), "null", "must not be empty"))
    if dtype != pl.Null:
        found += _type_checks(spec, raw.is_not_null() & parsed.is_null(), raw, dtype, form)
    if spec.kind == "number":
        found.append(Check(parsed.is_nan(), "NaN", "must be a finite number"))
        found.append(Check(parsed.is_infinite(), "infinity", "must be a finite number"))
    if spec.kind in ("number", "integer"):
        found += _bound_checks(spec, parsed)
    if spec.kind == "text":
        found += _text_checks(spec, parsed)
    return found


def _type_checks(
    spec: FieldSpec, unfit: pl.Expr, raw: pl.Expr, dtype: pl.DataType, form: str | None
) -> Iterator[Check]:
    reason = f"must be a {spec.kind} as {form}" if form else _KIND_REASONS[spec.kind]
    if spec.kind == "integer":
        number = raw.cast(pl.Float64, strict=False)
        yield Check(unfit & (number != number.floor()), "a fraction", reason)
        yield Check(unfit & number.is_not_nan(), "too large", "must fit into 64 bits")
    classes = {pl.String: "text", pl.Datetime: "a time of day", pl.Boolean: "true or false"}
    value = next((name for type_, name in classes.items() if dtype == type_), "a number")
    yield Check(unfit, value, reason)


def _bound_checks(spec: FieldSpec, value: pl.Expr) -> Iterator[Check]:
    if spec.ge is not None:
        yield Check(value < spec.ge, f"below {_plain(spec.ge)}", f"must be at least {_plain(spec.ge)}")
    if spec.gt is not None:
        yield Check(value <= spec.gt, f"{_plain(spec.gt)} or below", f"must be above {_plain(spec.gt)}")
    if spec.le is not None:
        yield Check(value > spec.le, f"above {_plain(spec.le)}", f"must be at most {_plain(spec.le)}")
    if spec.lt is not None:
        yield Check(value >= spec.lt, f"{_plain(spec.lt)} or above", f"must be below {_plain(spec.lt)}")


def _text_checks(spec: FieldSpec, value: pl.Expr) -> Iterator[Check]:
    if spec.record_id:
        yield Check(value == "", "empty text", "must not be empty")
    if spec.choices:
        listed = ", ".join(spec.choices[:_SHOWN_CHOICES])
        more = ", ..." if len(spec.choices) > _SHOWN_CHOICES else ""
        yield Check(
            ~value.is_in(spec.choices),
            f"not one of {len(spec.choices)} choices",
            f"must be one of {listed}{more}",
        )
        return
    length = value.str.len_chars()
    if spec.min_length is not None:
        least = f"{spec.min_length} characters"
        yield Check(length < spec.min_length, f"shorter than {least}", f"must have at least {least}")
    if spec.max_length is not None:
        most = f"{spec.max_length} characters"
        yield Check(length > spec.max_length, f"longer than {most}", f"must have at most {most}")
    if spec.pattern is not None:
        yield Check(~value.str.contains(spec.pattern), "text of another form", f"must match {spec.pattern}")


def _plain(bound: float) -> str:
    return str(int(bound)) if bound == int(bound) else str(bound)
