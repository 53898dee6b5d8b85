"""Reading JSON records at full speed: a msgspec decoder and an encoder generated from the record schema.

They accept a subset of what the release's pydantic model accepts, with the same meaning. Whatever they refuse
is read again by that model, which forgives more (``"3"`` for 3) and lists every fault.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec.structs import astuple

from lifecycle.core.record import MAX_TEXT, FieldSpec, RecordSchema
from lifecycle.core.rows import MICROSECONDS_A_DAY, Tensors

Refusals = (msgspec.MsgspecError, OverflowError, RecursionError, UnicodeDecodeError)
"""What the decoders raise; which one it was does not matter, pydantic words it."""

_FLOAT32_MAX = float(np.finfo(np.float32).max)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_EPOCH = datetime(1970, 1, 1)  # a naive moment is UTC in every record
_TYPES: dict[str, type] = {
    "number": float,
    "integer": int,
    "boolean": bool,
    "text": str,
    "date": date,
    "datetime": datetime,
}


class RecordReader:
    """Decodes and encodes the records of one schema.

    Args:
        schema: Of the release that answers.
    """

    def __init__(self, schema: RecordSchema) -> None:
        by_name = {spec.name: spec for spec in schema.features}
        names = [*schema.numbers, *schema.categories]
        specs = [by_name[name] for name in names]
        key = schema.record_id.model_copy(update={"optional": True})
        if key.name not in names:
            specs.append(key)
        # Numbers, then categories, then the id: the order of the packed inputs.
        record = msgspec.defstruct(
            "Record", [_member(spec) for spec in specs], forbid_unknown_fields=True, kw_only=True, gc=False
        )
        several = msgspec.defstruct("Several", [("instances", list[record])], forbid_unknown_fields=True)  # type: ignore[valid-type]
        self.one: Callable[[bytes], Any] = msgspec.json.Decoder(record).decode
        self.several: Callable[[bytes], Any] = msgspec.json.Decoder(several).decode
        self._width = len(schema.numbers)
        self._end = len(names)
        self._id = [spec.name for spec in specs].index(key.name)
        self._days = tuple(
            (i, _of_date if by_name[name].kind == "date" else _of_datetime)
            for i, name in enumerate(schema.numbers)
            if by_name[name].kind in ("date", "datetime")
        )
        self._optional_words = any(by_name[name].optional for name in schema.categories)
        # What cannot overflow is rounded to float32 at once: the same, and quicker.
        self._may_overflow = any(_may_overflow(by_name[name]) for name in schema.numbers)

        self._wide: type[np.floating[Any]] = np.float64 if self._may_overflow else np.float32

    def encode(self, records: Sequence[Any]) -> tuple[Tensors, list[str | int | None] | None]:
        """The packed inputs of decoded records, and their ids; None if none was sent.

        Raises:
            OverflowError: A number is beyond float32.
        """
        rows = [astuple(record) for record in records]
        shape = len(rows), self._width
        numbers = np.array([self._numbers(row) for row in rows], dtype=self._wide).reshape(shape)
        if self._may_overflow and (np.abs(numbers) > _FLOAT32_MAX).any():
            raise OverflowError
        words = np.array([self._words(row) for row in rows], dtype=object).reshape(len(rows), -1)
        ids = [row[self._id] for row in rows]
        return Tensors(numbers.astype(np.float32, copy=False), words), (
            ids if any(i is not None for i in ids) else None
        )

    def _numbers(self, row: tuple[Any, ...]) -> Sequence[Any]:
        if not self._days:
            return row[: self._width]
        numbers = list(row[: self._width])
        for i, days in self._days:
            numbers[i] = days(numbers[i])
        return numbers

    def _words(self, row: tuple[Any, ...]) -> Sequence[Any]:
        words = row[self._width : self._end]
        if self._optional_words:
            return ["" if word is None else word for word in words]
        return words


def _member(spec: FieldSpec) -> tuple[str, Any] | tuple[str, Any, None]:
    """One field, as ``msgspec.defstruct`` takes it."""
    if spec.choices:
        annotation: Any = Literal[spec.choices]
    else:
        annotation = _TYPES[spec.kind]
        if limits := _limits(spec):
            annotation = Annotated[annotation, msgspec.Meta(**limits)]
    if spec.optional:
        return spec.name, annotation | None, None
    return spec.name, annotation


def _limits(spec: FieldSpec) -> dict[str, Any]:
    if spec.kind in ("number", "integer"):
        bounds = {name: getattr(spec, name) for name in ("ge", "gt", "le", "lt")}
        if spec.kind == "integer":  # an integer is compared with an integer
            return {name: _whole(name, bound) for name, bound in bounds.items() if bound is not None}
        return {name: bound for name, bound in bounds.items() if bound is not None}
    if spec.kind != "text":
        return {}
    limits = {"min_length": spec.min_length, "max_length": spec.max_length or MAX_TEXT}
    # `$` is the very end for pydantic; for Python's re it may stand before a last newline.
    pattern = re.sub(r"(?<!\\)\$$", r"\\Z", spec.pattern) if spec.pattern else None
    return {name: limit for name, limit in {**limits, "pattern": pattern}.items() if limit is not None}


def _whole(name: str, bound: float) -> int:
    """The bound of an integer, where the declared one lies between two: ``ge 1.5`` is ``ge 2``."""
    return int(np.ceil(bound) if name in ("ge", "lt") else np.floor(bound))


def _may_overflow(spec: FieldSpec) -> bool:
    low = spec.ge if spec.ge is not None else spec.gt
    high = spec.le if spec.le is not None else spec.lt
    bounded = low is not None and high is not None and low >= -_FLOAT32_MAX and high <= _FLOAT32_MAX
    return spec.kind in ("number", "integer") and not bounded


def _of_date(value: date | None) -> int | None:
    return None if value is None else value.toordinal() - _EPOCH_DAY


def _of_datetime(value: datetime | None) -> float | None:
    if value is None:
        return None
    offset = value.utcoffset()
    passed = value.replace(tzinfo=None) - _EPOCH - (offset or _EPOCH - _EPOCH)
    microseconds = (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds
    return microseconds / MICROSECONDS_A_DAY
