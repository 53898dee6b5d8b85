"""What Prometheus sees is what the service did, whichever worker it asks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from lifecycle.core.errors import StorageError
from lifecycle.serving.metrics import Metrics, add_metrics
from lifecycle.serving.metrics.counts import BOUNDS
from lifecycle.serving.metrics.facts import Facts, ReleaseFact, SystemFact
from lifecycle.serving.metrics.whole import IDLE

DIGEST = "ab12" * 16
KEY = {"system": "homes", "release": DIGEST[:12], "share": "champion"}


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by name and labels, read by Prometheus's own parser; none is given twice."""
    found = {}
    for family in text_string_to_metric_families(metrics.scrape().body.decode()):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[name, frozenset(labels.items())]


def total(metrics: Metrics, name: str) -> float:
    return sum(found for (each, _), found in samples(metrics).items() if each == name)


@pytest.fixture
def opened() -> Iterator[list[Metrics]]:
    """Workers that the test leaves open."""
    workers: list[Metrics] = []
    yield workers
    for worker in workers:
        worker.stop()


def crash(metrics: Metrics) -> None:
    """What the kernel does to a killed worker: its lock is freed, and nothing more is written."""
    metrics._folder.close()
    metrics._folder = None


def test_answers_and_refusals_are_counted_per_system_release_and_share():
    metrics = Metrics()
    counts = metrics.counts("homes", DIGEST, "champion")
    for seconds in (0.0002, 0.0003, 0.012, 99.0):
        counts.answered(seconds, rows=2)
    counts.answered(0.001, 100, "arrow")
    counts.refused(422)
    counts.refused(503, "log-failure")
    metrics.counts("").refused(404)

    assert value(metrics, "lifecycle_requests_total", **KEY) == 7
    assert value(metrics, "lifecycle_rows_total", **KEY) == 108
    assert value(metrics, "lifecycle_answers_total", **KEY, format="json") == 4
    assert value(metrics, "lifecycle_answers_total", **KEY, format="arrow") == 1
    assert value(metrics, "lifecycle_errors_total", **KEY, code="422", reason="invalid") == 1
    assert value(metrics, "lifecycle_errors_total", **KEY, code="503", reason="log-failure") == 1
    assert value(metrics, "lifecycle_requests_total", system="", release="", share="") == 1
    assert value(metrics, "lifecycle_latency_seconds_bucket", **KEY, le="0.0002") == 1  # inclusive
    assert value(metrics, "lifecycle_latency_seconds_bucket", **KEY, le="0.0003") == 2
    assert value(metrics, "lifecycle_latency_seconds_bucket", **KEY, le="10") == 4
    assert value(metrics, "lifecycle_latency_seconds_bucket", **KEY, le="+Inf") == 5
    assert value(metrics, "lifecycle_latency_seconds_count", **KEY) == 5
    assert value(metrics, "lifecycle_latency_seconds_sum", **KEY) == pytest.approx(99.0135)


def test_the_log_switches_and_how_things_stand_are_told():
    facts = Facts(
        in_flight=3,
        queued=4,
        ledger_reachable=True,
        ledger_age=0.4,
        releases=(ReleaseFact("homes", DIGEST[:12], "7", 1700000000.0),),
        systems=(SystemFact("homes", waiting=True, faulty=True, log_lag=0.05, last_switch=0.8),),
    )
    metrics = Metrics(worker="0", facts=lambda: facts)
    metrics.log("homes").entries += 10
    metrics.log("homes").missed("sampled", 90)
    switches = metrics.switches("homes")
    switches.switches += 2
    switches.seconds += 1.5
    switches.failures += 1

    assert value(metrics, "lifecycle_log_entries_total", system="homes") == 10
    assert value(metrics, "lifecycle_log_unlogged_total", system="homes", reason="sampled") == 90
    assert value(metrics, "lifecycle_switch_seconds_count", system="homes") == 2
    assert value(metrics, "lifecycle_switch_seconds_sum", system="homes") == 1.5
    assert value(metrics, "lifecycle_switch_failures_total", system="homes") == 1
    assert value(metrics, "lifecycle_in_flight", worker="0") == 3
    assert value(metrics, "lifecycle_queued", worker="0") == 4
    assert value(metrics, "lifecycle_ledger_reachable", worker="0") == 1
    assert value(metrics, "lifecycle_ledger_age_seconds", worker="0") == 0.4
    assert value(metrics, "lifecycle_release_info", **KEY, version="7", worker="0") == 1
    assert value(metrics, "lifecycle_release_since_timestamp_seconds", **KEY, worker="0") == 1.7e9
    for name, expected in {
        "lifecycle_release_faulty": 1,
        "lifecycle_release_waiting": 1,
        "lifecycle_log_failing": 0,
        "lifecycle_log_lag_seconds": 0.05,
        "lifecycle_switch_last_seconds": 0.8,
    }.items():
        assert value(metrics, name, system="homes", worker="0") == expected
    assert value(metrics, "process_resident_memory_bytes", worker="0") > 1e6
    assert value(metrics, "process_cpu_seconds_total", worker="0") > 0
    assert total(metrics, "lifecycle_build_info") == 1


