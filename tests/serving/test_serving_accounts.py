"""Every answer is kept: in the log before it is sent, and in the counters; or it is said why not."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from lifecycle.core.params import ServingParams
from lifecycle.serving.app import create_app
from lifecycle.serving.log.entries import PredictionEntry, SchemaEntry, UnloggedEntry
from lifecycle.serving.log.segment import read_segment
from tests.serving.conftest import ANSWER, HOME, HOMES, LANES, Service, eventually, promote

PREDICT = "/v1/homes/predict"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def serve(ledger, store, releases, tmp_path):
    """Starts a service whose release is served on these terms, with its log in ``tmp_path / "log"``."""

    @contextmanager
    def start(lane=LANES["fast lane"], **terms: object) -> Iterator[httpx.Client]:
        logging = {name: terms.pop(name) for name in ("logging", "logging_share") if name in terms}
        promote(ledger, releases.write(serving=ServingParams(**terms), **logging))
        app = create_app(ledger, store, poll_seconds=0.02, log=tmp_path / "log")
        with Service(app, lane) as client:
            eventually(lambda: client.get("/v1").json()["systems"] == ["homes"])
            yield client

    return start


def logged(folder: Path) -> list[object]:
    segments = sorted((folder / "log" / "homes" / "segments").glob("*.seg"))
    return [entry for segment in segments for entry in read_segment(segment)]


def predictions(folder: Path) -> list[PredictionEntry]:
    return [entry for entry in logged(folder) if isinstance(entry, PredictionEntry)]


@pytest.mark.parametrize("durability", ["process", "power", "relaxed"])
@pytest.mark.parametrize("lane", LANES.values(), ids=LANES)
def test_an_answer_is_in_the_log_with_all_that_made_it(serve, ledger, tmp_path, lane, durability):
    headers = {"X-Request-ID": "order-7", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    with serve(lane, durability=durability) as client:
        one = client.post(PREDICT, json=HOME, headers=headers).json()
        several = client.post(PREDICT, json={"instances": [HOME, {**HOME, "beds": 0}]}).json()
    schema, first, second = logged(tmp_path)
    digest = ledger.live("homes").release.digest
    assert isinstance(schema, SchemaEntry)
    assert (schema.release, json.loads(schema.schema)) == (digest, HOMES.model_dump(mode="json"))
    assert (first.id, first.release, first.version, first.share) == (
        one["prediction_id"],
        digest,
        "1",
        "champion",
    )
    assert (first.request_id, first.trace_id, first.shape) == ("order-7", TRACE, "record")
    assert json.loads(first.inputs) == HOME
    assert np.frombuffer(first.predictions).tolist() == [one["prediction"]]
    assert first.latency_us >= 0
    assert second.shape == "instances"
    assert [f"{second.id}-{row}" for row in range(2)] == several["prediction_ids"]
    assert np.frombuffer(second.predictions).tolist() == several["predictions"]


def test_a_prediction_is_in_the_log_before_its_answer_is_read(serve, tmp_path):
    with serve() as client:
        answer = client.post(PREDICT, json=HOME).json()
        [segment] = (tmp_path / "log" / "homes" / "segments").glob("*.open")
        entries = [entry for entry in read_segment(segment) if isinstance(entry, PredictionEntry)]
        assert [entry.id for entry in entries] == [answer["prediction_id"]]


def test_a_refused_request_is_counted_and_not_logged(serve, tmp_path):
    with serve() as client:
        assert client.post(PREDICT, json={}).status_code == 422
        assert client.post("/v1/huts/predict", json=HOME).status_code == 404
        metrics = client.get("/metrics").text
    assert predictions(tmp_path) == []
    families = {family.name: family for family in text_string_to_metric_families(metrics)}
    refused = {
        (sample.labels["system"], sample.labels["code"])
        for family in families.values()
        for sample in family.samples
        if sample.labels.get("code") and sample.value
    }
    assert {("homes", "422"), ("", "404")} <= refused


def test_a_system_may_log_a_share_always_the_same_records_and_count_the_rest(serve, tmp_path):
    with serve(logging="sampled", logging_share=0.3) as client:
        for _ in range(2):
            for number in range(50):
                client.post(PREDICT, json={**HOME, "home_id": f"h{number}"})
    names = [json.loads(entry.inputs)["home_id"] for entry in predictions(tmp_path)]
    assert 0 < len(names) < 100
    assert sorted(names) == sorted([name for name in set(names) for _ in range(2)])
    unlogged = [entry for entry in logged(tmp_path) if isinstance(entry, UnloggedEntry)]
    assert sum(entry.requests for entry in unlogged) == 100 - len(names)
    assert {entry.reason for entry in unlogged} == {"sampled"}


def test_a_system_may_log_nothing(serve, tmp_path):
    with serve(logging="none") as client:
        assert client.post(PREDICT, json=HOME).json()["prediction"] == ANSWER
    assert not (tmp_path / "log").exists()


@pytest.fixture
def full_disk(monkeypatch):
    """Writing to a segment fails as on a full disk, as long as the list holds anything."""
    full: list[bool] = []

    def refusing(call):
        def refuse(*arguments):
            if full:
                raise OSError(28, "No space left on device")
            return call(*arguments)

        return refuse

    for name in ("write", "writev", "pwrite", "pwritev"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))
    return full


def test_what_cannot_be_logged_is_refused_until_it_can(serve, tmp_path, full_disk):
    with serve() as client:
        before = client.post(PREDICT, json=HOME).json()
        full_disk.append(True)
        refused = client.post(PREDICT, json=HOME)
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert "the prediction log cannot be written" in refused.json()["detail"]
        assert not client.get("/readyz").json()["systems"]["homes"]["logging"]["ok"]
        full_disk.clear()
        eventually(lambda: client.post(PREDICT, json=HOME).status_code == 200)
    entries = predictions(tmp_path)
    assert entries[0].id == before["prediction_id"]
    assert len(entries) == 2


def test_or_it_is_answered_counted_and_alarmed_if_the_system_says_so(serve, tmp_path, full_disk):
    with serve(on_log_failure="serve-unlogged") as client:
        client.post(PREDICT, json=HOME)
        full_disk.append(True)
        for _ in range(3):
            assert client.post(PREDICT, json=HOME).json()["prediction"] == ANSWER
        told = 'lifecycle_log_unlogged_total{reason="failed",system="homes"} 3.0'
        eventually(lambda: told in client.get("/metrics").text)
        full_disk.clear()
    unlogged = [entry for entry in logged(tmp_path) if isinstance(entry, UnloggedEntry)]
    assert sum(entry.requests for entry in unlogged) == 3


def test_the_live_page_shows_what_is_live_and_how_it_is_logged(serve):
    with serve(durability="power") as client:
        page = client.get("/").text
        assert "homes" in page
        assert "on the disk before it is sent" in page
        assert client.get("/status.json").json()["systems"]["homes"]["state"] == "answers"


def test_entries_are_what_the_log_says_they_are():
    entry = PredictionEntry("a", 1, "r", "1", "champion", 2, "", "", "record", b"{}", b"")
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(entry), type=PredictionEntry) == entry


OUTCOME = {"record_id": "h1", "value": 2500.0, "observed_at": "2024-02-01T00:00:00Z"}


@pytest.mark.parametrize("lane", LANES.values(), ids=LANES)
@pytest.mark.parametrize("durability", ["process", "power", "relaxed"])
def test_outcomes_are_stored_when_they_are_acknowledged(serve, tmp_path, lane, durability):
    with serve(lane, durability=durability) as client:
        first = client.post("/v1/homes/outcomes", json=OUTCOME)
        assert (first.status_code, first.json()) == (200, {"accepted": 1})
        several = [{**OUTCOME, "record_id": None, "prediction_id": f"p{i}"} for i in range(300)]
        assert client.post("/v1/homes/outcomes", json={"outcomes": several}).json() == {"accepted": 300}
        segments = (tmp_path / "log" / "homes" / "outcome-segments").iterdir()
        stored = [entry for segment in segments for entry in read_segment(segment)]
    assert [entry.record_id or entry.prediction_id for entry in stored] == [
        "h1",
        *(f"p{i}" for i in range(300)),
    ]


def test_outcomes_that_do_not_fit_are_refused_all_together(serve, tmp_path):
    with serve() as client:
        bad = {"outcomes": [OUTCOME, {**OUTCOME, "value": "s3cret"}]}
        refused = client.post("/v1/homes/outcomes", json=bad)
        assert refused.status_code == 422
        assert "s3cret" not in refused.text
        assert refused.json()["faults"][0]["instance"] == 1
        assert client.post("/v1/huts/outcomes", json=OUTCOME).status_code == 404
    assert not (tmp_path / "log" / "homes" / "outcome-segments").exists()


def test_outcomes_on_a_full_disk_are_refused_whatever_the_system_says_of_predictions(serve, full_disk):
    with serve(on_log_failure="serve-unlogged") as client:
        full_disk.append(True)
        refused = client.post("/v1/homes/outcomes", json=OUTCOME)
        assert refused.status_code == 503
        assert "none of them was" in refused.json()["detail"]
        assert not client.get("/readyz").json()["systems"]["homes"]["logging"]["ok"]
        full_disk.clear()
        eventually(lambda: client.post("/v1/homes/outcomes", json=OUTCOME).status_code == 200)
