"""From bytes to bytes: what is answered, what is refused, and that no value comes back in an error."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.record import Record, schema_of
from lifecycle.core.release import MANIFEST, Manifest, read_schema
from lifecycle.core.roles import EventTime, Feature, Label, RecordId
from lifecycle.records.signing import Ed25519Signer
from lifecycle.serving.engine import load_engine
from lifecycle.serving.formats.reader import Refusals
from lifecycle.serving.formats.typed import read_patiently
from lifecycle.serving.limits import MAX_INSTANCES
from lifecycle.serving.live_release import LiveRelease
from lifecycle.serving.predicting import answer
from lifecycle.serving.problems import MAX_FAULTS, ProblemError
from lifecycle.serving.responses import Prediction, Predictions
from lifecycle.serving.store import VerifiedReleaseStore
from tests.serving.conftest import ANSWER, HOME, Releases, promote
from tests.simulators.ledger import LedgerSimulator


def open_release(folder, **facts: Any) -> LiveRelease:
    signer = Ed25519Signer(folder / "keys")
    deployment = promote(LedgerSimulator(), Releases(folder / "registry", signer).write(**facts))
    home = VerifiedReleaseStore(folder / "cache", signer).fetch(deployment.release)
    manifest = Manifest.model_validate_json((home / MANIFEST).read_bytes())
    return LiveRelease(deployment, manifest, read_schema(home), load_engine(home))


@pytest.fixture(scope="module")
def live(tmp_path_factory) -> LiveRelease:
    return open_release(tmp_path_factory.mktemp("live"))


def ask(live: LiveRelease, content: Any) -> dict[str, Any]:
    return json.loads(answer(live, json.dumps(content).encode()))


def refuse(live: LiveRelease, content: Any, status: int = 422) -> dict[str, Any]:
    with pytest.raises(ProblemError) as caught:
        ask(live, content)
    assert caught.value.status == status
    return json.loads(bytes(caught.value.response().body))


def test_one_record(live):
    content = ask(live, HOME)
    assert content == {
        "prediction": ANSWER,
        "prediction_id": content["prediction_id"],
        "record_id": "h1",
        "system": "homes",
        "release": live.digest,
        "version": "1",
    }
    Prediction.model_validate(content)


def test_several_records_are_answered_in_their_order(live):
    content = ask(live, {"instances": [HOME, {**HOME, "beds": 0, "home_id": None}]})
    assert content["predictions"] == [ANSWER, ANSWER - 300]
    assert content["record_ids"] == ["h1", None]
    Predictions.model_validate(content)


def test_optional_fields_and_the_id_may_be_left_out(live):
    bare = {name: value for name, value in HOME.items() if name not in ("depth", "home_id")}
    content = ask(live, bare)
    assert content["prediction"] == ANSWER - HOME["depth"]
    assert "record_id" not in content
    assert "record_ids" not in ask(live, {"instances": [bare]})


def test_a_classification_answers_its_decision_at_the_threshold_of_the_release(tmp_path):
    live = open_release(tmp_path, task="classification", threshold=float(ANSWER))
    assert ask(live, HOME)["decision"] is True
    content = ask(live, {"instances": [HOME, {**HOME, "beds": 0}]})
    assert content["decisions"] == [True, False]
    Predictions.model_validate(content)


@pytest.mark.parametrize(
    ("field", "value", "reason", "bound"),
    [
        ("area", 99.5, "should be greater than or equal to 100", {"ge": 100}),
        ("area", 20_001, "should be less than or equal to 20000", {"le": 20_000}),
        ("area", None, "should be a valid number", {}),
        ("area", float("nan"), "should be a finite number", {}),
        ("beds", 2.5, "should be a valid integer, got a number with a fractional part", {}),
        ("beds", 10**400, "should be less than or equal to 30", {"le": 30}),
        ("garden", "maybe", "should be a valid boolean, unable to interpret input", {}),
        ("wall", "straw", "should be 'brick' or 'wood'", {"expected": "'brick' or 'wood'"}),
        ("sold_on", "yesterday", "should be a valid date or datetime, input is too short", {}),
        ("note", "x" * 11, "should have at most 10 characters", {"max_length": 10}),
        ("depth", 1e39, "is beyond what the model can represent (float32)", {}),
        ("areas", 1, "is not a field of the record; did you mean 'area'?", {}),
        ("price", 1, "is not a field of the record", {}),
    ],
)
def test_a_bad_field_is_named_with_its_bound(live, field, value, reason, bound):
    problem = refuse(live, {**HOME, field: value})
    assert problem["faults"] == [{"field": field, "reason": reason, "bound": bound}]
    assert problem["detail"] == f"{field} {reason}"
    assert problem["title"] == "Unprocessable Entity"


def test_a_bad_field_of_one_of_several_is_named_with_its_position(live):
    without_area = {name: value for name, value in HOME.items() if name != "area"}
    problem = refuse(live, {"instances": [HOME, without_area, {**HOME, "depth": 1e39}]})
    assert problem["detail"] == "instance 1, area is missing"
    problem = refuse(live, {"instances": [HOME, {**HOME, "depth": 1e39}]})
    assert problem["faults"][0]["instance"] == 1


def test_a_long_list_of_faults_is_cut_and_counted(live):
    problem = refuse(live, {"instances": [{}] * 100})
    assert problem["fault_count"] == 500
    assert len(problem["faults"]) == MAX_FAULTS


@pytest.mark.parametrize("field", list(HOME))
@pytest.mark.parametrize("value", ["s3cret", ["s3cret"], {"s3cret": 1}, "1e999 s3cret", -918273645.5])
def test_no_value_comes_back_in_an_error(live, field, value):
    try:
        ask(live, {**HOME, field: value})
    except ProblemError as error:
        told = bytes(error.response().body).decode() + repr(error)
        assert "s3cret" not in told
        assert "918273645" not in told


@pytest.mark.parametrize("content", [None, 1, "text", [], [HOME], {}, {"instances": [1]}])
def test_what_is_not_a_record_is_refused(live, content):
    refuse(live, content)


@pytest.mark.parametrize("instances", [[], {}, None, "text"])
def test_instances_are_a_list_of_at_least_one(live, instances):
    problem = refuse(live, {"instances": instances})
    assert problem["detail"] == "instances should be a list of at least one record"


def test_too_many_instances_are_refused(live):
    problem = refuse(live, {"instances": [0] * (MAX_INSTANCES + 1)}, status=413)
    assert "10001 instances; at most 10000" in problem["detail"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": 1} x'])
def test_what_is_not_json_is_refused(live, body):
    with pytest.raises(ProblemError, match="the body is not JSON") as caught:
        answer(live, body)
    assert caught.value.status == 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["instances", *HOME]), inner),
)


@given(content=JSON | st.fixed_dictionaries({name: JSON | st.just(value) for name, value in HOME.items()}))
def test_whatever_is_sent_is_answered_or_refused(live, content):
    try:
        ask(live, content)
        status = 200
    except ProblemError as error:
        status = int(error.status)
    assert status in (200, 422)


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "sold_on": st.dates().map(date.isoformat),
    "area": st.floats(100, 20_000) | st.integers(100, 20_000),
    "beds": st.integers(0, 30),
    "garden": st.booleans(),
    "wall": st.sampled_from(["brick", "wood"]),
    "depth": st.none() | st.floats(-1e39, 1e39) | st.integers(-(10**400), 10**400),
    "note": st.none() | st.text(max_size=11),
    "home_id": st.none() | st.text(),
}
NEARLY = st.fixed_dictionaries({}, optional={name: value | JSON for name, value in VALUES.items()})


@given(records=st.lists(st.fixed_dictionaries(VALUES) | NEARLY, min_size=1, max_size=3), single=st.booleans())
def test_what_the_quick_reader_takes_the_patient_one_reads_alike(live, records, single):
    body = json.dumps(records[0] if single else {"instances": records}).encode()
    reader = live.reader
    try:
        read = [reader.one(body)] if single else reader.several(body).instances
        tensors, ids, _ = reader.encode(read)
    except Refusals:
        return
    patient = read_patiently(live, body)
    np.testing.assert_array_equal(tensors.numbers, patient.tensors.numbers)
    np.testing.assert_array_equal(tensors.categories, patient.tensors.categories)
    assert ids == patient.record_ids


class Visit(Record):
    """A record whose numbers and times have no bounds."""

    visit_id: Annotated[int, RecordId()]
    at: Annotated[date, EventTime()]
    count: Annotated[int, Feature()]
    wall: Annotated[str, Feature()]
    cost: Annotated[float, Label(delay=timedelta(0))]


def test_an_integer_no_float_can_hold_is_refused(tmp_path):
    live = open_release(tmp_path, schema=schema_of(Visit))
    problem = refuse(live, {"instances": [{"count": 1, "wall": "x"}, {"count": 10**400, "wall": "x"}]})
    assert problem["detail"] == "instance 1, count is beyond what the model can represent (float32)"


class SilentEngine:
    """Answers with what is no number, or not at all."""

    def __init__(self, outcome: float | Exception) -> None:
        self.outcome = outcome

    def predict(self, tensors):
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return np.full(len(tensors), self.outcome)


def with_engine(live: LiveRelease, outcome: float | Exception) -> LiveRelease:
    return LiveRelease(live.deployment, live.manifest, live.schema, SilentEngine(outcome))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_answer_that_is_no_number_is_an_error_not_an_answer(live, value):
    assert refuse(with_engine(live, value), HOME, 500)["detail"] == "the model has no finite answer"
    several = refuse(with_engine(live, value), {"instances": [HOME, HOME]}, 500)
    assert several["detail"] == "the model has no finite answer for instance 0"


def test_an_unforeseen_error_tells_its_place_to_the_log_and_nothing_to_anyone(live, caplog):
    problem = refuse(with_engine(live, ValueError("s3cret")), HOME, 500)
    assert "s3cret" not in json.dumps(problem)
    assert "s3cret" not in caplog.text
    assert "unforeseen ValueError at" in caplog.text
