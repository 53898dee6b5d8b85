"""Made-up records of a schema, for examples and checks: where no real record may stand."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

import numpy as np

from lifecycle.core.record import FieldSpec, RecordSchema

_FIRST_DAY = date(2020, 1, 1)


def synthetic_records(schema: RecordSchema, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Valid records drawn at random within the schema's bounds.

    Args:
        schema: The record's schema.
        count: How many.
        seed: The same seed gives the same records.

    Returns:
        One dict per record with every field, label included; optional fields are sometimes None.

    Example:
        >>> spec = FieldSpec(name="beds", kind="integer", feature=True, ge=1, le=3)
        >>> synthetic_records(RecordSchema(name="r", fields=(spec,)), 4)
        [{'beds': 2}, {'beds': 2}, {'beds': 1}, {'beds': 2}]
    """
    random = Random(seed)
    return [
        {spec.name: _value(spec, position, random) for spec in schema.fields} for position in range(count)
    ]


def _value(spec: FieldSpec, position: int, random: Random) -> Any:
    if spec.record_id or spec.subject_id:
        return position if spec.kind == "integer" else f"example-{position:06d}"
    if spec.optional and random.random() < 0.1:
        return None
    match spec.kind:
        case "boolean":
            return random.random() < 0.5
        case "integer":
            low, high = _bounds(spec, step=1)
            return random.randint(math.ceil(low), math.floor(high))
        case "number":
            low, high = _bounds(spec, step=1e-3)
            # float32, as the model will see it, and inside the bounds after rounding.
            return float(np.clip(np.float32(random.uniform(low, high)), low, high))
        case "date":
            return _FIRST_DAY + timedelta(days=position % 1000)
        case "datetime":
            return datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=position)
        case "text":
            return _text(spec, random)


def _bounds(spec: FieldSpec, step: float) -> tuple[float, float]:
    low = spec.ge if spec.ge is not None else spec.gt + step if spec.gt is not None else None
    high = spec.le if spec.le is not None else spec.lt - step if spec.lt is not None else None
    if low is None:
        low = 0.0 if high is None or high > 0 else high - 100
    return low, high if high is not None else low + 100


def _text(spec: FieldSpec, random: Random) -> str:
    if spec.choices:
        return random.choice(spec.choices)
    word = f"example-{random.randrange(10)}"
    return word.ljust(spec.min_length or 0, "x")[: spec.max_length]
