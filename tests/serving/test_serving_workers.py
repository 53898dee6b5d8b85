"""A service of several real worker processes: switched, restarted, killed and ended under load."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from lifecycle.core.errors import UnavailableError
from lifecycle.core.settings import Settings
from lifecycle.records.signing import Ed25519Signer
from lifecycle.serving import workers as workers_module
from lifecycle.serving.notice import notice_folder
from lifecycle.serving.process import Manner
from lifecycle.serving.workers import Workers
from lifecycle.wiring import open_ledger
from tests.serving.conftest import HOME, Releases, eventually, promote, still_running

pytestmark = pytest.mark.slow

BODY = json.dumps(HOME)


class Service:
    """A parent with its workers."""

    def __init__(self, process: subprocess.Popen[bytes], address: str) -> None:
        self.parent = psutil.Process(process.pid)
        self.process = process
        self.address = urlsplit(address).netloc

    def workers(self) -> set[int]:
        return {child.pid for child in self.parent.children()}

    def connect(self) -> http.client.HTTPConnection:
        """Keeps its connection, unless an answer says that it is closed."""
        return http.client.HTTPConnection(self.address, timeout=20)

    def get(self, path: str) -> tuple[int, dict]:
        connection = self.connect()
        connection.request("GET", path)
        answer = connection.getresponse()
        found = answer.status, json.loads(answer.read())
        connection.close()
        return found


def ask(connection: http.client.HTTPConnection) -> str:
    """The release that answers."""
    connection.request("POST", "/v1/homes/predict", BODY, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = json.loads(answer.read())
    assert answer.status == 200, content
    return content["release"]


class Load:
    """Clients that keep connections to all workers; each asks over one after the other."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._done = threading.Event()
        self.seen: list[list[str]] = [[], []]
        self.faults: list[Exception] = []
        self._threads = [threading.Thread(target=self._ask, args=(seen,)) for seen in self.seen]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        eventually(lambda: all(self.seen))
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, seen: list[str]) -> None:
        connections = [self._service.connect() for _ in range(6)]
        try:
            while not self._done.wait(0.01):
                for connection in connections:
                    seen.append(ask(connection))
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.faults.append(error)
        finally:
            for connection in connections:
                connection.close()

    def all_see(self, digest: str) -> None:
        eventually(lambda: self.faults or all(seen[-1] == digest for seen in self.seen), 30)


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Settings:
    return Settings(project=tmp_path_factory.mktemp("project"), home=Path(".lifecycle"), ledger_url="")


@pytest.fixture(scope="module")
def releases(settings) -> Releases:
    return Releases(settings.project / "registry", Ed25519Signer(settings.keys))


@pytest.fixture(scope="module")
def ledger(settings):
    ledger = open_ledger(settings)
    yield ledger
    ledger.close()


@contextmanager
def running(settings: Settings, workers: int) -> Iterator[Service]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LIFECYCLE_")}
    # It looks at the ledger by itself once a minute: what it sees before that, it was told.
    environment = {"LIFECYCLE_PROJECT": str(settings.project), "LIFECYCLE_POLL_SECONDS": "60"}
    environment["LIFECYCLE_DRAIN_SECONDS"] = "2"
    command = [sys.executable, "-m", "lifecycle", "serve", "--port", "0", "--workers", str(workers)]
    with (
        (settings.project / "service.log").open("ab") as log,
        subprocess.Popen(command, env=inherited | environment, stdout=subprocess.PIPE, stderr=log) as process,
    ):
        service = Service(process, json.loads(process.stdout.readline())["address"])
        family = service.parent.children()
        try:
            yield service
        finally:
            family += service.parent.children() if process.poll() is None else []
            process.terminate()
            process.wait(30)
            left = still_running(family)
            for each in left:
                each.kill()
            assert not left


@pytest.fixture(scope="module")
def service(settings, ledger, releases) -> Iterator[Service]:
    """Three workers for all these tests: each goes on from what the one before left."""
    promote(ledger, releases.write(0.0))
    with running(settings, 3) as service:
        eventually(lambda: service.get("/readyz")[0] == 200)
        yield service


def test_promotions_and_rolling_restarts_under_load_fail_nothing_and_no_answer_goes_back(
    service, ledger, releases
):
    before, order = service.workers(), [ledger.live("homes").release.digest]
    with Load(service) as load:
        for number in (1, 2):
            release = releases.write(float(number))
            order.append(release.digest)
            promote(ledger, release, version=str(number))
            load.all_see(release.digest)
        service.process.send_signal(signal.SIGHUP)
        third = releases.write(3.0)
        order.append(third.digest)
        promote(ledger, third, version="3")
        eventually(lambda: load.faults or not before & service.workers(), 60)
        load.all_see(third.digest)
    assert load.faults == []
    for seen in load.seen:
        assert seen == sorted(seen, key=order.index)
        assert set(seen) == set(order)
    assert len(service.workers()) == 3


def test_a_worker_that_is_killed_is_replaced_and_its_connections_wait(service, ledger):
    before = service.workers()
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    # Some of these come to the listener of the killed one, and wait for its successor.
    connections = [service.connect() for _ in range(12)]
    assert {ask(connection) for connection in connections} == {ledger.live("homes").release.digest}
    for connection in connections:
        connection.close()
    eventually(lambda: len(service.workers()) == 3)
    assert service.workers() & before == before - {victim}


def test_at_sigterm_all_workers_answer_on_and_then_end(service, settings):
    family = service.parent.children()
    with Load(service) as load:
        service.process.terminate()
        eventually(lambda: service.get("/readyz")[1]["draining"])
        enough = [len(seen) + 12 for seen in load.seen]
        eventually(lambda: load.faults or [len(seen) for seen in load.seen] > enough)
    assert load.faults == []
    assert service.process.wait(20) == 0
    assert still_running(family) == []
    left = {path.name.partition("-")[0] for path in notice_folder(settings.state).iterdir()}
    assert not left & {str(process.pid) for process in family}


def test_workers_end_when_their_parent_is_killed(settings, ledger, releases):
    with running(settings, 2) as service:
        family = service.parent.children()
        assert len(family) == 2
        service.process.kill()
        assert still_running(family) == []


def test_a_service_whose_workers_cannot_start_says_so_and_ends(monkeypatch):
    monkeypatch.setattr(workers_module, "log_to_stderr", lambda: None)  # other tests read the log
    command = [sys.executable, "-c", "raise SystemExit('no such ledger')"]
    workers = Workers(command, 2, dict(os.environ), Manner())
    with pytest.raises(UnavailableError, match="did not start"):
        workers.run("127.0.0.1", 0)
