"""From the tensors of an inference request to columns of the record."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.record import FieldSpec, RecordSchema
from lifecycle.core.rows import MICROSECONDS_A_DAY
from lifecycle.core.suggest import nearest
from lifecycle.serving.formats.arrays import masked
from lifecycle.serving.formats.columns import Column, too_many
from lifecycle.serving.formats.inference_message import Message, Tensor, bad
from lifecycle.serving.limits import MAX_INSTANCES

_TIMES = ("date", "datetime")


def columns_of(schema: RecordSchema, fields: Mapping[str, FieldSpec], message: Message) -> dict[str, Column]:
    """One column per feature.

    Args:
        schema: Of the release that answers.
        fields: What a record may have, by name.
        message: Holds one tensor per feature, or the packed ``numbers`` and ``categories`` in the order of
            the schema, with the values that the model itself takes (``lifecycle.core.rows.Tensors``).

    Raises:
        ProblemError: 400; a tensor is unknown or of the wrong shape or datatype. 413 for too many rows.
    """
    packed = {"numbers": schema.numbers, "categories": schema.categories}
    packed = {name: features for name, features in packed.items() if name not in fields}
    columns: dict[str, Column] = {}
    if not message.inputs.keys().isdisjoint(packed):
        columns = _unpacked(schema, packed, message.inputs)
    for name, tensor in message.inputs.items():
        if name in packed:
            continue
        if name in columns:
            raise bad(f"input {name!r} is in the packed inputs already")
        if name not in fields:
            raise bad(f"input {name[:64]!r} is not one of the model{nearest(name[:64], [*fields, *packed])}")
        if len(tensor.shape) > 2 or (len(tensor.shape) == 2 and tensor.shape[1] != 1):
            raise bad(f"input {name!r} should have the shape [n] or [n, 1]")
        columns[name] = _column(fields[name], tensor)
    return columns


def _column(spec: FieldSpec, tensor: Tensor) -> Column:
    """The tensor of one feature; NaN or empty text is missing where a value may be."""
    _check_rows(tensor)
    if isinstance(tensor.values, list):
        if spec.kind not in ("text", *_TIMES):
            raise bad(f"input {spec.name!r} should be of a datatype for numbers, not BYTES")
        return [value or None for value in tensor.values] if spec.optional else tensor.values
    if spec.kind in ("text", *_TIMES):
        raise bad(f"input {spec.name!r} should be of datatype BYTES; a date or a time as ISO 8601 text")
    return _with_gaps(spec, tensor.values)


def _with_gaps(spec: FieldSpec, values: NDArray[Any]) -> NDArray[Any]:
    if not spec.optional or values.dtype.kind != "f":
        return values
    return masked(values, np.isnan(values))


def _check_rows(tensor: Tensor) -> None:
    if tensor.shape[0] > MAX_INSTANCES:
        raise too_many(tensor.shape[0])


def _unpacked(
    schema: RecordSchema, packed: Mapping[str, tuple[str, ...]], inputs: Mapping[str, Tensor]
) -> dict[str, Column]:
    columns: dict[str, Column] = {}
    for name, features in packed.items():
        if name not in inputs:
            if features:
                raise bad(f"input {name!r} is missing, shape [n, {len(features)}]")
            continue
        tensor = inputs[name]
        _check_rows(tensor)
        if len(tensor.shape) != 2 or tensor.shape[1] != len(features):
            raise bad(f"input {name!r} should have the shape [n, {len(features)}]")
        is_text = isinstance(tensor.values, list)
        if is_text != (name == "categories") or (not is_text and tensor.datatype not in ("FP32", "FP64")):
            wanted = "BYTES" if name == "categories" else "FP32 or FP64"
            raise bad(f"input {name!r} should be of datatype {wanted}")
        for position, feature in enumerate(features):
            values = tensor.values[position :: len(features)]
            columns[feature] = _as_the_model_takes_it(schema[feature], values)
    return columns


def _as_the_model_takes_it(spec: FieldSpec, values: NDArray[Any] | list[Any]) -> Column:
    """Text; or numbers in which a boolean is 0 or 1, and a time is days since 1970-01-01."""
    if isinstance(values, list):
        return [value or None for value in values] if spec.optional else values
    if spec.kind == "boolean":
        return [None if np.isnan(value) else value for value in values.tolist()]
    if spec.kind in _TIMES:
        return [_time(spec, value) for value in values.astype(np.float64).tolist()]
    return _with_gaps(spec, values)


def _time(spec: FieldSpec, days: float) -> date | datetime | str | None:
    """A time; as text where there is no such, for the record's check to refuse."""
    if np.isnan(days):
        return None
    try:
        moment = datetime(1970, 1, 1) + timedelta(microseconds=round(days * MICROSECONDS_A_DAY))
    except (OverflowError, ValueError):
        return "beyond the calendar"
    if spec.kind == "date":
        return moment.date() if moment == datetime(moment.year, moment.month, moment.day) else moment
    return moment
