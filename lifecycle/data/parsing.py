"""From what a source holds to what the record declares: one expression per field, null where it cannot be."""

from __future__ import annotations

from datetime import date, datetime

import polars as pl

from lifecycle.core.record import FieldSpec

DTYPES: dict[str, pl.DataType] = {
    "number": pl.Float64(),
    "integer": pl.Int64(),
    "boolean": pl.Boolean(),
    "text": pl.String(),
    "date": pl.Date(),
    "datetime": pl.Datetime("us", "UTC"),
}
"""The column type of each kind of field, in memory and in the partitions."""

_EXPECTED = {
    "number": "a number",
    "integer": "whole numbers",
    "boolean": "true and false (or 1 and 0)",
    "text": "text",
    "date": "dates",
    "datetime": "times",
}
# The spellings that the endpoint accepts as well (pydantic's).
_TRUE = ["1", "true", "t", "yes", "y", "on"]
_FALSE = ["0", "false", "f", "no", "n", "off"]
_WHOLE = 2.0**53  # above it, a float does not tell neighbouring integers apart


def expectation(spec: FieldSpec) -> str:
    """What a field's column must hold, for a message."""
    return _EXPECTED[spec.kind]


def accepts(spec: FieldSpec, dtype: pl.DataType, form: str | None) -> bool:
    """Whether a typed column can hold a field's values at all; if not, the source is of another schema.

    Example:
        >>> accepts(FieldSpec(name="day", kind="date"), pl.Int64(), form=None)
        False
        >>> accepts(FieldSpec(name="day", kind="date"), pl.Int64(), form="%y%m%d")
        True
    """
    if dtype == pl.Null:
        return True
    text = dtype in (pl.String, pl.Categorical, pl.Enum)
    match spec.kind:
        case "number" | "integer":
            return dtype.is_numeric()
        case "boolean":
            return dtype == pl.Boolean or dtype.is_integer()
        case "text":
            return text or dtype.is_integer()
        case _:
            return text or dtype in (pl.Date, pl.Datetime) or (form is not None and dtype.is_integer())


def quick(spec: FieldSpec, column: pl.Expr, form: str | None) -> pl.Expr | None:
    """Text in its commonest spelling, at a fraction of the cost of ``tidy`` and ``parse``; None: no way."""
    if spec.kind in ("number", "integer"):
        return column.cast(DTYPES[spec.kind], strict=False)
    if spec.kind == "date":
        return _within_calendar(column.str.strptime(pl.Date, form or "%Y-%m-%d", strict=False))
    return None


def tidy(column: pl.Expr) -> pl.Expr:
    """Text without blanks around it; null where nothing is left."""
    bare = column.str.strip_chars()
    return pl.when(bare != "").then(bare)


def parse(spec: FieldSpec, column: pl.Expr, dtype: pl.DataType, form: str | None = None) -> pl.Expr:
    """A field's values in the type the record declares; null where the source's value does not fit.

    Args:
        spec: The field.
        column: The source's column.
        dtype: Its type; tidy text is parsed, other types are converted where nothing is lost.
        form: strptime format of a date or datetime, where it is not ISO 8601.

    Example:
        >>> spec = FieldSpec(name="beds", kind="integer")
        >>> frame = pl.DataFrame({"beds": ["4.0", "3", "2.5", "four"]})
        >>> frame.select(parse(spec, pl.col("beds"), pl.String()))["beds"].to_list()
        [4, 3, None, None]
    """
    if dtype == pl.Null:
        return column.cast(DTYPES[spec.kind])
    match spec.kind:
        case "number":
            return column.cast(pl.Float64, strict=False)
        case "integer":
            return _integer(column, dtype)
        case "boolean":
            return _boolean(column, dtype)
        case "text":
            return column.cast(pl.String)
        case "date":
            return _within_calendar(_date(column, dtype, form))
        case _:
            return _within_calendar(_datetime(column, dtype, form))


def _integer(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    direct = column.cast(pl.Int64, strict=False)
    if dtype.is_integer():
        return direct
    number = column.cast(pl.Float64, strict=False)
    fits = (number == number.floor()) & (number.abs() < _WHOLE)
    whole = pl.when(fits).then(number).cast(pl.Int64, strict=False)
    return pl.coalesce(direct, whole) if dtype == pl.String else whole


def _boolean(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if dtype == pl.Boolean:
        return column
    word = column.cast(pl.String).str.to_lowercase()
    return pl.when(word.is_in(_TRUE)).then(True).when(word.is_in(_FALSE)).then(False)


def _as_text(column: pl.Expr, dtype: pl.DataType, form: str | None) -> pl.Expr:
    """Text to parse; a date kept as an integer, as 10423 for 010423, gets its zeros back."""
    if dtype == pl.String or form is None:
        return column
    return column.cast(pl.String).str.zfill(len(date(2000, 12, 31).strftime(form)))


def _date(column: pl.Expr, dtype: pl.DataType, form: str | None) -> pl.Expr:
    if dtype == pl.Date:
        return column
    if dtype == pl.Datetime:
        return _midnight(_datetime(column, dtype, form))
    text = _as_text(column, dtype, form)
    if form:
        return text.str.strptime(pl.Date, form, strict=False)
    day = text.str.strptime(pl.Date, "%Y-%m-%d", strict=False)
    return pl.coalesce(day, _midnight(_iso(text)))


def _midnight(moment: pl.Expr) -> pl.Expr:
    """The date of a moment at 00:00; a time of day is more than a date, so it does not fit."""
    return pl.when(moment.dt.time() == pl.time(0, 0)).then(moment.dt.date())


def _datetime(column: pl.Expr, dtype: pl.DataType, form: str | None) -> pl.Expr:
    if isinstance(dtype, pl.Datetime):
        aware = column.dt.convert_time_zone("UTC") if dtype.time_zone else column.dt.replace_time_zone("UTC")
        return aware.cast(DTYPES["datetime"])
    if dtype == pl.Date:
        return column.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    text = _as_text(column, dtype, form)
    if form is None:
        return _iso(text)
    if "%z" in form or "%:z" in form or "%#z" in form:
        return text.str.strptime(pl.Datetime("us", "UTC"), form, strict=False)
    return text.str.strptime(pl.Datetime("us"), form, strict=False).dt.replace_time_zone("UTC")


def _iso(text: pl.Expr) -> pl.Expr:
    """ISO 8601 as UTC; a space for the T, no seconds, no time and no offset (UTC is meant) will do."""
    whole = (
        text.str.replace(r"^(\d{4}-\d{2}-\d{2})[ t]", "${1}T")
        .str.replace(r"^(\d{4}-\d{2}-\d{2})$", "${1}T00:00:00")
        .str.replace(r"T(\d{2}:\d{2})(Z|z|[+-]|$)", "T${1}:00${2}")
        .str.replace(r"(T\d{2}:\d{2}:\d{2}(?:\.\d+)?)$", "${1}Z")
    )
    return whole.str.strptime(pl.Datetime("us", "UTC"), "%Y-%m-%dT%H:%M:%S%.f%#z", strict=False)


def _within_calendar(moment: pl.Expr) -> pl.Expr:
    """Null outside the years that Python's calendar has."""
    years = moment.dt.year().is_between(datetime.min.year, datetime.max.year)
    return pl.when(years).then(moment)
