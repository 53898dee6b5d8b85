"""Requests that come as columns: checked exactly as the typed endpoint checks records, a column at a time.

Whether a column is accepted is said by the type that the request model gives its field, or by numpy for
what came as a numpy array. If one is not, the rows are read again by the request model itself: it has the
last word, and lists every fault with its position.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, FailFast, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, to_json

from lifecycle.core.record import FieldSpec, RecordSchema
from lifecycle.core.rows import Tensors, encode
from lifecycle.core.suggest import nearest
from lifecycle.serving.exchange import Asked
from lifecycle.serving.formats.arrays import as_list, check_array, packable
from lifecycle.serving.limits import MAX_INSTANCES
from lifecycle.serving.problems import MAX_FAULTS, Fault, ProblemError, refused, unprocessable

Column = list[Any] | NDArray[Any]
"""Values of one field: Python's own with None for what is missing, or a numpy array, masked where missing."""

BEYOND = "is beyond what the model can represent (float32)"

_CHUNK = 500
"""Rows that are validated together when faults are worded."""


class ColumnReader:
    """Checks and packs columns for one record schema.

    Args:
        schema: Of the release that answers.
        requests: Validates a list of records; the same one as for JSON records.
    """

    def __init__(self, schema: RecordSchema, requests: TypeAdapter[list[BaseModel]]) -> None:
        self._schema = schema
        self._requests = requests
        self.fields: dict[str, FieldSpec] = {spec.name: spec for spec in (*schema.features, *schema.keys)}

    def read(
        self,
        columns: Mapping[str, Column],
        *,
        inputs: bytes | None = None,
        context: object = None,
        may_be_empty: bool = False,
    ) -> Asked:
        """Check columns and pack them.

        Args:
            columns: One column of ``rows`` values per field; optional ones and the record's id may be absent.
            inputs: JSON ``{"columns": {...}}`` for the prediction log, where the request already was that.
            context: What the format needs to write the answer.
            may_be_empty: Whether columns without any row are answered too.

        Raises:
            ProblemError: 422 with every fault; 413 for too many rows.
        """
        rows = self._layout(columns, may_be_empty)
        checked = self._checked(columns)
        tensors = self._pack(checked, rows)
        ids = as_list(checked.get(self._schema.record_id.name, []))
        about = self._schema.about
        return Asked(
            tensors=tensors,
            single=False,
            record_ids=ids if any(value is not None for value in ids) else None,
            shape="columns",
            inputs=inputs if inputs is not None else _as_json(checked),
            context=context,
            subjects=[str(value) for value in as_list(checked[about.name])] if about else None,
        )

    def read_json(self, columns: Any, body: bytes) -> Asked:
        """Check the value of ``columns`` in a JSON body ``{"columns": {...}}``; the log keeps the body."""
        if not isinstance(columns, dict):
            raise unprocessable(
                [_fault("columns", "should be an object with one list of values per field")], 1
            )
        faults = [
            _fault(name, "should be a list of values")
            for name, column in columns.items()
            if not isinstance(column, list)
        ]
        if faults:
            raise unprocessable(faults[:MAX_FAULTS], len(faults))
        return self.read(columns, inputs=body)

    def fits(self, name: str, column: Column) -> bool:
        """Whether every value of a column fits its field."""
        return self._checked_column(name, column) is not None

    def _layout(self, columns: Mapping[str, Column], may_be_empty: bool) -> int:
        """The number of rows.

        Raises:
            ProblemError: A column is unknown, missing or of another length; there are no rows or too many.
        """
        faults = [
            _fault(name, f"is not a field of the record{nearest(name[:64], self.fields)}")
            for name in columns
            if name not in self.fields
        ]
        faults += [
            _fault(name, "is missing")
            for name, spec in self.fields.items()
            if name not in columns and not spec.optional
        ]
        lengths = {name: len(columns[name]) for name in self.fields if name in columns}
        first = next(iter(lengths), "")
        rows = lengths.get(first, 0)
        faults += [
            _fault(name, f"has {length} values where {first} has {rows}")
            for name, length in lengths.items()
            if length != rows
        ]
        if not faults and not rows and not may_be_empty:
            faults = [_fault("columns", "should hold at least one row")]
        if faults:
            raise unprocessable(faults[:MAX_FAULTS], len(faults))
        if rows > MAX_INSTANCES:
            raise too_many(rows)
        return rows

    def _checked(self, columns: Mapping[str, Column]) -> Mapping[str, Column]:
        checked: dict[str, Column] = {}
        for name, column in columns.items():
            found = self._checked_column(name, column)
            if found is None:
                return self._by_rows(columns)
            checked[name] = found
        return checked

    def _checked_column(self, name: str, column: Column) -> Column | None:
        """A column as the model takes it; None if a value may not fit."""
        if isinstance(column, np.ndarray):
            array = check_array(self.fields[name], column)
            if array is not None:
                return array
        try:
            return self._types[name].validate_python(as_list(column))
        except ValidationError:
            return None

    @cached_property
    def _types(self) -> dict[str, TypeAdapter[list[Any]]]:
        return {name: _list_type(spec) for name, spec in self.fields.items()}

    def _by_rows(self, columns: Mapping[str, Column]) -> Mapping[str, Column]:
        """The rows as the request model reads them, as columns again.

        Raises:
            ProblemError: It refuses some; all faults are counted, the first ones told.
        """
        records: list[dict[str, Any]] = []
        errors: list[ErrorDetails] = []
        count = 0
        for start, chunk in _chunks(columns):
            try:
                records += [vars(record) for record in self._requests.validate_python(chunk)]
            except ValidationError as error:
                count += error.error_count()
                if len(errors) < MAX_FAULTS:
                    errors += [_moved(details, start) for details in _details(error)]
        if errors:
            raise refused(errors, tuple(self.fields), batch=True, count=count)
        return {name: [record[name] for record in records] for name in columns}

    def _pack(self, columns: Mapping[str, Column], rows: int) -> Tensors:
        """The model's inputs; a number that is too large for its float32 is refused."""
        features = {
            spec.name: packable(spec, columns[spec.name])
            for spec in self._schema.features
            if spec.name in columns
        }
        with np.errstate(over="ignore"):
            tensors = encode(self._schema, features, rows)
        beyond = np.isinf(tensors.numbers)
        if beyond.any():
            row, column = np.argwhere(beyond)[0].tolist()
            raise unprocessable([Fault(field=self._schema.numbers[column], instance=row, reason=BEYOND)], 1)
        return tensors


