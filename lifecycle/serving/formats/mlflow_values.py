"""Values as MLflow's clients send them, made those of the record.

What MLflow and pandas make of a value before the registered version sees it is followed where that keeps its
meaning: NaN is missing, a number in a column of times is nanoseconds since 1970, a date is cut out of a time.
Where they would change it in silence it is left as it is, for the record's check to refuse or to read: a
fraction in a column of integers (they cut it off), null in a column of booleans (they make it false), text
there (they make ``"false"`` true).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError

from lifecycle.core.record import FieldSpec, RecordSchema
from lifecycle.serving.formats.mlflow_bodies import Content
from lifecycle.serving.problems import MAX_FAULTS, Fault, unprocessable

_EPOCH = datetime(1970, 1, 1)  # MLflow's times are naive
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}")
_COMPACT = re.compile(r"\d{8}")
_TIME = TypeAdapter(datetime)


def cast(schema: RecordSchema, content: Content) -> dict[str, list[Any]]:
    """The features in a body; every other column is left out.

    Raises:
        ProblemError: 422; a time is not one.
    """
    columns: dict[str, list[Any]] = {}
    faults: list[Fault] = []
    for spec in schema.features:
        if spec.name in content.columns:
            known = [None if value != value else value for value in content.columns[spec.name]]  # noqa: PLR0124
            columns[spec.name] = _column(spec, known, content.as_tensors, faults)
    if faults:
        raise unprocessable(faults[:MAX_FAULTS], len(faults))
    return columns


def _column(spec: FieldSpec, values: list[Any], as_tensors: bool, faults: list[Fault]) -> list[Any]:
    if spec.kind in ("date", "datetime"):
        return _times(spec, values, faults)
    if spec.kind == "text" and as_tensors:
        return [str(value) if isinstance(value, int | float) else value for value in values]
    return values


def _times(spec: FieldSpec, values: list[Any], faults: list[Fault]) -> list[Any]:
    read: dict[Any, Any] = {None: None}
    finish: Callable[[datetime], Any] = datetime.date if spec.kind == "date" else _as_it_is
    times: list[Any] = []
    for row, value in enumerate(values):
        key = value if isinstance(value, str) else None if value is None else (value,)
        try:
            if key not in read:
                read[key] = finish(_time(value))
            times.append(read[key])
        except (ValueError, TypeError, OverflowError):
            times.append(None)
            faults.append(
                Fault(field=spec.name, instance=row, reason="should be a date or a time as ISO 8601 text")
            )
    return times


def _time(value: Any) -> datetime:
    if isinstance(value, str):
        if _COMPACT.fullmatch(value):
            return datetime.fromisoformat(value)
        if not _ISO.match(value):  # 01/02/2024 may be two days; a count may be of seconds or anything
            raise ValueError
        try:
            return _TIME.validate_python(value)
        except ValidationError:
            raise ValueError from None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise TypeError
    return _EPOCH + timedelta(microseconds=int(value) // 1000)


def _as_it_is(value: datetime) -> datetime:
    return value
