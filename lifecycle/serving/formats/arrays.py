"""One column of a request as numpy sees it: checked without a loop, and ready to be packed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.record import FieldSpec

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_EPOCH = datetime(1970, 1, 1)  # a naive moment is UTC in every record
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NAT = np.iinfo(np.int64).min
_EXACT = 2**53
"""Integers up to this size are exact as float64."""


def masked(values: NDArray[Any], missing: NDArray[np.bool_]) -> NDArray[Any]:
    """Values of which some are missing; what stands in their place does not matter."""
    if not missing.any():
        return values
    return np.ma.array(np.where(missing, np.zeros((), values.dtype), values), mask=missing)


def check_array(spec: FieldSpec, array: NDArray[Any]) -> NDArray[Any] | None:
    """A numpy column as its field has it; None where the request model itself must look at the values.

    Args:
        spec: The field.
        array: Its values ``[rows]`` of any dtype, masked where missing.

    Returns:
        float64, an integer type, bool, ``datetime64[D]`` or ``datetime64[us]``, masked where missing.
    """
    if array.dtype.kind == "M":
        array = masked(np.ma.getdata(array), np.ma.getmaskarray(array) | np.isnat(np.ma.getdata(array)))
    if np.ma.getmaskarray(array).any() and not spec.optional:
        return None
    match spec.kind, array.dtype.kind:
        case "number", "f" | "i" | "u":
            return _finite(spec, array)
        case "integer", "f" | "i" | "u":
            return _whole(spec, array)
        case "boolean", "b":
            return array
        case "date" | "datetime", "M":
            return _calendar(spec, array)
    return None


def as_list(column: Sequence[Any] | NDArray[Any]) -> list[Any]:
    """The values as Python's own, None where missing; a moment no ``datetime`` can hold stays text."""
    if not isinstance(column, np.ndarray):
        return list(column)
    if column.dtype.kind != "M":
        listed: list[Any] = column.tolist()
        return listed
    moments = np.ma.filled(column, np.datetime64("NaT"))
    beyond = ~_representable(moments) & ~np.isnat(moments)
    unit = "D" if np.datetime_data(column.dtype)[0] == "D" else "us"
    values: list[Any] = np.where(beyond, np.datetime64("NaT"), moments).astype(f"datetime64[{unit}]").tolist()
    for row in np.flatnonzero(beyond):
        values[row] = str(moments[row])
    return values


def packable(spec: FieldSpec, column: Sequence[Any] | NDArray[Any]) -> Sequence[Any] | NDArray[Any]:
    """A checked column as ``lifecycle.core.rows.encode`` packs it fastest.

    Returns:
        Moments (NaT where missing), float64 (NaN where missing, infinite where no float64 can hold the
        value), or text as it is.
    """
    if spec.kind == "text":
        return column
    if isinstance(column, np.ndarray):
        if column.dtype.kind == "M":
            return np.asarray(np.ma.filled(column, np.datetime64("NaT")))
        return np.asarray(np.ma.filled(column.astype(np.float64), np.nan))
    if spec.kind == "date":
        return _days(column)
    if spec.kind == "datetime":
        return _moments(column)
    try:
        return np.asarray(column, dtype=np.float64)
    except OverflowError:
        return np.asarray([_as_float(value) for value in column], dtype=np.float64)


def _finite(spec: FieldSpec, array: NDArray[Any]) -> NDArray[Any] | None:
    numbers = array.astype(np.float64)
    known = np.ma.compressed(numbers)
    return numbers if np.isfinite(known).all() and _within(spec, known) else None


def _whole(spec: FieldSpec, array: NDArray[Any]) -> NDArray[Any] | None:
    known = np.ma.compressed(array).astype(np.float64)
    # Not a number and infinite are no less than the bound, either.
    if not (np.abs(known) <= _EXACT).all() or (known != np.floor(known)).any() or not _within(spec, known):
        return None
    return array if array.dtype.kind in "iu" else array.astype(np.int64)


def _within(spec: FieldSpec, known: NDArray[np.float64]) -> bool:
    if not known.size:
        return True
    low, high = known.min(), known.max()
    return bool(
        (spec.ge is None or low >= spec.ge)
        and (spec.gt is None or low > spec.gt)
        and (spec.le is None or high <= spec.le)
        and (spec.lt is None or high < spec.lt)
    )


def _calendar(spec: FieldSpec, array: NDArray[Any]) -> NDArray[Any] | None:
    if not _representable(np.ma.compressed(array)).all():
        return None
    if spec.kind == "datetime":
        return array.astype("datetime64[us]")
    days = array.astype("datetime64[D]")
    exact = np.ma.compressed(days).astype(array.dtype) == np.ma.compressed(array)
    return days if exact.all() else None


def _representable(moments: NDArray[Any]) -> NDArray[np.bool_]:
    """Which moments lie in the years 1 to 9999, as Python's dates and times do."""
    if np.datetime_data(moments.dtype)[0] == "ns":  # these reach from 1678 to 2262
        return np.ones(moments.shape, dtype=np.bool_)
    first = np.datetime64("0001-01-01").astype(moments.dtype)
    end = np.datetime64("10000-01-01").astype(moments.dtype)
    return np.asarray((moments >= first) & (moments < end))


def _days(column: Sequence[Any]) -> NDArray[np.datetime64]:
    """Dates as ``datetime64[D]``."""
    known = [date.min if value is None else value for value in column]
    days = np.fromiter(map(date.toordinal, known), dtype=np.int64, count=len(known)) - _EPOCH_DAY
    if None in column:
        days[[value is None for value in column]] = _NAT
    return days.view("datetime64[D]")


def _moments(column: Sequence[Any]) -> NDArray[np.datetime64]:
    """Datetimes as ``datetime64[us]`` in UTC."""
    passed = [
        _NAT if value is None else (value - (_EPOCH_UTC if value.tzinfo else _EPOCH)) // _MICROSECOND
        for value in column
    ]
    return np.asarray(passed, dtype=np.int64).view("datetime64[us]")


def _as_float(value: Any) -> float:
    try:
        return np.nan if value is None else float(value)
    except OverflowError:
        return np.inf if value > 0 else -np.inf
