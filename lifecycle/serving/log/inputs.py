"""Reading back what was asked: logged JSON to one list of values per feature, at the speed of bulk work.

A generated msgspec decoder reads what it can, which is nearly everything; the release's own request model
reads the rest (``"3"`` for 3), as it did when the request was answered. Nothing is checked again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from operator import attrgetter
from typing import Any

import msgspec
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from lifecycle.core.errors import IntegrityError
from lifecycle.core.record import RecordSchema
from lifecycle.serving.log.entries import Shape

_TYPES: dict[str, type] = {
    "number": float,
    "integer": int,
    "boolean": bool,
    "text": str,
    "date": date,
    "datetime": datetime,
}
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True)
class Inputs:
    """What some requests asked, row by row.

    Attributes:
        features: One list of Python values per feature; None where a value is missing.
        record_ids: As text; None where none was sent.
        subjects: Whom each row is about, as text; None where records are not sealed.
    """

    features: dict[str, list[Any]]
    record_ids: list[str | None]
    subjects: list[str] | None = None


class InputDecoder:
    """Decodes the inputs of one release.

    Args:
        schema: The release's record schema.

    Example:
        >>> from lifecycle.core.record import FieldSpec
        >>> fields = (FieldSpec(name="key", kind="text", record_id=True),
        ...           FieldSpec(name="beds", kind="integer", feature=True))
        >>> decoder = InputDecoder(RecordSchema(name="Home", fields=fields))
        >>> decoder.decode("record", [b'{"beds": 3, "key": "a"}', b'{"beds": "4"}'], rows=[1, 1])
        Inputs(features={'beds': [3, 4]}, record_ids=['a', None], subjects=None)
    """

    def __init__(self, schema: RecordSchema) -> None:
        self._schema = schema
        self._features = [spec.name for spec in schema.features]
        self._key = schema.record_id.name
        self._about = schema.about.name if schema.about else None
        kinds = {spec.name: _TYPES[spec.kind] for spec in (*schema.features, *schema.keys)}
        self._names = list(kinds)
        row = msgspec.defstruct("Row", [(name, kind | None, None) for name, kind in kinds.items()], gc=False)
        rows = list[row]  # type: ignore[valid-type]
        several = msgspec.defstruct("Several", [("instances", rows)])
        columns = msgspec.defstruct(
            "Columns",
            [(name, list[kind | None] | None, None) for name, kind in kinds.items()],  # type: ignore[valid-type]
        )
        wrapped = msgspec.defstruct("Wrapped", [("columns", columns)])
        self._row: Callable[[bytes], Any] = msgspec.json.Decoder(row).decode
        self._rows: Callable[[bytes], list[Any]] = msgspec.json.Decoder(rows).decode
        self._several: Callable[[bytes], Any] = msgspec.json.Decoder(several).decode
        self._wrapped: Callable[[bytes], Any] = msgspec.json.Decoder(wrapped).decode
        self._patient: TypeAdapter[list[Any]] | None = None

    def decode(self, shape: Shape, inputs: Sequence[bytes], rows: Sequence[int]) -> Inputs:
        """Read requests of one shape.

        Args:
            shape: As logged.
            inputs: As logged, one per request.
            rows: How many predictions each request was answered with.

        Raises:
            IntegrityError: A request cannot be read, or holds another number of rows.
        """
        if shape == "columns":
            return self._inputs(self._columns(inputs, rows))
        records = self._records(shape, inputs, rows)
        return self._inputs({name: list(map(attrgetter(name), records)) for name in self._names})

    def _records(self, shape: Shape, inputs: Sequence[bytes], rows: Sequence[int]) -> list[Any]:
        """One object per row, with the fields for attributes."""
        if shape == "record":  # mostly all of them can be read in one go
            with suppress(*_UNREADABLE):
                records = self._rows(b"[" + b",".join(inputs) + b"]")
                if len(records) == sum(rows):
                    return records
        records = []
        for content, expected in zip(inputs, rows, strict=True):
            try:
                found = [self._row(content)] if shape == "record" else self._several(content).instances
            except _UNREADABLE:
                found = self._patiently(shape, content)
            if len(found) != expected:
                raise _differs(len(found), expected)
            records += found
        return records

    def _columns(self, inputs: Sequence[bytes], rows: Sequence[int]) -> dict[str, list[Any]]:
        """One list per name, of all requests together."""
        merged: dict[str, list[Any]] = {name: [] for name in self._names}
        for content, expected in zip(inputs, rows, strict=True):
            for name, values in self._one_request(content, expected):
                if len(values) != expected:
                    raise _differs(len(values), expected)
                merged[name] += values
        return merged

    def _one_request(self, content: bytes, expected: int) -> Iterator[tuple[str, list[Any]]]:
        try:
            columns = self._wrapped(content).columns
        except _UNREADABLE:
            records = self._patiently("columns", content)
            return ((name, list(map(attrgetter(name), records))) for name in self._names)
        missing: list[Any] = [None] * expected
        return ((name, missing if (v := getattr(columns, name)) is None else v) for name in self._names)

    def _inputs(self, columns: dict[str, list[Any]]) -> Inputs:
        ids = [None if value is None else str(value) for value in columns[self._key]]
        subjects = [str(value) for value in columns[self._about]] if self._about else None
        return Inputs({name: columns[name] for name in self._features}, ids, subjects)

    def _patiently(self, shape: Shape, content: bytes) -> list[Any]:
        """Records as the release's request model reads them."""
        if self._patient is None:
            self._patient = TypeAdapter(list[self._schema.request_model()])  # type: ignore[arg-type, misc]
        try:
            return self._patient.validate_python(_SHAPES[shape](from_json(content, cache_strings="keys")))
        except (ValueError, ValidationError, TypeError, KeyError, AttributeError):
            raise IntegrityError(
                "a logged request cannot be read by the schema of the release that answered it",
                hint="nothing was deleted; keep the segment and report it",
            ) from None


def _transposed(content: dict[str, Any]) -> list[dict[str, Any]]:
    columns: dict[str, list[Any]] = content["columns"]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


_SHAPES: dict[str, Callable[[Any], list[Any]]] = {
    "record": lambda content: [content],
    "instances": lambda content: list(content["instances"]),
    "columns": _transposed,
}


def _differs(found: int, expected: int) -> IntegrityError:
    return IntegrityError(
        f"a logged request holds {found} rows and {expected} predictions",
        hint="nothing was deleted; keep the segment and report it",
    )
