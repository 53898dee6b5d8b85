"""The clock, the disk or the ledger fails: what is loaded answers on, and the service says what is wrong."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.serving.conftest import eventually, promote
from tests.serving.reliability.flood import flood
from tests.serving.reliability.project import (
    BODY,
    OUTCOMES,
    PREDICT,
    Project,
    Running,
    outcome,
    serving,
)

pytestmark = pytest.mark.slow
CLOCK = (sys.executable, str(Path(__file__).with_name("clock_server.py")))
OUTCOME = json.dumps(outcome("h1")).encode()


def mount(*arguments: str) -> None:
    """Run ``mount``; where that is not allowed the test is skipped, and fails in continuous integration."""
    try:
        subprocess.run(["mount", *arguments], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        if os.environ.get("CI"):
            raise
        pytest.skip("this machine lets nobody mount a file system here")


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of its own at this folder."""
    folder.mkdir(parents=True)
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def logging(service: Running) -> dict[str, object]:
    """What ``/readyz`` says of the log."""
    return service.readyz()["systems"]["homes"]["logging"]


def alarmed(service: Running) -> bool:
    return not logging(service)["ok"] and service.metric("lifecycle_log_failing") == 1


def predictions(project: Project) -> list[str]:
    found: list[str] = project.compacted("predictions")["prediction_id"].to_list()
    assert len(set(found)) == len(found)
    return found


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Leave no byte free on the disk of this folder for the block."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
    yield
    ballast.unlink()


def answered(service: Running) -> str:
    status, content = service.ask("POST", PREDICT, BODY)
    assert status == 200
    return str(json.loads(content)["prediction_id"])


def test_a_full_disk_refuses_until_there_is_room_and_nothing_answered_is_lost(tmp_path):
    project = Project(tmp_path)
    with small_disk(project.settings.log, "1m"), serving(project) as service:
        told = [answered(service)]
        with full(project.settings.log):
            statuses = flood(service.address, PREDICT, [BODY], 256)
            assert statuses[503] > 0
            told_meanwhile = statuses[200]
            assert service.predict() == 503
            assert service.ask("POST", OUTCOMES, OUTCOME)[0] == 503
            assert alarmed(service)
            assert "No space left" in str(logging(service)["fault"])
        eventually(lambda: service.predict() == 200)
        eventually(lambda: service.ask("POST", OUTCOMES, OUTCOME)[0] == 200)
        assert not alarmed(service)
        told.append(answered(service))
        service.stop()
        logged = predictions(project)
        assert set(told) <= set(logged)
        assert len(logged) == len(told) + told_meanwhile + 1
        assert project.compacted("outcomes")["record_id"].to_list() == ["h1"]


def test_a_full_disk_is_counted_where_the_system_answers_all_the_same(tmp_path):
    project = Project(tmp_path, on_log_failure="serve-unlogged")
    with small_disk(project.settings.log, "1m"), serving(project) as service:
        told = [answered(service)]
        with full(project.settings.log):
            eventually(lambda: [answered(service)] and alarmed(service))
            before = service.metric("lifecycle_log_unlogged_total")
            statuses = flood(service.address, PREDICT, [BODY], 256)
            assert statuses == {200: 256}
            assert service.metric("lifecycle_log_unlogged_total") == before + 256
            assert service.ask("POST", OUTCOMES, OUTCOME)[0] == 503, "an outcome is never dropped"
        eventually(lambda: not alarmed(service))
        told.append(answered(service))
        unlogged = service.metric("lifecycle_log_unlogged_total")
        service.stop()
        assert set(told) <= set(predictions(project))
        assert project.unlogged() == unlogged, "the log says how much is not in it"


def test_a_log_folder_that_is_read_only_is_told_and_used_once_it_is_mended(tmp_path):
    project = Project(tmp_path)
    with small_disk(project.settings.log, "4m"), serving(project) as service:
        mount("-o", "remount,ro", str(project.settings.log))
        assert service.predict() == 503
        assert alarmed(service)
        assert "Read-only file system" in str(logging(service)["fault"])
        mount("-o", "remount,rw", str(project.settings.log))
        eventually(lambda: service.predict() == 200 and not alarmed(service))
        told = answered(service)
        service.stop()
        assert told in predictions(project)


def test_a_locked_ledger_is_told_and_what_is_live_answers_on(tmp_path):
    project = Project(tmp_path)
    with serving(project, environment={"LIFECYCLE_POLL_SECONDS": "0.1"}) as service:
        locked = sqlite3.connect(project.settings.state / "ledger.db", isolation_level=None)
        locked.execute("PRAGMA locking_mode = EXCLUSIVE")
        locked.execute("PRAGMA journal_mode = DELETE")
        locked.execute("BEGIN EXCLUSIVE")
        eventually(lambda: not service.readyz()["ledger"]["reachable"], 60)
        assert service.metric("lifecycle_ledger_reachable") == 0
        assert flood(service.address, PREDICT, [BODY], 256) == {200: 256}
        assert service.ask("GET", "/readyz")[0] == 200, "it goes on with what it has"
        locked.execute("ROLLBACK")
        locked.close()
        eventually(lambda: service.readyz()["ledger"]["reachable"], 60)
        assert service.metric("lifecycle_ledger_reachable") == 1


def test_a_worker_killed_while_the_ledger_is_gone_comes_back_with_what_the_others_answer(tmp_path):
    project = Project(tmp_path)
    with serving(project, workers=2) as service:
        away = tmp_path / "away"
        away.mkdir()
        files = [*project.settings.state.glob("ledger.db*")]
        for file in files:
            file.rename(away / file.name)
        eventually(lambda: service.metric("lifecycle_ledger_reachable") == 0, 30)
        before = service.workers()
        os.kill(before[0], signal.SIGKILL)
        eventually(lambda: len(service.workers()) == 2 and service.workers() != before, 30)
        assert {service.predict() for _ in range(40)} == {200}
        assert not any(service.readyz()["ledger"]["reachable"] for _ in range(40)), "the new one says so, too"
        for file in files:
            (away / file.name).rename(file)
        eventually(lambda: service.metric("lifecycle_ledger_reachable") == 2, 30)


def test_the_clock_may_be_set_back(tmp_path):
    project = Project(tmp_path)
    with serving(project, command=CLOCK) as service:
        told = [answered(service) for _ in range(3)]
        for number in range(2):
            service.process.send_signal(signal.SIGUSR1)
            told += [answered(service) for _ in range(3)]
            assert service.ask("POST", OUTCOMES, json.dumps(outcome(f"r{number}")).encode())[0] == 200
        release = project.releases.write(5.0)
        promote(project.ledger, release, version="2")
        eventually(lambda: service.readyz()["systems"]["homes"]["version"] == "2")
        told.append(answered(service))
        assert service.readyz()["ready"]
        assert service.metric("lifecycle_rows_total") == len(told)
        service.stop()
    assert sorted(predictions(project)) == sorted(told)
    # The clock may have gone back behind the hour, and parts of the log are one an hour.
    assert sorted(project.compacted("outcomes")["record_id"]) == ["r0", "r1"]
