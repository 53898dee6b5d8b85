"""The probe measures a real server, and leaves no process behind however it ends."""

from __future__ import annotations

import json
import subprocess
import sys

import psutil
import pytest

from lifecycle.core.errors import StageError, UnavailableError
from lifecycle.core.requirements import Requirements
from lifecycle.core.settings import Settings
from lifecycle.serving import probe as probe_module
from lifecycle.serving.load import generator
from lifecycle.serving.probe import ServerProbe
from tests.serving.conftest import HOME, OWNED, eventually, still_running
from tests.serving.test_serving_store import flip, folder_of

pytestmark = pytest.mark.slow
NOTHING = Requirements()


@pytest.fixture
def probe(tmp_path, monkeypatch) -> ServerProbe:
    """A probe of a fraction of a second."""
    monkeypatch.setattr(probe_module, "PACE_SECONDS", 0.1)
    monkeypatch.setattr(probe_module, "LATENCY_SECONDS", 0.5)
    monkeypatch.setattr(probe_module, "SEARCH_SECONDS", 0.2)
    monkeypatch.setattr(probe_module, "STEP_SECONDS", 0.1)
    monkeypatch.setattr(generator, "LEAST_LAG_BOUND", 10.0)  # other tests may run on the same cores
    return ServerProbe(Settings(project=tmp_path))


@pytest.fixture(autouse=True)
def _leaves_no_process():
    before = psutil.Process().children(recursive=True)
    yield
    assert psutil.Process().children(recursive=True) == before


def test_the_required_rate_is_offered_and_memory_and_size_are_measured(probe, releases):
    release = releases.write()
    required = Requirements(latency_p99_ms=2000, throughput_per_s=40)
    found = probe.measure(release, [HOME, {**HOME, "beds": 1}], required)
    assert 0 < found.latency_p50_ms <= found.latency_p99_ms
    assert (found.offered_per_s, found.requests) == (40, 20)
    assert found.throughput_per_s >= 40
    assert 20 < found.memory_mb < 150
    assert 0 < found.ready_s < 30
    assert found.size_mb == pytest.approx(
        sum(file.stat().st_size for file in folder_of(release).iterdir()) / 1e6, abs=1e-3
    )


def test_a_release_about_people_is_measured_as_it_is_served_under_keys_that_nobody_keeps(probe, releases):
    release = releases.write(schema=OWNED)
    found = probe.measure(release, [HOME | {"owner": "ada"}], Requirements(throughput_per_s=40))
    assert found.requests == 20


def test_a_rate_that_is_not_sustained_is_not_told_as_the_throughput(probe, releases):
    """No server answers within a microsecond, so none sustains anything within it."""
    found = probe.measure(releases.write(), [HOME], Requirements(latency_p99_ms=1e-3, throughput_per_s=40))
    assert found.latency_p99_ms > 1e-3
    assert found.throughput_per_s == 0


def test_a_record_the_server_refuses_is_told_without_its_value(probe, releases):
    with pytest.raises(
        StageError, match=r"refused a record .* with 422: area should be greater than"
    ) as caught:
        probe.measure(releases.write(), [{**HOME, "area": 7.25}], NOTHING)
    assert "7.25" not in str(caught.value)


def test_a_release_that_does_not_load_is_told_at_once(probe, releases):
    release = releases.write()
    flip(folder_of(release) / "model.onnx")
    with pytest.raises(UnavailableError, match=r"did not get ready: .*model\.onnx was changed"):
        probe.measure(release, [HOME], NOTHING)


def test_a_folder_that_is_no_release_does_not_start(probe, releases):
    release = releases.write()
    (folder_of(release) / "manifest.json").unlink()
    with pytest.raises(UnavailableError, match=r"did not start: .*is not a release"):
        probe.measure(release, [HOME], NOTHING)


def test_there_must_be_something_to_send_and_somewhere_to_load_from(probe, releases):
    release = releases.write()
    with pytest.raises(StageError, match="no records to measure"):
        probe.measure(release, [], NOTHING)
    with pytest.raises(StageError, match="not in a local folder"):
        probe.measure(release.model_copy(update={"uri": "s3://bucket/release"}), [HOME], NOTHING)


MEASURE = """
import json, sys
from lifecycle.core.requirements import Requirements
from lifecycle.core.settings import Settings
from lifecycle.core.values import Release
from lifecycle.serving import probe
probe.LATENCY_SECONDS = 60.0
release = Release.model_validate_json(sys.argv[1])
probe.ServerProbe(Settings()).measure(release, [json.loads(sys.argv[2])], Requirements())
"""


def test_the_server_ends_when_whoever_measures_is_killed(releases):
    command = [sys.executable, "-c", MEASURE, releases.write().model_dump_json(), json.dumps(HOME)]
    with subprocess.Popen(command) as process:
        eventually(lambda: psutil.Process(process.pid).children())
        [server] = psutil.Process(process.pid).children()
        eventually(server.net_connections)
        process.kill()
    assert still_running([server]) == []
