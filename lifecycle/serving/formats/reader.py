"""Reading JSON records at full speed: a msgspec decoder and an encoder generated from the record schema.

They accept a subset of what the release's pydantic model accepts, with the same meaning. Whatever they refuse
is read again by that model, which forgives more (``"3"`` for 3) and lists every fault.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from datetime import date, datetime
from math import nan
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec.structs import astuple

from lifecycle.core.record import MAX_TEXT, FieldSpec, RecordSchema
from lifecycle.core.rows import MICROSECONDS_A_DAY, Tensors
from lifecycle.serving.exchange import RecordIds, Subjects

Refusals = (msgspec.MsgspecError, OverflowError, RecursionError, struct.error, UnicodeDecodeError)
"""What the decoders raise; which one it was does not matter, pydantic words it."""

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
        specs += [key for key in schema.keys if key.name not in names]
        # Numbers, then categories, then the keys: the order of the packed inputs.
        record = msgspec.defstruct(
            "Record", [_member(spec) for spec in specs], forbid_unknown_fields=True, kw_only=True, gc=False
        )
        several = msgspec.defstruct("Several", [("instances", list[record])], forbid_unknown_fields=True)  # type: ignore[valid-type]
        self.one: Callable[[bytes], Any] = msgspec.json.Decoder(record).decode
        self.several: Callable[[bytes], Any] = msgspec.json.Decoder(several).decode
        self._width = len(schema.numbers)
        self._end = len(names)
        order = [spec.name for spec in specs]
        self._id = order.index(schema.record_id.name)
        self._about = order.index(schema.about.name) if schema.about else None
        self._odd = tuple(
            (i, _CONVERTERS[by_name[name].kind])
            for i, name in enumerate(schema.numbers)
            if by_name[name].kind in ("date", "datetime") or by_name[name].optional
        )
        self._optional_words = any(by_name[name].optional for name in schema.categories)

    def encode(self, records: Sequence[Any]) -> tuple[Tensors, RecordIds, Subjects]:
        """The packed inputs of decoded records, their ids and their subjects; see ``Asked``.

        Raises:
            OverflowError: A number is beyond float32.
        """
        rows = [astuple(record) for record in records]
        width, end, count = self._width, self._end, len(rows)
        # Rounds each number to float32 as numpy does, three times as fast for one row, and tells an overflow.
        flat = rows[0][:width] if count == 1 else [value for row in rows for value in row[:width]]
        if self._odd:
            flat = self._plain(flat)
        packed = struct.pack(f"<{len(flat)}f", *flat)
        words = np.empty((count, end - width), dtype=object)
        if end > width:
            words[:] = [self._words(row[width:end]) for row in rows]
        ids = [row[self._id] for row in rows]
        tensors = Tensors(np.frombuffer(packed, dtype="<f4").reshape(count, width), words)
        about = self._about
        subjects = None if about is None else [str(row[about]) for row in rows]
        return tensors, (ids if any(i is not None for i in ids) else None), subjects

    def _words(self, words: Sequence[Any]) -> Sequence[Any]:
        return ["" if word is None else word for word in words] if self._optional_words else words

    def _plain(self, flat: Sequence[Any]) -> list[Any]:
        """Numbers without dates and without what is missing, row by row."""
        numbers = list(flat)
        for start, convert in self._odd:
            numbers[start :: self._width] = map(convert, numbers[start :: self._width])
        return numbers


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


def _of_number(value: float | None) -> float:
    return nan if value is None else value


def _of_date(value: date | None) -> float:
    return nan if value is None else value.toordinal() - _EPOCH_DAY


def _of_datetime(value: datetime | None) -> float:
    if value is None:
        return nan
    offset = value.utcoffset()
    passed = value.replace(tzinfo=None) - _EPOCH - (offset or _EPOCH - _EPOCH)
    microseconds = (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds
    return microseconds / MICROSECONDS_A_DAY


_CONVERTERS: dict[str, Callable[[Any], float]] = {
    "number": _of_number,
    "integer": _of_number,
    "boolean": _of_number,
    "date": _of_date,
    "datetime": _of_datetime,
}