def _list_type(spec: FieldSpec) -> TypeAdapter[list[Any]]:
    values: Any = list[spec.annotation()]  # type: ignore[misc]
    kind: Any = Annotated[values, FailFast()]
    return TypeAdapter(kind)


def too_many(rows: int) -> ProblemError:
    """Status 413 for so many records in one request."""
    return ProblemError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"{rows} instances; at most {MAX_INSTANCES} in one request: send several",
    )


def _fault(field: str, reason: str) -> Fault:
    return Fault(field=field[:64], instance=None, reason=reason)


def _chunks(columns: Mapping[str, Column]) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """The rows as records, some at a time, each with the position of its first."""
    names = list(columns)
    rows = list(zip(*(as_list(column) for column in columns.values()), strict=True))
    for start in range(0, len(rows), _CHUNK):
        yield start, [dict(zip(names, row, strict=True)) for row in rows[start : start + _CHUNK]]


def _details(error: ValidationError) -> Sequence[ErrorDetails]:
    return error.errors(include_url=False, include_input=False)


def _moved(details: ErrorDetails, start: int) -> ErrorDetails:
    """A fault of a chunk, with its position in the whole."""
    position, *path = details["loc"]
    moved = details.copy()
    moved["loc"] = (int(position) + start, *path)
    return moved


def _as_json(columns: Mapping[str, Column]) -> bytes:
    """What the prediction log keeps."""
    content = {"columns": {name: as_list(column) for name, column in columns.items()}}
    try:
        return msgspec.json.encode(content)
    except OverflowError:  # an integer of more than 64 bits
        return to_json(content)
