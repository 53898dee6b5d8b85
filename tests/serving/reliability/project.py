"""A project of its own, its real serving processes, and clients that remember what they were told."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import psutil

from lifecycle.core.params import ServingParams
from lifecycle.core.settings import Settings
from lifecycle.data.log_files import ClearLog
from lifecycle.data.log_parts import CompactedLog, Kind
from lifecycle.records.signing import Ed25519Signer
from lifecycle.rollout.ledger import SqlLedger
from lifecycle.steps.compact import compact
from tests.serving.conftest import HOME, Releases, eventually, promote, still_running

SERVE = (sys.executable, "-m", "lifecycle", "serve", "--port", "0")
PREDICT = "/v1/homes/predict"
OUTCOMES = "/v1/homes/outcomes"
BODY = json.dumps(HOME).encode()
OBSERVED = "2024-02-01T00:00:00+00:00"


class Project:
    """A project with a live release of ``homes``.

    Args:
        folder: Its own.
        serving: How the release is served.
    """

    def __init__(self, folder: Path, **serving: Any) -> None:
        self.settings = Settings(project=folder, home=Path(".lifecycle"), ledger_url="")
        self.releases = Releases(folder / "registry", Ed25519Signer(self.settings.keys))
        self.ledger = SqlLedger(self.settings.ledger)
        self.release = self.releases.write(serving=ServingParams(**serving).model_dump())
        promote(self.ledger, self.release)

    @property
    def log(self) -> CompactedLog:
        """The Parquet side of its prediction log."""
        folder = self.settings.log / "homes"
        folder.mkdir(parents=True, exist_ok=True)
        return CompactedLog(folder, "homes", ClearLog())

    @property
    def stderr(self) -> str:
        """What its servers said."""
        return (self.settings.project / "server.log").read_text()

    def compacted(self, kind: Kind) -> pl.DataFrame:
        """All rows of the log, once it is compacted."""
        compact(self.log, datetime.now(UTC))
        paths = self.log.paths(kind)
        return (
            pl.concat([pl.read_parquet(path) for path in paths], how="diagonal_relaxed")
            if paths
            else pl.DataFrame()
        )

    def unlogged(self) -> int:
        """Requests of which the compacted log says that it does not hold them."""
        return sum(counts.requests for counts in self.log.listing().unlogged.values())

    def segments(self) -> int:
        """Segments that are not compacted yet, open ones included."""
        folders = (self.settings.log / "homes").glob("*segments")
        return sum(1 for folder in folders for _ in folder.iterdir())


class Running:
    """A service that answers."""

    def __init__(self, process: subprocess.Popen[bytes], address: str) -> None:
        self.process = process
        self.parent = psutil.Process(process.pid)
        self.address = address
        self.host = urlsplit(address).netloc

    def workers(self) -> list[int]:
        """Process ids of its workers."""
        return sorted(child.pid for child in self.parent.children())

    def connect(self, timeout: float = 20.0) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, timeout=timeout)

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """One request on a connection of its own."""
        connection = self.connect()
        try:
            return ask(connection, method, path, body)
        finally:
            connection.close()

    def predict(self, body: bytes = BODY) -> int:
        return self.ask("POST", PREDICT, body)[0]

    def readyz(self) -> dict[str, Any]:
        return json.loads(self.ask("GET", "/readyz")[1])

    def metric(self, name: str) -> float:
        """The sum of a metric over all its labels."""
        lines = self.ask("GET", "/metrics")[1].decode().splitlines()
        found = [line for line in lines if line.startswith((f"{name}{{", f"{name} "))]
        return sum(float(line.rpartition(" ")[2]) for line in found)

    def quantile(self, name: str, share: float) -> float:
        """Upper bound of the bucket of a histogram in which this share of all is reached."""
        lines = self.ask("GET", "/metrics")[1].decode().splitlines()
        found = [line for line in lines if line.startswith(f"{name}_bucket{{")]
        counts = [
            (line.partition('le="')[2].partition('"')[0], float(line.rpartition(" ")[2])) for line in found
        ]
        return next(float(bound) for bound, count in counts if count >= share * counts[-1][1])

    def rss(self) -> int:
        """Resident memory of whoever answers, bytes."""
        answering = self.parent.children() or [self.parent]
        return sum(process.memory_info().rss for process in answering)

    def stop(self) -> None:
        """Ask it to end, and wait for that."""
        self.process.terminate()
        self.process.wait(30)


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None
) -> tuple[int, bytes]:
    """One request on a connection that is kept; status and body of its answer."""
    connection.request(method, path, body, {"Content-Type": "application/json"} if body is not None else {})
    answer = connection.getresponse()
    return answer.status, answer.read()


def outcome(key: str, value: float = 1.0) -> dict[str, Any]:
    """An outcome of a record."""
    return {"record_id": key, "value": value, "observed_at": OBSERVED}


@contextmanager
def serving(
    project: Project,
    *,
    workers: int = 1,
    command: Sequence[str] = SERVE,
    environment: Mapping[str, str] = {},
) -> Iterator[Running]:
    """A service of this project, ready; nothing of it is left afterwards."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LIFECYCLE_")}
    own = {"LIFECYCLE_PROJECT": str(project.settings.project), "LIFECYCLE_SERVING_WORKERS": str(workers)}
    with (
        (project.settings.project / "server.log").open("ab") as log,
        subprocess.Popen(
            command, env={**inherited, **own, **environment}, stdout=subprocess.PIPE, stderr=log
        ) as process,
    ):
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said, project.stderr
        running = Running(process, json.loads(said)["address"])
        family = running.parent.children(recursive=True)
        try:
            eventually(lambda: running.ask("GET", "/readyz")[0] == 200)
            yield running
        finally:
            family += running.parent.children(recursive=True) if process.poll() is None else []
            process.terminate()
            process.wait(30)
            left = still_running(family)
            for each in left:
                each.kill()
            assert not left
