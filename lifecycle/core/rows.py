"""Rows as the model sees them. One encoder serves training, batch and online, so all three agree."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.record import FieldSpec, RecordSchema

MICROSECONDS_A_DAY = 86_400_000_000


@dataclass(frozen=True)
class Tensors:
    """The two packed inputs of every model.

    Attributes:
        numbers: float32 ``[rows, len(schema.numbers)]``; a missing number is NaN, a date is days since
            1970-01-01, a boolean 0 or 1.
        categories: text (object array of str) ``[rows, len(schema.categories)]``; missing is ``""``.
    """

    numbers: NDArray[np.float32]
    categories: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, index: NDArray[Any] | slice) -> Tensors:
        """The rows at ``index`` (positions, a mask or a slice)."""
        return Tensors(self.numbers[index], self.categories[index])


@dataclass(frozen=True)
class Rows:
    """Labelled rows of one part of a split, all arrays aligned.

    Attributes:
        ids: Record ids as text ``[rows]``.
        event_time: ``datetime64[us]`` in UTC ``[rows]``.
        tensors: The model's inputs.
        label: float64 ``[rows]``.
        weight: Recency weights, float64 ``[rows]``, 1 for the newest.
    """

    ids: NDArray[np.str_]
    event_time: NDArray[np.datetime64]
    tensors: Tensors
    label: NDArray[np.float64]
    weight: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def digest(self) -> str:
        """SHA-256 over ids, event times and labels in order: one digest means identical rows.

        The inputs are left out: they follow from the ids within a snapshot, and a champion may read
        other features of the same records.
        """
        state = hashlib.sha256("\n".join(self.ids.tolist()).encode())
        for array in (self.event_time.astype(np.int64), self.label):
            state.update(np.ascontiguousarray(array).tobytes())
        return state.hexdigest()

    def joined(self, other: Rows) -> Rows:
        """These rows, then the other's."""
        tensors = Tensors(
            np.concatenate([self.tensors.numbers, other.tensors.numbers]),
            np.concatenate([self.tensors.categories, other.tensors.categories]),
        )
        return Rows(
            ids=np.concatenate([self.ids, other.ids]),
            event_time=np.concatenate([self.event_time, other.event_time]),
            tensors=tensors,
            label=np.concatenate([self.label, other.label]),
            weight=np.concatenate([self.weight, other.weight]),
        )

    def take(self, index: NDArray[Any] | slice) -> Rows:
        """The rows at ``index`` (positions, a mask or a slice)."""
        return replace(
            self,
            ids=self.ids[index],
            event_time=self.event_time[index],
            tensors=self.tensors.take(index),
            label=self.label[index],
            weight=self.weight[index],
        )


def encode(schema: RecordSchema, columns: Mapping[str, Sequence[Any] | NDArray[Any]], rows: int) -> Tensors:
    """Turn validated columns into the model's packed inputs.

    Args:
        schema: The record's schema; only its features are read.
        columns: One sequence of ``rows`` values per feature; None (or an absent optional) is missing.
        rows: How many rows there are.

    Example:
        >>> from datetime import date
        >>> specs = (FieldSpec(name="day", kind="date", feature=True),
        ...          FieldSpec(name="wall", kind="text", feature=True))
        >>> tensors = encode(RecordSchema(name="r", fields=specs),
        ...                  {"day": [date(1970, 1, 3)], "wall": ["brick"]}, rows=1)
        >>> tensors.numbers.tolist(), tensors.categories.tolist()
        ([[2.0]], [['brick']])
    """
    numbers = np.empty((rows, len(schema.numbers)), dtype=np.float32)
    for i, name in enumerate(schema.numbers):
        numbers[:, i] = _as_numbers(schema[name], columns.get(name, [None] * rows))
    categories = np.empty((rows, len(schema.categories)), dtype=object)
    for i, name in enumerate(schema.categories):
        column = columns.get(name, [None] * rows)
        categories[:, i] = ["" if value is None else value for value in column]
    return Tensors(numbers, categories)


def encode_records(schema: RecordSchema, records: Sequence[Mapping[str, Any]]) -> Tensors:
    """Turn validated records, one mapping each, into the model's packed inputs."""
    columns = {spec.name: [record.get(spec.name) for record in records] for spec in schema.features}
    return encode(schema, columns, len(records))


def _as_numbers(spec: FieldSpec, column: Sequence[Any] | NDArray[Any]) -> NDArray[np.float64]:
    if spec.kind in ("date", "datetime"):
        moments = to_moments(column)
        days = moments.astype(np.int64) / MICROSECONDS_A_DAY
        return np.where(np.isnat(moments), np.nan, days)
    return np.asarray(column, dtype=np.float64)


def to_moments(values: Sequence[Any] | NDArray[Any]) -> NDArray[np.datetime64]:
    """Dates and datetimes as ``datetime64[us]`` in UTC; None becomes NaT, a naive datetime is UTC already.

    Example:
        >>> from datetime import date
        >>> to_moments([date(1996, 1, 1), None]).tolist()
        [datetime.datetime(1996, 1, 1, 0, 0), None]
    """
    if not isinstance(values, np.ndarray):
        values = [_naive_utc(value) for value in values]
    return np.asarray(values, dtype="datetime64[us]")


def _naive_utc(value: Any) -> Any:
    if isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(UTC).replace(tzinfo=None)
    return value
