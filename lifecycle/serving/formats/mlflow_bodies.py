"""The bodies of MLflow's scoring protocol, as columns of whatever values they hold.

What pandas makes of a body is followed without pandas. Source: ``mlflow/utils/proto_json_utils.py``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pydantic_core import from_json

from lifecycle.serving.formats.columns import too_many
from lifecycle.serving.limits import MAX_INSTANCES
from lifecycle.serving.problems import ProblemError

_KEYS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_ONE_KEY = f"The input must be a JSON dictionary with exactly one of the input fields {', '.join(_KEYS)}"
_WORDS = "#N/A #NA -1.#IND -1.#QNAN -NaN -nan 1.#IND 1.#QNAN <NA> N/A NA NULL NaN None n/a nan null"
_GONE = frozenset({"", "#N/A N/A", *_WORDS.split()})
"""What ``pandas.read_csv`` takes for missing."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a body holds.

    Attributes:
        columns: Values by column.
        as_tensors: Whether MLflow would make numpy arrays of them (``instances``, ``inputs``) rather than a
            DataFrame, so that a number is fit for text.
    """

    columns: dict[str, list[Any]]
    as_tensors: bool


def json_columns(body: bytes, features: Sequence[str]) -> Content:
    """A JSON body; ``params`` and other keys are ignored, since the model's signature has no parameters.

    Args:
        body: The whole of it.
        features: Names of the model's inputs: where there is only one, its name need not be sent.

    Raises:
        ProblemError: 400; it is not one of the four forms.
    """
    try:
        content = from_json(body, cache_strings="keys")  # as MLflow: with NaN and Infinity
    except ValueError:
        raise _bad("Ensure that input is a valid JSON formatted string") from None
    found = [key for key in _KEYS if key in content] if isinstance(content, dict) else []
    if len(found) != 1:
        raise _bad(_ONE_KEY)
    key, value = found[0], content[found[0]]
    if key == "dataframe_split":
        return Content(_split(value), as_tensors=False)
    if key == "dataframe_records":
        if not isinstance(value, list):
            raise _bad("Dataframe records format must be a list of records")
        return Content(_records(value), as_tensors=False)
    return Content(_tensors(value, features), as_tensors=True)


def csv_columns(body: bytes) -> Content:
    """A CSV body with a header, as ``DataFrame.to_csv`` writes it.

    Raises:
        ProblemError: 400; it is not CSV in UTF-8.
    """
    try:
        lines = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        header = next(lines, None)
        rows = _csv_rows(lines)
    except (UnicodeDecodeError, csv.Error):
        raise _bad("Ensure that the input is a valid CSV-formatted Pandas DataFrame in UTF-8") from None
    if not header:
        raise _bad("the CSV has no header")
    if any(len(row) > len(header) for row in rows):
        raise _bad("a row of the CSV has more fields than its header")
    columns: dict[str, list[Any]] = {}
    for position, name in enumerate(header):
        values = (row[position] if position < len(row) else "" for row in rows)
        columns.setdefault(name, [None if value in _GONE else value for value in values])
    return Content(columns, as_tensors=False)


def _csv_rows(lines: Any) -> list[list[str]]:
    rows: list[list[str]] = []
    for line in lines:
        if line:
            rows.append(line)
        if len(rows) > MAX_INSTANCES:
            raise ProblemError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"more than {MAX_INSTANCES} rows in one request: send several",
            )
    return rows


def _split(value: Any) -> dict[str, list[Any]]:
    if not isinstance(value, dict):
        raise _bad("Dataframe split format must be a dictionary")
    if "data" not in value or not value.keys() <= {"columns", "data", "index"}:
        raise _bad(
            "Dataframe split format must have 'data' field and optionally 'columns' and 'index' fields"
        )
    names, rows, index = value.get("columns"), value["data"], value.get("index")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _bad("'columns' of the dataframe split format should be a list of the columns' names")
    if len(set(names)) < len(names):
        raise _bad("a column is named twice")
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise _bad("'data' of the dataframe split format should be a list of rows, each of them a list")
    if index is not None and (not isinstance(index, list) or len(index) != len(rows)):
        raise _bad("Length of values does not match length of index")
    _check_count(len(rows))
    width = max(map(len, rows), default=len(names))
    if width != len(names):
        raise _bad(f"{len(names)} columns passed, passed data had {width} columns")
    return {
        name: [row[position] if position < len(row) else None for row in rows]
        for position, name in enumerate(names)
    }


def _records(records: list[Any]) -> dict[str, list[Any]]:
    """Columns of records; what a record lacks is missing in it."""
    if not all(isinstance(record, dict) for record in records):
        raise _bad("a record should be a dictionary with the names of the model's inputs")
    _check_count(len(records))
    names = dict.fromkeys(name for record in records for name in record)
    if len(names) * len(records) > 100 * MAX_INSTANCES:
        raise _bad("the records have too many different fields")
    return {name: [record.get(name) for record in records] for name in names}


def _tensors(value: Any, features: Sequence[str]) -> dict[str, list[Any]]:
    """Of ``instances`` or ``inputs``: columns, one record, records, or the values of the only input."""
    if isinstance(value, list):
        if not value or isinstance(value[0], dict):
            return _records(value)
        if len(features) == 1:
            _check_count(len(value))
            return {features[0]: value}
        raise _bad("the model has several inputs: send them by name")
    if not isinstance(value, dict):
        raise _bad("send a dictionary of columns, or a list of records")
    columns: Mapping[str, Any] = value
    if columns and not any(isinstance(column, list) for column in columns.values()):
        return {name: [column] for name, column in columns.items()}
    if not all(isinstance(column, list) for column in columns.values()):
        raise _bad("each column should be a list")
    _check_count(max(map(len, columns.values()), default=0))
    return dict(columns)


def _check_count(rows: int) -> None:
    if rows > MAX_INSTANCES:
        raise too_many(rows)


def _bad(message: str) -> ProblemError:
    return ProblemError(HTTPStatus.BAD_REQUEST, message)
