"""Validation of columns from the record type: the same verdict that the endpoint gives on one record."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

import polars as pl
import pytest
from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from lifecycle.core.record import FieldSpec, Kind, Record, schema_of
from lifecycle.core.roles import EventTime, Feature, Label, RecordId
from lifecycle.data.batch import ROW, Batch
from lifecycle.data.parsing import parse, tidy
from lifecycle.data.tables import Sifted, sift

AS_OF = datetime(2026, 6, 1, tzinfo=UTC)


class Sample(Record):
    """A record with every kind of field and constraint."""

    sample: Annotated[int, RecordId()]
    taken: Annotated[date, EventTime()]
    level: Annotated[float, Feature(), Gt(-1), Lt(2.5)]
    count: Annotated[int, Feature(), Ge(0), Le(10)]
    flag: Annotated[bool, Feature()]
    kind: Annotated[Literal["red", "green"], Feature()]
    code: Annotated[str, Feature(), MinLen(2), MaxLen(4), Field(pattern="^[a-zé]+$")]
    noted: Annotated[datetime | None, Feature()]
    mass: Annotated[float, Label()]


SCHEMA = schema_of(Sample)
GOOD: dict[str, Any] = {
    "sample": 1,
    "taken": date(2026, 1, 1),
    "level": 0.5,
    "count": 3,
    "flag": True,
    "kind": "red",
    "code": "abc",
    "noted": None,
    "mass": 1.0,
}


def sifted(**columns: list[Any]) -> Sifted:
    """Samples that are good but for some columns."""
    length = len(next(iter(columns.values())))
    frame = pl.DataFrame({name: columns.get(name, [value] * length) for name, value in GOOD.items()})
    frame = frame.with_columns(sample=pl.Series(range(length))).insert_column(
        0, pl.Series(ROW, range(1, length + 1))
    )
    return sift(SCHEMA, Batch("samples", "user", {}, frame), AS_OF)


@pytest.mark.parametrize(
    ("name", "values", "faults"),
    [
        ("level", [-1.0, 2.5, math.nan], ["-1 or below", "2.5 or above", "NaN"]),
        ("level", [math.inf, None, 0], ["infinity", "null"]),
        ("count", [-1, 11, None, 10, 0], ["below 0", "above 10", "null"]),
        ("count", [3.0, 3.5, math.nan, 1e300], ["a fraction", "a number", "too large"]),
        ("flag", [0, 1, 2], ["a number"]),
        ("kind", ["red", "blue", "", None], ["not one of 2 choices", "not one of 2 choices", "null"]),
        ("code", ["é" * 4, "x", "abcde"], ["shorter than 2 characters", "longer than 4 characters"]),
        ("code", ["ab", "AB"], ["text of another form"]),
        ("taken", [datetime(2026, 1, 1), datetime(2026, 1, 1, 5), None], ["a time of day", "null"]),
        ("mass", [math.nan, -math.inf, None], ["NaN", "infinity"]),
    ],
)
def test_each_way_of_being_wrong_has_its_class(name: str, values: list[Any], faults: list[str]) -> None:
    found = sifted(**{name: values}).faults
    assert found["value"].to_list() == faults
    assert set(found["field"]) == {name}


def parsed(kind: Kind, *texts: str) -> list[Any]:
    """Text as CSV holds it, in the type of a field."""
    frame = pl.DataFrame({"text": texts}, schema={"text": pl.String}).select(tidy(pl.col("text")))
    return (
        frame.select(parse(FieldSpec(name="f", kind=kind), pl.col("text"), pl.String())).to_series().to_list()
    )


def test_text_is_parsed_as_people_write_it() -> None:
    assert parsed("number", "1", " 2.5 ", "-1e3", "+4", "1,5", "") == [1.0, 2.5, -1000.0, 4.0, None, None]
    assert parsed("integer", "4", "4.0", "1e3", "4.5", "9" * 18, "9" * 19) == [
        4,
        4,
        1000,
        None,
        10**18 - 1,
        None,
    ]
    assert parsed("boolean", "true", "No", "1", "0", "ON", "maybe") == [True, False, True, False, True, None]
    assert parsed("date", "2026-01-31", "2026-01-31T00:00", "2026-02-30", "31.1.2026") == [
        date(2026, 1, 31)
    ] * 2 + [
        None,
        None,
    ]


def test_times_become_utc_whatever_their_offset() -> None:
    six = datetime(2026, 1, 31, 6, tzinfo=UTC)
    assert parsed(
        "datetime",
        "2026-01-31T06:00:00Z",
        "2026-01-31 08:00+02:00",
        "2026-01-31T05:30:00-0030",
        "2026-01-31 06:00",
        "2026-01-31T06:00:00.000000+00:00",
        "2026-01-31",
        "2026-01-31T06:00:00.25Z",
        "2026-01-31T25:00:00Z",
    ) == [six] * 5 + [six - timedelta(hours=6), six + timedelta(milliseconds=250), None]


def test_years_that_no_calendar_has_are_refused() -> None:
    assert parsed("date", "0000-01-01", "9999-12-31", "0001-01-01") == [None, date.max, date.min]


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "level": st.floats(width=32),
    "count": st.integers(-3, 14),
    "kind": st.sampled_from(["red", "green", "", "Red", "blue"]),
    "code": st.text("abéZ1", max_size=6),
    "taken": st.dates(date(2020, 1, 1), date(2026, 5, 1)),
    "noted": st.none() | st.datetimes(timezones=st.timezones()),
    "flag": st.booleans(),
}


@settings(deadline=None, max_examples=60)
@given(st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=20))
def test_tables_and_the_endpoint_agree_on_what_is_valid(rows: list[dict[str, Any]]) -> None:
    """One record type, one verdict: pydantic on each record, expressions on the whole table."""
    request = SCHEMA.request_model()
    features = [field.name for field in SCHEMA.features]
    valid = []
    for row in rows:
        try:
            request.model_validate({name: row[name] for name in features})
            valid.append(True)
        except ValidationError:
            valid.append(False)
    columns = {name: [row[name] for row in rows] for name in VALUES}
    columns["noted"] = [value and value.astimezone(UTC) for value in columns["noted"]]
    result = sifted(**columns)
    assert result.read == len(rows)
    assert result.kept["sample"].to_list() == [i for i, ok in enumerate(valid) if ok]
    assert sorted(set(result.faults["row"])) == [i for i, ok in enumerate(valid, 1) if not ok]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.dates(date(2026, 5, 1), date(2026, 7, 1)), st.none() | st.floats(0, 9) | st.just(math.nan)
        ),
        min_size=1,
    )
)
def test_every_row_is_counted_exactly_once(rows: list[tuple[date, float | None]]) -> None:
    result = sifted(taken=[day for day, _ in rows], mass=[mass for _, mass in rows])
    parts = (result.kept.height, result.quarantined, result.future, result.immature)
    assert sum(parts) == result.read == len(rows)
    assert result.future == sum(day >= AS_OF.date() for day, _ in rows)
    assert all(day < AS_OF.date() for day in result.kept["taken"])
