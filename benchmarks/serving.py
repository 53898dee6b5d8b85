"""The serving process: how fast it is ready, what it holds, and how it answers."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice

import psutil

from benchmarks.bench import Bench
from benchmarks.commands import PYTHON, environment, resident_mb, run, seconds_of
from benchmarks.figure import Beside, Bound, Figure, Measured, Samples
from benchmarks.project import Project
from lifecycle.core.layout import Layout
from lifecycle.core.params import load_params
from lifecycle.core.release import read_schema
from lifecycle.core.requirements import Requirements
from lifecycle.core.values import Release
from lifecycle.data.reading import read_records
from lifecycle.serving.client import Connection
from lifecycle.serving.probe import ServerProbe
from lifecycle.wiring import open_ledger, open_store

UNWANTED = ("mlflow", "prefect", "dvc", "sklearn")
LIBRARIES = "fastapi, uvicorn, onnxruntime, cryptography"
READY_SECONDS = 30.0
RECORDS = 500
REQUESTS = 2000

# The same server, which tells at its end what it had imported.
_TELLING = """
import json, signal, sys
signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it once more when it has ended
from lifecycle.cli import main
try:
    main(["serve", "--port", "0"], standalone_mode=False)
finally:
    print(json.dumps(sorted(sys.modules)))
"""
_IMPORTING = f"""
import {LIBRARIES}
import psutil
print(psutil.Process().memory_info().rss / 1e6)
"""


@dataclass(frozen=True)
class _Start:
    """Seconds until it was ready, and its resident memory then and after requests, MB."""

    ready_s: float
    ready_mb: float
    asked_mb: float


def measure(bench: Bench) -> Figure:
    """Start the server of a live release several times, then ask the same release through the probe."""
    project, count, warm_ups = bench.project, bench.size.starts, bench.size.warm_ups
    live = _live(project)
    starts = [start(project, live.records) for _ in range(warm_ups + count)][warm_ups:]
    bench.say(f"serving: ready after {', '.join(f'{it.ready_s:.2f} s' for it in starts)}")
    importing = seconds_of([*PYTHON, "-c", f"import {LIBRARIES}"], count, warm_ups)
    holding = [run([*PYTHON, "-c", _IMPORTING], project.root, environment()) for _ in range(count)]
    unwanted = sorted(set(UNWANTED) & modules(project))
    probe = ServerProbe(project.settings)
    probed = [probe.measure(live.release, live.records, live.requirements) for _ in range(bench.size.updates)]
    bench.say(f"serving: p99 {', '.join(f'{it.latency_p99_ms:.2f} ms' for it in probed)}")
    limit = f'`python -c "import {LIBRARIES}"`'
    return Figure(
        name="serving",
        title="The serving process",
        how=(
            f"`lifecycle serve --port 0` with a live release of {bench.story.system} in the ledger; ready is "
            "the first 200 of `/readyz`, seconds from the start of the process, asked every 5 ms. Latency "
            "and throughput are the probe's that measures the requirements, open-loop: latency from when a "
            "request was due, at the required rate; throughput as the rate it was seen to sustain; single "
            "records of the test window, client and server on the same cores."
        ),
        lines=(
            Measured(
                "ready",
                Samples.of((it.ready_s for it in starts), "s"),
                Bound("at most", 2),
                Beside(limit, Samples.of(importing, "s")),
            ),
            Measured(
                "resident when ready",
                Samples.of((it.ready_mb for it in starts), "MB"),
                Bound("at most", 150),
                Beside("the same imports", Samples.of((float(it.stdout) for it in holding), "MB")),
            ),
            Measured(
                f"resident after {REQUESTS:,} requests",
                Samples.of((it.asked_mb for it in starts), "MB"),
                Bound("at most", 150),
            ),
            Measured(
                f"of {', '.join(UNWANTED)} in `sys.modules`",
                Samples((float(len(unwanted)),), ""),
                Bound("at most", 0),
            ),
            Measured("latency, median", Samples.of((it.latency_p50_ms for it in probed), "ms")),
            Measured("latency, 99th percentile", Samples.of((it.latency_p99_ms for it in probed), "ms")),
            Measured("throughput", Samples.of((it.throughput_per_s for it in probed), "requests/s")),
        ),
    )


def start(project: Project, records: Sequence[dict[str, object]]) -> _Start:
    """Start the server, wait until it is ready, ask it, look at its memory, and end it."""
    begun = time.perf_counter()
    with server(project, "-m", "lifecycle", "serve", "--port", "0") as process:
        address = wait_until_ready(process, begun)
        ready = time.perf_counter() - begun
        at_first = resident_mb(psutil.Process(process.pid))
        with Connection(address) as connection:
            for record in islice(cycle(records), REQUESTS):
                body = json.dumps(record).encode()
                request = connection.prepare("POST", f"/v1/{project.story.system}/predict", body)
                if (status := connection.send(request)[0]) != 200:
                    raise SystemExit(f"the server answered a record of the test window with {status}")
        return _Start(ready, at_first, resident_mb(psutil.Process(process.pid)))


def modules(project: Project) -> set[str]:
    """The packages that the server has imported by the time it is ready."""
    with server(project, "-c", _TELLING) as process:
        wait_until_ready(process, time.perf_counter())
        process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=READY_SECONDS)
    return {name.partition(".")[0] for name in json.loads(told)}


@dataclass(frozen=True)
class _Live:
    """What is live, in a local folder, what is required, and records of the newest test window."""

    release: Release
    requirements: Requirements
    records: list[dict[str, object]]


def _live(project: Project) -> _Live:
    settings, system = project.settings, project.story.system
    live = open_ledger(settings).live(system)
    if live is None:
        raise SystemExit(f"no release of {system} is live")
    folder = open_store(settings).fetch(live.release)
    layout = Layout(project.worktree, system)
    records = read_records(read_schema(folder), layout.data, layout.manifest, "test", RECORDS)
    requirements = load_params(project.root).system(system).requirements
    return _Live(live.release.model_copy(update={"uri": folder.as_uri()}), requirements, records)


@contextmanager
def server(
    project: Project, *words: str, extra: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Our server; it is killed at the end."""
    log = project.root.with_name("serving.log")
    with (
        log.open("w", encoding="utf-8") as stderr,
        subprocess.Popen(
            [*PYTHON, *words],
            cwd=project.root,
            env=environment(project.root, extra),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def wait_until_ready(process: subprocess.Popen[str], begun: float) -> str:
    """The server's address, once it is ready."""
    assert process.stdout is not None, "opened as a pipe"
    line = process.stdout.readline()
    if not line:
        raise SystemExit("the server ended before it listened")
    address = str(json.loads(line)["address"])
    with Connection(address) as connection:
        request = connection.prepare("GET", "/readyz")
        while connection.send(request)[0] != 200:
            if time.perf_counter() - begun > READY_SECONDS:
                raise SystemExit("the server did not get ready")
            time.sleep(0.005)
    return address
