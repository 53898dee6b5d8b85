"""Measuring a release where it will run: a real serving process on this machine, asked over real sockets."""

from __future__ import annotations

import json
import select
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any
from urllib.parse import unquote, urlsplit

import numpy as np
import psutil

from lifecycle.core.errors import StageError, UnavailableError
from lifecycle.core.settings import Settings, quiet_environment
from lifecycle.core.values import Measurements, Release
from lifecycle.serving.client import Connection

READY_SECONDS = 60.0
"""Longest wait for a server to be ready."""

WARM_UP_REQUESTS = 50
LATENCY_REQUESTS = 2000
LATENCY_SECONDS = 3.0
"""Latency is measured over this many requests or this long, whichever ends first."""

LOAD_CONNECTIONS = 8
LOAD_SECONDS = 2.0


class ServerProbe:
    """Starts a server with one release, measures it, and ends it whatever happens.

    The server also ends by itself if this process dies: it watches its stdin.

    Args:
        settings: Where things are; the server gets its environment from them.
        estimator: The command that runs a scikit-learn estimator, for a release that needs one.
    """

    def __init__(self, settings: Settings, estimator: Sequence[str] = ()) -> None:
        self._settings = settings
        self._estimator = estimator

    def measure(self, release: Release, records: Sequence[dict[str, object]]) -> Measurements:
        """Latency at one connection, throughput at eight, memory, time to readiness and size.

        Args:
            release: In a local folder.
            records: JSON-ready request bodies, sent in turn.

        Raises:
            StageError: There is nothing to send, or the server refuses a record.
            UnavailableError: The server does not get ready, or stops answering.
        """
        if not records:
            raise StageError(f"{release.system}: no records to measure the server with")
        folder = _local_folder(release)
        path = f"/v1/{release.system}/predict"
        bodies = [json.dumps(record).encode() for record in records]
        with self._server(folder) as (process, address, ready_s):
            with Connection(address) as connection:
                requests = [connection.prepare("POST", path, body) for body in bodies]
                latencies = _latencies(connection, requests)
            throughput = _throughput(address, requests)
            memory = _resident(process.pid)
        p50, p99 = np.percentile(latencies, [50, 99])
        return Measurements(
            latency_p50_ms=round(float(p50) * 1e3, 3),
            latency_p99_ms=round(float(p99) * 1e3, 3),
            throughput_per_s=round(throughput, 1),
            memory_mb=round(memory / 1e6, 1),
            ready_s=round(ready_s, 3),
            size_mb=round(sum(file.stat().st_size for file in folder.iterdir()) / 1e6, 3),
            requests=len(latencies),
        )

    @contextmanager
    def _server(self, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str, float]]:
        """A ready server: its process, its address and how long it took, seconds."""
        module = [sys.executable, "-m", "lifecycle.serving"]
        command = [*module, "--release", str(folder), "--port", "0", "--until-eof"]
        if self._estimator:
            command += ["--estimator", shlex.join(self._estimator)]
        start = time.perf_counter()
        with (
            TemporaryFile() as log,
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=quiet_environment(self._settings),
            ) as process,
        ):
            try:
                address = _address(process, log, start)
                _wait_until_ready(address, start)
                yield process, address, time.perf_counter() - start
            except OSError as error:
                raise UnavailableError(
                    f"the server to measure stopped answering: {type(error).__name__}", hint="measure again"
                ) from error
            finally:
                process.kill()


def _resident(pid: int) -> int:
    """Memory of a process and of those it started, bytes; what they share counts for each."""
    server = psutil.Process(pid)
    return sum(process.memory_info().rss for process in (server, *server.children(recursive=True)))


def _local_folder(release: Release) -> Path:
    parts = urlsplit(release.uri)
    folder = Path(unquote(parts.path))
    if parts.scheme not in ("", "file") or not folder.is_dir():
        raise StageError(
            f"release {release.digest[:12]} is not in a local folder", hint="fetch it before measuring it"
        )
    return folder


def _address(process: subprocess.Popen[bytes], log: IO[bytes], start: float) -> str:
    """What the server prints once it listens."""
    assert process.stdout is not None
    remaining = start + READY_SECONDS - time.perf_counter()
    heard, _, _ = select.select([process.stdout], [], [], remaining)
    line = process.stdout.readline() if heard else b""
    if not line:
        log.seek(0)
        last = log.read().decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise UnavailableError(
            f"the server to measure did not start: {last[0]}", hint="run it by hand to see"
        )
    return str(json.loads(line)["address"])


def _wait_until_ready(address: str, start: float) -> None:
    with Connection(address) as connection:
        request = connection.prepare("GET", "/readyz")
        while True:
            status, body = connection.send(request)
            if status == 200:
                return
            if time.perf_counter() - start > READY_SECONDS or _failed(json.loads(body)):
                raise UnavailableError(
                    f"the server to measure did not get ready: {body.decode()}",
                    hint="the release does not load in a server",
                )
            time.sleep(0.01)


def _failed(readiness: dict[str, Any]) -> bool:
    """Whether the one release was tried and does not load."""
    return any((system["waiting"] or {}).get("attempts") for system in readiness["systems"].values())


def _latencies(connection: Connection, requests: Sequence[bytes]) -> list[float]:
    """Seconds of each request, one after the other."""
    source = cycle(requests)
    for _ in range(WARM_UP_REQUESTS):
        _send(connection, next(source))
    latencies: list[float] = []
    end = time.perf_counter() + LATENCY_SECONDS
    while len(latencies) < LATENCY_REQUESTS and (start := time.perf_counter()) < end:
        _send(connection, next(source))
        latencies.append(time.perf_counter() - start)
    return latencies


def _throughput(address: str, requests: Sequence[bytes]) -> float:
    """Requests a second over several connections at once."""
    start = time.perf_counter()
    end = start + LOAD_SECONDS

    def load(first: int) -> int:
        source = cycle([*requests[first:], *requests[:first]])
        count = 0
        with Connection(address) as connection:
            while time.perf_counter() < end:
                _send(connection, next(source))
                count += 1
        return count

    with ThreadPoolExecutor(LOAD_CONNECTIONS) as pool:
        counts = list(pool.map(load, [i % len(requests) for i in range(LOAD_CONNECTIONS)]))
    return sum(counts) / (time.perf_counter() - start)


def _send(connection: Connection, request: bytes) -> None:
    status, body = connection.send(request)
    if status != 200:
        raise StageError(
            f"the server refused a record of the test window with {status}: {json.loads(body)['detail']}",
            hint="the record type and the rows do not agree",
        )
