"""MLflow's scoring protocol: what is read, refused, logged, and where it is found."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.serving.exchange import Answers, Asked, Reply, Request
from lifecycle.serving.formats.mlflow import MlflowScoring
from lifecycle.serving.formats.mlflow_bodies import json_columns
from lifecycle.serving.limits import MAX_INSTANCES
from lifecycle.serving.live_release import LiveRelease
from lifecycle.serving.problems import ProblemError
from tests.serving.conftest import ANSWER, HOME, eventually, promote
from tests.serving.test_serving_predict import open_release

SCORING = MlflowScoring()


@pytest.fixture(scope="module")
def live(tmp_path_factory) -> LiveRelease:
    return open_release(tmp_path_factory.mktemp("live"))


def read(live: LiveRelease, content: Any, media_type: bytes = b"application/json") -> Asked:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return SCORING.read(live, Request("POST", "", ((b"content-type", media_type),), body, 0.0))


def refuse(live: LiveRelease, content: Any, status: int = 400) -> str:
    with pytest.raises(ProblemError) as caught:
        read(live, content)
    reply = SCORING.refuse(caught.value)
    assert reply.status == status
    return json.loads(reply.body)["message"]


def test_the_model_sees_and_the_log_keeps_what_the_typed_endpoint_would(live):
    asked = read(live, {"dataframe_records": [HOME | {"foo": 1}, HOME | {"depth": None, "home_id": None}]})

    assert asked.shape == "columns"
    assert json.loads(asked.inputs)["columns"] == {
        name: [value, None if name in ("depth", "home_id") else value] for name, value in HOME.items()
    }
    assert asked.record_ids == ["h1", None]


def test_an_id_that_is_none_of_ours_is_no_reason_to_refuse(live):
    asked = read(live, {"inputs": [HOME | {"home_id": {"a": 1}}]})

    assert asked.record_ids is None
    assert "home_id" not in json.loads(asked.inputs)["columns"]


def test_the_only_input_of_a_model_needs_no_name():
    assert json_columns(b'{"inputs": ["brick", "wood"]}', ["wall"]).columns == {"wall": ["brick", "wood"]}
    with pytest.raises(ProblemError, match="several inputs"):
        json_columns(b'{"instances": [[1, 2]]}', ["wall", "area"])


def test_nothing_is_answered_with_nothing(live):
    asked = read(live, {"inputs": {name: [] for name in HOME}})
    answers = Answers(live.engine.predict(asked.tensors), [])

    assert json.loads(SCORING.write(live, Request("POST", "", (), b"", 0.0), asked, answers).body) == {
        "predictions": []
    }


def test_all_faults_are_told_with_their_rows(live):
    message = refuse(live, {"dataframe_records": [HOME, HOME | {"area": 1, "wall": "straw"}]})

    assert message.splitlines() == [
        "instance 1, area should be greater than or equal to 100",
        "instance 1, wall should be 'brick' or 'wood'",
    ]


@pytest.mark.parametrize("form", ["dataframe_records", "instances", "inputs"])
def test_too_many_rows_are_refused(live, form):
    assert "at most 10000" in refuse(live, {form: [HOME] * (MAX_INSTANCES + 1)}, 413)


def test_too_many_rows_of_csv_are_refused(live):
    with pytest.raises(ProblemError, match="more than 10000 rows"):
        read(live, b"area\n" + b"1\n" * (MAX_INSTANCES + 1), b"text/csv")


def test_records_that_differ_in_everything_are_refused_before_they_grow(live):
    assert "too many different" in refuse(live, {"inputs": [{str(i): 0} for i in range(5000)]})


@pytest.mark.parametrize("field", list(HOME))
@pytest.mark.parametrize("value", ["s3cret", ["s3cret"], {"s3cret": 1}, -918273645.5, "9182-73-64"])
@pytest.mark.parametrize("form", ["dataframe_records", "inputs"])
def test_no_value_comes_back_in_an_error(live, form, field, value):
    try:
        read(live, {form: [HOME | {field: value}]})
    except ProblemError as error:
        told = SCORING.refuse(error).body.decode()
        assert "s3cret" not in told
        assert "9182" not in told


FORMS = st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs", "params"])
CELLS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([1]) | st.just({})
)
NAMES = st.sampled_from([*HOME, "x"])
TABLES = (
    CELLS
    | st.lists(CELLS | st.dictionaries(NAMES, CELLS, max_size=6), max_size=3)
    | st.dictionaries(NAMES, CELLS | st.lists(CELLS, max_size=3), max_size=6)
    | st.fixed_dictionaries(
        {
            "columns": st.lists(NAMES, max_size=6),
            "data": st.lists(CELLS | st.lists(CELLS, max_size=6), max_size=3),
        }
    )
)


@settings(max_examples=60)
@given(content=st.dictionaries(FORMS, TABLES, max_size=2) | TABLES)
def test_whatever_is_sent_is_answered_or_refused(live, content):
    try:
        status = 200 if len(read(live, content).tensors) >= 0 else 0
    except ProblemError as error:
        status = SCORING.refuse(error).status
    assert status in (200, 400)


@settings(max_examples=60)
@given(body=st.binary(max_size=60) | st.text('a,"\n\r 1\x00é', max_size=60).map(str.encode))
def test_whatever_is_sent_as_csv_is_answered_or_refused(live, body):
    try:
        status = 200 if len(read(live, body, b"text/csv").tensors) >= 0 else 0
    except ProblemError as error:
        status = SCORING.refuse(error).status
    assert status in (200, 400)


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"inputs": ' + b"[" * 100_000, b'{"inputs": [{"area": "\\ud800"}]}']
)
def test_what_is_not_json_is_refused(live, body):
    assert "valid JSON" in refuse(live, body)


def test_csv_has_its_dates_too(live):
    asked = read(live, b"sold_on,area,beds,garden,wall,depth\n1996-01-31,1000,3,True,brick,50\n", b"text/csv")

    np.testing.assert_array_equal(asked.tensors.numbers, read(live, {"inputs": HOME}).tensors.numbers)


def test_statuses_that_mlflow_has_not_keep_theirs():
    def refused(status: int) -> Reply:
        return SCORING.refuse(ProblemError(HTTPStatus(status), "no"))

    from http import HTTPStatus

    codes = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "RESOURCE_DOES_NOT_EXIST"}
    codes |= {503: "TEMPORARILY_UNAVAILABLE", 500: "INTERNAL_ERROR", 413: "BAD_REQUEST"}
    for status, code in codes.items():
        reply = refused(status)
        assert (reply.status, json.loads(reply.body)) == (status, {"error_code": code, "message": "no"})
    assert (b"retry-after", b"1") in refused(503).headers


def test_where_one_system_is_served_it_needs_no_name(client, ledger, releases):
    assert (
        client.post("/invocations", json={"inputs": HOME}).json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    )
    promote(ledger, releases.write())
    eventually(lambda: client.get("/v1/homes").is_success)

    for path in ("/invocations", "/v1/homes/invocations"):
        answer = client.post(
            path, json={"dataframe_split": {"columns": list(HOME), "data": [list(HOME.values())]}}
        )
        assert answer.json() == {"predictions": [ANSWER]}
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-lifecycle-release"]
        nothing = client.post(path, json={"inputs": {name: [] for name in HOME}})
        assert nothing.json() == {"predictions": []}

    promote(ledger, releases.write(system="others"))
    eventually(lambda: client.get("/v1/others").is_success)
    refused = client.post("/invocations", json={"inputs": HOME})
    assert refused.status_code == 404
    assert "POST /v1/SYSTEM/invocations names it (live: homes, others)" in refused.json()["message"]
    assert client.post("/v1/others/invocations", json={"inputs": HOME}).json() == {"predictions": [ANSWER]}


def test_health_and_version_are_mlflows(client, ledger, releases):
    promote(ledger, releases.write())
    eventually(lambda: client.get("/v1/homes").is_success)

    for path in ("/ping", "/health"):
        assert (client.get(path).status_code, client.get(path).text) == (200, "\n")
    assert client.get("/version").text == "3.17.2"


def test_another_content_type_is_refused_in_plain_text(client, ledger, releases):
    promote(ledger, releases.write())
    eventually(lambda: client.get("/v1/homes").is_success)
    answer = client.post("/invocations", content=b"x", headers={"Content-Type": "application/xml"})

    assert answer.status_code == 415
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "text/csv" in answer.text