def test_every_metric_has_a_row_in_the_documentation():
    page = (Path(__file__).parents[2] / "docs" / "serving" / "seeing.md").read_text()
    families = text_string_to_metric_families(Metrics().scrape().body.decode())
    names = [family.name + ("_total" if family.type == "counter" else "") for family in families]
    assert [name for name in names if f"`{name}`" not in page] == []


def test_a_hostile_name_of_a_system_is_a_label_and_nothing_more():
    name = 'a"} 1\nlifecycle_requests_total{system="b'
    metrics = Metrics()
    metrics.counts(name, DIGEST, "champion").answered(0.001, 1)
    assert value(metrics, "lifecycle_requests_total", **{**KEY, "system": name}) == 1


def test_prometheus_may_ask_for_openmetrics():
    metrics = Metrics()
    metrics.counts("homes", DIGEST, "champion").answered(0.001, 1)
    app = FastAPI()
    add_metrics(app, metrics)

    async def ask(accept: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.get("/metrics", headers={"accept": accept})

    import asyncio

    plain = asyncio.run(ask("*/*"))
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    modern = asyncio.run(ask("application/openmetrics-text;version=1.0.0,text/plain;q=0.5"))
    assert modern.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    names = {family.name for family in read_openmetrics(modern.text)}
    assert {"lifecycle_requests", "lifecycle_latency_seconds", "lifecycle_build_info"} <= names


def test_a_release_that_is_neither_live_nor_asked_for_a_day_is_no_longer_shown():
    live = (ReleaseFact("homes", "live", "2", 0.0),)
    metrics = Metrics(facts=lambda: Facts(releases=live))
    for release in ("live", "old", "older"):
        metrics.counts("homes", release, "champion").answered(0.001, 1)
    whole = metrics.whole()
    for each in whole.totals.counts:
        each.changed -= {"live": 2 * IDLE, "old": IDLE / 2, "older": IDLE + 60}[each.release]
    newest = max(each.changed + IDLE / 2 for each in whole.totals.counts if each.release == "old")
    whole.forget_idle(newest)
    assert [each.release for each in whole.totals.counts] == ["live", "old"]


def test_the_last_minute_forgets_what_is_older(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("lifecycle.serving.metrics.service.time.monotonic", lambda: now[0])
    metrics = Metrics()
    counts = metrics.counts("homes", DIGEST, "champion")
    metrics.tick()
    for _ in range(60):  # one answer in a second, and every sixth request is refused
        now[0] += 1
        for _ in range(5):
            counts.answered(0.0008, 2)
        counts.refused(422)
        metrics.tick()
    rates = metrics.whole().rates("homes")
    assert rates.qps == pytest.approx(6)
    assert rates.rows == pytest.approx(10)
    assert (rates.refused, rates.failed) == (pytest.approx(1 / 6), 0)
    assert 0.0007 < rates.p50 < rates.p99 <= 0.001
    for _ in range(61):
        now[0] += 1
        metrics.tick()
    quiet = metrics.whole().rates("homes")
    assert (quiet.qps, quiet.p50, quiet.refused) == (0, None, 0)
    assert metrics.whole().rates("other").qps == 0


def test_two_workers_are_shown_as_one_whichever_is_asked(tmp_path, opened):
    opened += (Metrics(tmp_path, worker="0"), Metrics(tmp_path, worker="1"))
    first, second = opened
    for metrics in opened:
        metrics.tick()
        metrics.counts("homes", DIGEST, "champion").answered(0.001, 1)
        metrics.tick()
    assert value(first, "lifecycle_requests_total", **KEY) == 2
    assert value(second, "lifecycle_requests_total", **KEY) == 2
    assert {worker.worker for worker in first.whole().workers} == {"0", "1"}
    assert value(first, "process_cpu_seconds_total", worker="1") > 0
    assert second.whole().rates("homes").p50 == pytest.approx(0.00085)


def test_in_a_rolling_restart_the_younger_worker_of_a_name_is_shown(tmp_path, opened):
    old = Metrics(tmp_path, worker="0", facts=lambda: Facts(in_flight=1))
    new = Metrics(tmp_path, worker="0", facts=lambda: Facts(in_flight=2))
    opened += (old, new)
    new.tick()
    assert value(old, "lifecycle_in_flight", worker="0") == 2


def test_a_folder_that_cannot_be_written_stops_no_count_and_is_told(tmp_path, opened, caplog, monkeypatch):
    metrics = Metrics(tmp_path / "metrics")
    opened.append(metrics)
    (tmp_path / "metrics").rename(tmp_path / "away")
    (tmp_path / "metrics").write_text("in its place")
    metrics.counts("homes", DIGEST, "champion").answered(0.001, 1)
    metrics.tick()
    assert "cannot be written: Not a directory" in caplog.text
    assert value(metrics, "lifecycle_requests_total", **KEY) == 1
    assert total(metrics, "lifecycle_metrics_shared") == 0
    (tmp_path / "metrics").unlink()
    (tmp_path / "away").rename(tmp_path / "metrics")
    assert total(metrics, "lifecycle_metrics_shared") == 1
    assert metrics.fault == ""


def test_a_worker_that_cannot_share_at_all_does_not_start(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot share their counters"):
        Metrics(tmp_path / "file" / "metrics")


def test_a_damaged_file_is_told_and_the_rest_is_shown(tmp_path, opened, caplog):
    dead, alive = Metrics(tmp_path), Metrics(tmp_path)
    opened.append(alive)
    dead.tick()
    crash(dead)
    for file in tmp_path.glob("*.json"):
        file.write_bytes(b'{"worker":')
    alive.counts("homes", DIGEST, "champion").answered(0.001, 1)
    assert value(alive, "lifecycle_requests_total", **KEY) == 1
    assert "its counters are lost" in caplog.text


def test_a_worker_killed_while_it_added_up_the_dead_leaves_nothing_to_count_twice(tmp_path, opened):
    dead, alive = Metrics(tmp_path), Metrics(tmp_path)
    opened.append(alive)
    dead.counts("homes", DIGEST, "champion").answered(0.001, 1)
    dead.tick()
    crash(dead)
    kept = {file: file.read_bytes() for file in tmp_path.iterdir() if file.suffix in (".json", ".alive")}
    assert value(alive, "lifecycle_requests_total", **KEY) == 1
    for file, content in kept.items():  # as if the kill had come after the sum and before the removal
        if not file.exists():
            file.write_bytes(content)
    assert value(alive, "lifecycle_requests_total", **KEY) == 1
    assert value(alive, "lifecycle_requests_total", **KEY) == 1


STEPS = st.lists(
    st.tuples(st.sampled_from(["ask", "tick", "scrape", "kill", "end", "join"]), st.integers(0, 9)),
    min_size=5,
    max_size=60,
)


@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_no_sum_ever_falls_however_workers_come_and_go(tmp_path_factory, steps):
    """Workers answer, tell, are asked, are killed, end and begin; only what nobody saw is lost."""
    folder = tmp_path_factory.mktemp("metrics")
    workers, counted, told, lost, shown = [Metrics(folder)], {}, {}, 0, 0.0
    try:
        for step, pick in [*steps, ("scrape", 0)]:
            worker = workers[pick % len(workers)]
            number = id(worker)
            if step == "ask":
                worker.counts("homes", DIGEST, "champion").answered(BOUNDS[pick], 1)
                counted[number] = counted.get(number, 0) + 1
            elif step == "tick":
                worker.tick()
                told[number] = counted.get(number, 0)
            elif step == "scrape":
                whole = worker.whole()
                told[number] = counted.get(number, 0)
                now = sum(each.answered_total for each in whole.totals.counts)
                assert shown <= now <= sum(counted.values())
                assert now >= sum(told.values())
                shown = now
            elif step == "join":
                workers.append(Metrics(folder))
            elif len(workers) > 1:
                workers.remove(worker)
                if step == "kill":
                    lost += counted.get(number, 0) - told.get(number, 0)
                    crash(worker)
                else:
                    worker.stop()
                    told[number] = counted.get(number, 0)
                told["gone"] = told.get("gone", 0) + told.pop(number, 0)
                counted["gone"] = counted.get("gone", 0) + counted.pop(number, 0)
        for worker in workers:
            worker.tick()
        end = sum(each.answered_total for each in workers[0].whole().totals.counts)
        assert end == sum(counted.values()) - lost
        assert len(list(folder.glob("*.alive"))) == len(workers)
    finally:
        for worker in workers:
            worker.stop()


WORKER = """
import sys
from pathlib import Path
from lifecycle.serving.metrics import Metrics
metrics = Metrics(Path(sys.argv[1]))
metrics.start()
counts = metrics.counts("homes", "ab12" * 16, "champion")
for line in sys.stdin:
    for _ in range(int(line)):
        counts.answered(0.001, 1)
    metrics.tick()
    print(sum(each.answered_total for each in metrics.whole().totals.counts), flush=True)
metrics.stop()
"""


@pytest.mark.slow
def test_real_processes_share_their_counters_and_a_killed_one_is_not_forgotten(tmp_path, opened):
    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def answer(worker: subprocess.Popen[bytes], requests: int) -> int:
        worker.stdin.write(b"%d\n" % requests)
        worker.stdin.flush()
        return int(worker.stdout.readline())

    with start() as first, start() as second:
        try:
            assert answer(first, 1000) == 1000
            assert answer(second, 500) == 1500
            assert answer(first, 0) == 1500
            os.kill(second.pid, signal.SIGKILL)
            second.wait()
            assert answer(first, 1) == 1501
            first.stdin.close()
            assert first.wait() == 0
        finally:
            first.kill()
            second.kill()
    opened.append(Metrics(tmp_path))
    assert value(opened[0], "lifecycle_requests_total", **KEY) == 1501
    assert len(opened[0].whole().workers) == 1
