"""The real serving process over the real ledger, key and cache, as ``lifecycle serve`` runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from lifecycle.core.settings import Settings
from lifecycle.records.signing import Ed25519Signer
from lifecycle.rollout.ledger import SqlLedger
from lifecycle.serving.client import Connection
from lifecycle.serving.store import VerifiedReleaseStore
from tests.serving.conftest import ANSWER, HOME, Releases, eventually, promote
from tests.serving.test_serving_store import flip, folder_of

pytestmark = pytest.mark.slow

SERVE = """
import json, sys
from lifecycle.core.settings import Settings
from lifecycle.wiring import serve
serve(Settings(), 0)
print(json.dumps(sorted(sys.modules)))
"""
FORBIDDEN = {
    "mlflow",
    "prefect",
    "dvc",
    "sklearn",
    "pandas",
    "polars",
    "pyarrow",
    "onnx",
    "matplotlib",
    "git",
    "psutil",
    "sqlalchemy",
    "psycopg",
    "yaml",
}


class Server:
    """A running server and one connection to it."""

    def __init__(self, process: subprocess.Popen[bytes], address: str) -> None:
        self.process = process
        self.address = address
        self._connection = Connection(address)

    def get(self, path: str) -> dict[str, Any]:
        return json.loads(self._connection.send(self._connection.prepare("GET", path))[1])

    def predict(self) -> dict[str, Any]:
        request = self._connection.prepare("POST", "/v1/homes/predict", json.dumps(HOME).encode())
        return json.loads(self._connection.send(request)[1])

    def is_ready(self) -> bool:
        return self._connection.send(self._connection.prepare("GET", "/readyz"))[0] == 200

    def stop(self) -> bytes:
        """Ask it to end; what else it printed."""
        self.process.terminate()
        return self.process.communicate(timeout=20)[0]

    def close(self) -> None:
        self._connection.close()
        self.process.kill()


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Settings:
    return Settings(project=tmp_path_factory.mktemp("project"), home=Path(".lifecycle"), ledger_url="")


@pytest.fixture(scope="module")
def releases(settings) -> Releases:
    return Releases(settings.project / "registry", Ed25519Signer(settings.keys))


@pytest.fixture(scope="module")
def ledger(settings) -> Iterator[SqlLedger]:
    ledger = SqlLedger(settings.ledger)
    yield ledger
    ledger.close()


@contextmanager
def start(settings: Settings) -> Iterator[Server]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LIFECYCLE_")}
    environment = {**inherited, "LIFECYCLE_PROJECT": str(settings.project)}
    log = settings.project / "server.log"
    with (
        log.open("ab") as stderr,
        subprocess.Popen(
            [sys.executable, "-c", SERVE], env=environment, stdout=subprocess.PIPE, stderr=stderr
        ) as process,
    ):
        server = Server(process, json.loads(process.stdout.readline())["address"])
        try:
            yield server
        finally:
            server.close()


@pytest.fixture(scope="module")
def server(settings, ledger, releases) -> Iterator[Server]:
    """One server for all these tests: each goes on from what the one before left live."""
    promote(ledger, releases.write(0.0))
    with start(settings) as server:
        eventually(server.is_ready)
        yield server


def test_promotions_under_load_fail_nothing_and_are_seen_in_order(server, ledger, releases):
    eventually(lambda: server.predict()["release"] == ledger.live("homes").release.digest)
    numbers = {ledger.live("homes").release.digest: 0}
    base = server.predict()["prediction"]
    done: list[bool] = []

    def ask(seen: list[tuple[int, float]]) -> None:
        with Connection(server.address) as connection:
            request = connection.prepare("POST", "/v1/homes/predict", json.dumps(HOME).encode())
            while not done:
                status, body = connection.send(request)
                assert status == 200
                seen.append((numbers[json.loads(body)["release"]], json.loads(body)["prediction"]))

    answers: list[list[tuple[int, float]]] = [[], []]
    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask, seen) for seen in answers]
        try:
            for number in (1, 2, 3):
                release = releases.write(base - ANSWER + number)
                numbers[release.digest] = number
                promote(ledger, release, version=str(number))
                eventually(lambda number=number: all(seen and seen[-1][0] == number for seen in answers))
        finally:
            done.append(True)
        for future in asking:
            future.result()
        for seen in answers:
            order = [number for number, _ in seen]
            assert order == sorted(order)
            assert set(order) == {0, 1, 2, 3}
            assert all(prediction == base + number for number, prediction in seen)


def test_a_tampered_release_is_refused_and_served_once_it_is_mended(server, ledger, releases):
    first, second = ledger.live("homes").release, releases.write(50.0)
    flip(folder_of(second) / "model.onnx")
    promote(ledger, second, version="2")
    eventually(lambda: (server.get("/readyz")["systems"]["homes"]["waiting"] or {}).get("attempts"))
    assert "model.onnx was changed" in server.get("/readyz")["systems"]["homes"]["waiting"]["reason"]
    assert server.predict()["release"] == first.digest
    assert server.is_ready()
    flip(folder_of(second) / "model.onnx")
    eventually(lambda: server.predict()["release"] == second.digest)


def test_the_ledger_may_go_and_come_back(server, settings):
    before = server.predict()
    away = settings.project / "away"
    away.mkdir()
    files = [*settings.state.glob("ledger.db*")]
    for file in files:
        file.rename(away / file.name)
    eventually(lambda: not server.get("/readyz")["ledger"]["reachable"])
    now = server.predict()
    assert (now["release"], now["prediction"]) == (before["release"], before["prediction"])
    assert server.is_ready()
    for file in files:
        (away / file.name).rename(file)
    eventually(lambda: server.get("/readyz")["ledger"]["reachable"])


def test_it_starts_from_a_cache_edited_meanwhile_stays_small_and_light_and_ends_at_sigterm(
    settings, ledger, releases
):
    release = releases.write(60.0)
    promote(ledger, release, version="60")
    flip(VerifiedReleaseStore(settings.releases, releases.signer).fetch(release) / "model.onnx")
    with start(settings) as server:
        eventually(server.is_ready)
        assert server.predict()["prediction"] == ANSWER + 60
        assert psutil.Process(server.process.pid).memory_info().rss < 120e6
        modules = {name.partition(".")[0] for name in json.loads(server.stop())}
    assert server.process.returncode == 0
    assert "onnxruntime" in modules
    assert modules & FORBIDDEN == set()
