"""Outcomes in a request: taken all or none, every fault named, no value shown."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.core.record import FieldSpec, RecordSchema
from lifecycle.serving.log.entries import OutcomeEntry
from lifecycle.serving.outcomes import MAX_OUTCOMES, accepted, read_outcomes
from lifecycle.serving.problems import ProblemError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TIME = "2026-02-01T06:00:00.000001+02:00"
GOOD = {"prediction_id": "p", "value": 1.5, "observed_at": TIME}


def schema(label: str = "number", key: str = "text", **bounds: Any) -> RecordSchema:
    fields = (
        FieldSpec(name="id", kind=key, record_id=True),
        FieldSpec(name="label", kind=label, label=True, **bounds),
    )
    return RecordSchema(name="Thing", fields=fields)


def read(content: Any, of: RecordSchema | None = None) -> list[OutcomeEntry]:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return read_outcomes(of or schema(), body, NOW)


def refused(content: Any, of: RecordSchema | None = None) -> list[tuple[str, int | None, str]]:
    with pytest.raises(ProblemError) as error:
        read(content, of)
    assert error.value.status == 422
    return [(it.field, it.instance, it.reason) for it in error.value.problem.faults or []]


def micros(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def test_one_outcome_or_several_become_entries() -> None:
    observed = micros(datetime(2026, 2, 1, 4, 0, 0, 1, tzinfo=UTC))
    assert read(GOOD) == [OutcomeEntry("p", None, 1.5, observed, micros(NOW))]
    several = read({"outcomes": [GOOD, {"record_id": "h", "value": 2, "observed_at": TIME}]})
    assert several[1] == OutcomeEntry(None, "h", 2.0, observed, micros(NOW))
    assert json.loads(accepted(len(several))) == {"accepted": 2}


def test_every_fault_of_every_outcome_is_named() -> None:
    faults = refused(
        {
            "outcomes": [
                GOOD,
                {"prediction_id": "p", "record_id": "h", "value": "secret", "observed_at": "yesterday"},
                {"value": None, "observed_at": None, "valeu": 1},
                [],
                {"prediction_id": "", "value": True, "observed_at": "2026-02-01T06:00:00"},
                {"prediction_id": 7, "value": 1, "observed_at": "2026-03-01T12:05:01Z"},
                {"record_id": "x" * 513, "value": 1, "observed_at": 7},
            ]
        }
    )
    assert faults == [
        ("prediction_id", 1, "and record_id exclude each other"),
        ("value", 1, "should be a finite number"),
        ("observed_at", 1, "should be a time with its offset, as 2026-01-31T06:00:00+00:00"),
        ("valeu", 2, "is not a field of an outcome; did you mean 'value'?"),
        ("prediction_id", 2, "is missing: send it or a record_id"),
        ("value", 2, "is missing"),
        ("observed_at", 2, "is missing"),
        ("", 3, "should be an object with a prediction_id or record_id, value and observed_at"),
        ("prediction_id", 4, "should not be empty"),
        ("value", 4, "should be a finite number"),
        ("observed_at", 4, "should be a time with its offset, as 2026-01-31T06:00:00+00:00"),
        ("prediction_id", 5, "should be text"),
        ("observed_at", 5, "should not be more than 5 minutes ahead of the server's clock"),
        ("record_id", 6, "should have at most 512 characters"),
        ("observed_at", 6, "should be a time with its offset, as 2026-01-31T06:00:00+00:00"),
    ]


def test_many_faults_are_counted_and_the_first_are_listed() -> None:
    with pytest.raises(ProblemError) as error:
        read({"outcomes": [{"prediction_id": "p"}] * 1000})
    assert len(error.value.problem.faults or []) == 20
    assert error.value.problem.fault_count == 2000


@pytest.mark.parametrize(
    ("label", "bounds", "good", "bad"),
    [
        ("number", {"ge": 0, "lt": 10}, [0, 9.99, 3], [-0.1, 10, "3", True, 10**400]),
        ("integer", {"gt": 0, "le": 3}, [1, 3.0], [0, 4, 1.5, False]),
        ("boolean", {}, [True, False, 0, 1, 1.0], [2, 0.5, "true", -1]),
    ],
)
def test_a_value_must_be_one_that_the_label_can_have(
    label: str, bounds: dict[str, float], good: list[Any], bad: list[Any]
) -> None:
    of = schema(label, **bounds)
    assert [it.value for it in read({"outcomes": [GOOD | {"value": v} for v in good]}, of)] == [
        *map(float, good)
    ]
    for value in bad:
        [(field, instance, _)] = refused(GOOD | {"value": value}, of)
        assert (field, instance) == ("value", None)


def test_a_number_too_large_for_a_float_is_refused() -> None:
    body = b'{"prediction_id": "p", "value": 1e400, "observed_at": "2026-02-01T06:00:00Z"}'
    with pytest.raises(ProblemError):
        read(body)


def test_a_records_id_is_text_as_predictions_have_it() -> None:
    whole = schema(key="integer")
    given = [{"record_id": key, "value": 1, "observed_at": TIME} for key in (7, "007", "-3")]
    assert [it.record_id for it in read({"outcomes": given}, whole)] == ["7", "7", "-3"]
    for key in (7.5, "seven", True, "", "1" * 99):
        assert refused({"record_id": key, "value": 1, "observed_at": TIME}, whole)[0][0] == "record_id"
    assert refused({"record_id": 7, "value": 1, "observed_at": TIME})[0] == (
        "record_id",
        None,
        "should be text",
    )


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"value": NaN}'])
def test_what_is_no_json_is_told_so(body: bytes) -> None:
    with pytest.raises(ProblemError) as error:
        read(body)
    assert error.value.status == 400


def test_a_batch_has_its_bounds() -> None:
    assert refused({"outcomes": []})[0][0] == "outcomes"
    assert refused({"outcomes": 3})[0][0] == "outcomes"
    assert len(read({"outcomes": [GOOD] * MAX_OUTCOMES})) == MAX_OUTCOMES
    with pytest.raises(ProblemError) as error:
        read({"outcomes": [GOOD] * (MAX_OUTCOMES + 1)})
    assert error.value.status == 413


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELD = st.sampled_from(["prediction_id", "record_id", "value", "observed_at", "outcomes"])


OUTCOME = st.dictionaries(FIELD, JSON, max_size=4) | st.fixed_dictionaries(
    {
        "record_id": st.text() | st.integers(),
        "value": st.sampled_from([0, 1, 2.5, True]),
        "observed_at": st.just(TIME),
    }
)


@settings(deadline=None)
@given(JSON | OUTCOME | st.fixed_dictionaries({"outcomes": st.lists(OUTCOME | JSON)}))
def test_whatever_json_comes_it_is_taken_or_refused(content: Any) -> None:
    for label in ("number", "integer", "boolean"):
        for key in ("text", "integer"):
            with suppress(ProblemError):
                for entry in read(content, schema(label, key)):
                    assert (entry.prediction_id is None) != (entry.record_id is None)
                    assert math.isfinite(entry.value)
