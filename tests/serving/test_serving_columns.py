"""Columns are taken and refused exactly as records are, whatever they come as."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from lifecycle.core.record import MAX_TEXT, Record, schema_of
from lifecycle.core.roles import EventTime, Feature, Label, RecordId
from lifecycle.serving.exchange import Asked, Request
from lifecycle.serving.formats.arrays import as_list, masked
from lifecycle.serving.formats.typed import TypedJson, read_patiently
from lifecycle.serving.limits import MAX_INSTANCES
from lifecycle.serving.live_release import LiveRelease
from lifecycle.serving.problems import MAX_FAULTS, ProblemError
from tests.serving.conftest import HOME
from tests.serving.test_serving_predict import open_release


class Flat(Record):
    """One flat let: a field of every kind, with and without bounds, sure and optional."""

    flat_id: Annotated[int, RecordId()]
    let_on: Annotated[date, EventTime(), Feature()]
    listed_at: Annotated[datetime | None, Feature()] = None
    area: Annotated[float, Feature(), Gt(0), Lt(1000)]
    debt: Annotated[float | None, Feature()] = None
    rooms: Annotated[int, Feature(), Ge(1), Le(20)]
    steps: Annotated[int | None, Feature()] = None
    lift: Annotated[bool, Feature()]
    garden: Annotated[bool | None, Feature()] = None
    wall: Annotated[Literal["brick", "wood"], Feature()]
    heating: Annotated[Literal["gas", "none"] | None, Feature()] = None
    postcode: Annotated[str, Feature(), Field(pattern=r"^\d{4}$")]
    note: Annotated[str | None, Feature(), MinLen(2), MaxLen(8)] = None
    rent: Annotated[float, Label(delay=timedelta(days=30))]


FLATS = schema_of(Flat)
FLAT = {
    "flat_id": 7,
    "let_on": "2024-01-31",
    "listed_at": "2024-01-02T03:04:05.678901",
    "area": 70.5,
    "debt": 1e3,
    "rooms": 3,
    "steps": 12,
    "lift": True,
    "garden": False,
    "wall": "brick",
    "heating": "gas",
    "postcode": "1010",
    "note": "quiet",
}


@pytest.fixture(scope="module")
def live(tmp_path_factory) -> LiveRelease:
    return open_release(tmp_path_factory.mktemp("live"), schema=FLATS)


def read(live: LiveRelease, body: bytes) -> Asked:
    return TypedJson().read(live, Request("POST", "", (), body, 0.0))


def read_columns(live: LiveRelease, columns: Any) -> Asked:
    return read(live, json.dumps({"columns": columns}).encode())


def refuse(live: LiveRelease, columns: Any, status: int = 422) -> dict[str, Any]:
    with pytest.raises(ProblemError) as caught:
        read_columns(live, columns)
    assert caught.value.status == status
    return json.loads(caught.value.reply().body)


def outcome(ask: Callable[[], Asked]) -> tuple[Any, ...]:
    """All that a client or the model sees of a request that was read, or refused."""
    try:
        asked = ask()
    except ProblemError as problem:
        return int(problem.status), problem.problem.model_dump()
    return asked.tensors.numbers.tobytes(), asked.tensors.categories.tolist(), asked.record_ids


def as_columns(records: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [record[name] for record in records] for name in records[0]}


JUNK = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**30, -(10**400), 2**53 + 1, 2**63, float("nan"), float("inf"), 1e39, -0.0, 2.5])
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(
        ["true", "3", "3.0", " 4 ", "NaN", "2024-02-30", "1706659200", "brick\n", "1010\n", "\x00"]
    )
    | st.lists(st.integers(), max_size=2)
    | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)
)
TIMES = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1))
GOOD: dict[str, st.SearchStrategy[Any]] = {
    "flat_id": st.none() | st.integers(-(2**70), 2**70),
    "let_on": st.dates().map(date.isoformat) | st.sampled_from(["2024-01-31T00:00:00", 86400]),
    "listed_at": st.none() | TIMES.map(datetime.isoformat) | TIMES.map(lambda t: t.isoformat() + "+05:30"),
    "area": st.floats(0, 1000) | st.integers(0, 1000),
    "debt": st.none() | st.floats(-1e39, 1e39) | st.integers(-(10**40), 10**40),
    "rooms": st.integers(1, 20) | st.just(3.0),
    "steps": st.none() | st.integers() | st.sampled_from([10**38, 10**39, 10**400]),
    "lift": st.booleans() | st.sampled_from([0, 1, "yes"]),
    "garden": st.none() | st.booleans(),
    "wall": st.sampled_from(["brick", "wood"]),
    "heating": st.none() | st.sampled_from(["gas", "none"]),
    "postcode": st.from_regex(r"\A[0-9]{4}\Z"),
    "note": st.none() | st.text(min_size=1, max_size=9),
}
SOUND = st.fixed_dictionaries(GOOD)
MIXED = st.fixed_dictionaries({name: values | values | values | JUNK for name, values in GOOD.items()})


@settings(max_examples=50)
@given(records=st.lists(SOUND, min_size=1, max_size=4) | st.lists(MIXED, min_size=1, max_size=4))
def test_columns_are_taken_and_refused_as_records_are(live, records):
    as_records = outcome(lambda: read_patiently(live, json.dumps({"instances": records}).encode()))

    assert outcome(lambda: read_columns(live, as_columns(records))) == as_records


@settings(max_examples=50)
@given(records=st.lists(SOUND, min_size=1, max_size=4))
def test_what_the_log_keeps_reads_as_what_was_asked(live, records):
    columns = as_columns(records)
    try:
        asked = live.columns.read(columns)
    except ProblemError:
        return
    assert outcome(lambda: read(live, asked.inputs)) == outcome(lambda: asked)


NUMPY = {
    "rooms": ["float16", "float32", "float64", "int8", "int64", "uint64", "bool"],
    "steps": ["float32", "float64", "int64", "uint64"],
    "area": ["float16", "float32", "float64", "int8", "int64", "uint64", "bool"],
    "debt": ["float16", "float64", "int32", "uint64"],
    "lift": ["bool", "int8", "float64"],
    "garden": ["bool", "uint8"],
    "let_on": ["datetime64[D]", "datetime64[s]", "datetime64[ns]"],
    "listed_at": ["datetime64[D]", "datetime64[ms]", "datetime64[us]", "datetime64[ns]"],
    "wall": ["int64", "float64"],
}
CELLS: dict[str, list[Any]] = {
    "b": [True, False],
    "f": [0.0, 1.0, 2.5, 3.0, 20.0, 21.0, -1.0, 1000.0, np.nan, np.inf, 65504.0],
    "i": [0, 1, 3, 20, 21, 100, 127],
    "u": [0, 1, 3, 20, 21, 100, 255],
}
DAYS = np.array(["2024-01-31", "1700-01-01", "2261-12-31", "1970-01-01", "NaT"], "datetime64[D]").tolist()


@st.composite
def arrays(draw: st.DrawFn) -> tuple[str, np.ndarray[Any, Any]]:
    """A field, and three values of one of the dtypes that may be sent for it."""
    name = draw(st.sampled_from(list(NUMPY)))
    dtype = draw(st.sampled_from(NUMPY[name]))
    kind = np.dtype(dtype).kind
    if kind == "M":
        days = draw(st.lists(st.sampled_from(DAYS), min_size=3, max_size=3))
        values = np.array(days, "datetime64[D]").astype(dtype) + draw(st.sampled_from([0, 0, 1]))
    else:
        values = np.array(draw(st.lists(st.sampled_from(CELLS[kind]), min_size=3, max_size=3))).astype(dtype)
    missing = draw(st.just([False] * 3) | st.lists(st.booleans(), min_size=3, max_size=3))
    return name, masked(values, np.array(missing))


@settings(max_examples=300)
@given(field_and_array=arrays())
def test_a_numpy_array_is_checked_as_the_list_of_its_values(live, field_and_array):
    name, array = field_and_array
    others = {field: [value] * 3 for field, value in FLAT.items() if field != name}

    as_array = outcome(lambda: live.columns.read({**others, name: array}))

    assert as_array == outcome(lambda: live.columns.read({**others, name: as_list(array)}))


def test_optional_columns_and_the_id_may_be_left_out(live):
    optional = {"listed_at", "debt", "steps", "garden", "heating", "note", "flat_id"}
    asked = read_columns(live, {name: [value] for name, value in FLAT.items() if name not in optional})

    assert asked.record_ids is None
    assert np.isnan(asked.tensors.numbers).sum() == 4
    assert asked.shape == "columns"
    assert not asked.single


def test_the_log_keeps_a_json_body_as_it_came(live):
    body = b'{ "columns": ' + json.dumps({name: [value] for name, value in FLAT.items()}).encode() + b"}"

    assert read(live, body).inputs == body


def test_a_column_that_is_no_field_is_named_with_the_nearest(live):
    problem = refuse(live, {**{name: [value] for name, value in FLAT.items()}, "areas": [1]})

    assert problem["detail"] == "areas is not a field of the record; did you mean 'area'?"


def test_missing_and_ragged_columns_are_all_told_at_once(live):
    columns = {name: [value] for name, value in FLAT.items() if name not in ("area", "wall")}
    problem = refuse(live, {**columns, "rooms": [1, 2]})

    assert [(fault["field"], fault["reason"]) for fault in problem["faults"]] == [
        ("area", "is missing"),
        ("wall", "is missing"),
        ("rooms", "has 2 values where let_on has 1"),
    ]


@pytest.mark.parametrize(
    ("columns", "detail"),
    [
        ([], "columns should be an object with one list of values per field"),
        (None, "columns should be an object with one list of values per field"),
        ({name: [] for name in FLAT}, "columns should hold at least one row"),
        ({**{name: [value] for name, value in FLAT.items()}, "area": 3}, "area should be a list of values"),
    ],
)
def test_what_is_not_columns_is_refused(live, columns, detail):
    assert refuse(live, columns)["detail"] == detail


def test_too_many_rows_are_refused(live):
    problem = refuse(live, {name: [value] * (MAX_INSTANCES + 1) for name, value in FLAT.items()}, 413)

    assert "10001 instances; at most 10000" in problem["detail"]


def test_a_long_list_of_faults_is_cut_and_counted(live):
    columns = {name: [value] * 2000 for name, value in FLAT.items()}
    problem = refuse(live, {**columns, "area": [-1.0] * 2000, "rooms": [0] * 1999 + [1]})

    assert problem["fault_count"] == 3999
    assert len(problem["faults"]) == MAX_FAULTS
    assert problem["faults"][-1]["instance"] == 9


def test_a_fault_far_down_is_named_with_its_row(live):
    columns = {name: [value] * 3000 for name, value in FLAT.items()}
    problem = refuse(live, {**columns, "area": [1.0] * 2345 + [-5.25] + [1.0] * 654})

    assert problem["detail"] == "instance 2345, area should be greater than 0"
    assert "5.25" not in json.dumps(problem)


def test_a_text_without_a_limit_of_its_own_has_one(tmp_path):
    live = open_release(tmp_path)
    columns = {name: [value] for name, value in HOME.items()}

    assert (
        "at most 10000 characters" in refuse(live, {**columns, "home_id": ["x" * (MAX_TEXT + 1)]})["detail"]
    )
    assert read_columns(live, {**columns, "home_id": ["x" * MAX_TEXT]}).record_ids == ["x" * MAX_TEXT]


def test_moments_no_datetime_can_hold_are_refused(live):
    columns = {name: [value] for name, value in FLAT.items()}
    far = np.array([10**11 * 86_400], "datetime64[s]")
    with pytest.raises(ProblemError) as caught:
        live.columns.read({**columns, "let_on": far, "listed_at": far})

    assert {fault.field for fault in caught.value.problem.faults or ()} == {"let_on", "listed_at"}


def test_aware_and_naive_times_are_one_moment(live):
    columns = {name: [value] for name, value in FLAT.items()}
    noon = datetime(2024, 1, 2, 12, tzinfo=UTC)
    ways = [
        [noon],
        [noon.replace(tzinfo=None)],
        ["2024-01-02T13:00:00+01:00"],
        np.array(["2024-01-02T12"], "M8[s]"),
    ]

    assert (
        len({outcome(lambda way=way: live.columns.read({**columns, "listed_at": way}))[0] for way in ways})
        == 1
    )
