"""Measuring a release where it will run: a real serving process on this machine, asked over real sockets."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from itertools import cycle

import psutil

from lifecycle.core.capacity import LoadPoint
from lifecycle.core.errors import StageError, UnavailableError
from lifecycle.core.requirements import Requirements
from lifecycle.core.settings import Settings
from lifecycle.core.values import Measurements, Release
from lifecycle.serving.client import Connection
from lifecycle.serving.load.generator import OpenLoop
from lifecycle.serving.load.search import Search
from lifecycle.serving.trial import TrialServer, local_folder, trial_server

WARM_UP_REQUESTS = 50
PACE_SECONDS = 0.4
"""One connection, one request after the other: the pace that guides what is offered next."""

LATENCY_SECONDS = 2.5
"""How long the required rate is offered."""

LIGHT = 0.3
"""Share of the pace that is offered where no rate is required."""

SEARCH_SECONDS = 2.5
STEP_SECONDS = 0.4
"""The search for the throughput tries rates for this long each, and begins none after that long in all."""

UNBOUNDED_MS = 1000.0
"""Latency that counts as too late where no latency is required, ms."""

_SEED = 7


class ServerProbe:
    """Starts a server with one release, measures it, and ends it whatever happens.

    Args:
        settings: Where things are; the server gets its environment from them.
        estimator: The command that runs a scikit-learn estimator, for a release that needs one.
    """

    def __init__(self, settings: Settings, estimator: Sequence[str] = ()) -> None:
        self._settings = settings
        self._estimator = estimator

    def measure(
        self, release: Release, records: Sequence[dict[str, object]], requirements: Requirements
    ) -> Measurements:
        """Latency at the required rate, the rate that can be sustained, memory, time to readiness and size.

        All of it open-loop, as ``lifecycle capacity`` measures, in some six seconds.

        Args:
            release: In a local folder.
            records: JSON-ready request bodies, sent in turn.
            requirements: The rate and latency that are asked for.

        Raises:
            StageError: There is nothing to send, or the server refuses a record.
            UnavailableError: The server does not get ready, stops answering, or cannot be offered the
                required rate from this machine.
        """
        if not records:
            raise StageError(f"{release.system}: no records to measure the server with")
        folder = local_folder(release)
        bodies = [json.dumps(record).encode() for record in records]
        with trial_server(self._settings, folder, self._estimator) as server:
            asked, throughput = _ask(server, f"/v1/{release.system}/predict", bodies, requirements)
            memory = _resident(server.pid)
        return Measurements(
            latency_p50_ms=round(asked.p50_ms, 3),
            latency_p99_ms=round(asked.p99_ms, 3),
            offered_per_s=round(asked.rate_per_s, 1),
            throughput_per_s=round(throughput, 1),
            memory_mb=round(memory / 1e6, 1),
            ready_s=round(server.ready_s, 3),
            size_mb=round(sum(file.stat().st_size for file in folder.iterdir()) / 1e6, 3),
            requests=asked.sent,
        )


def _resident(pid: int) -> int:
    """Memory of a process and of those it started, bytes; what they share counts for each."""
    server = psutil.Process(pid)
    return sum(process.memory_info().rss for process in (server, *server.children(recursive=True)))


def _ask(
    server: TrialServer, path: str, bodies: Sequence[bytes], requirements: Requirements
) -> tuple[LoadPoint, float]:
    """The load at the required rate, and the highest rate that was seen to meet the latency bound."""
    budget_ms = requirements.latency_p99_ms or UNBOUNDED_MS
    pace = _pace(server.address, path, bodies)
    # Never cut short: the latency at the required rate is told whatever it is.
    with OpenLoop([server.address], path, bodies, lag_bound=budget_ms / 1e4) as loop:
        asked = loop.offer(requirements.throughput_per_s or LIGHT * pace, LATENCY_SECONDS, _SEED)
    if any(status.startswith("4") and status != "429" for status in asked.answered):
        raise _refused(loop.refusal)
    met = not asked.server_fault(budget_ms)
    if not met and not asked.valid:
        raise UnavailableError(
            f"the rate of {asked.rate_per_s:,.0f}/s could not be offered: {asked.fault(budget_ms)}",
            hint="measure again when this machine is less busy",
        )
    found = _sustained(server.address, path, bodies, min(budget_ms, _patience_ms(pace)), pace, asked, met)
    return asked, max(found, asked.rate_per_s) if met else found


def _patience_ms(pace: float) -> float:
    """What is late in a load this short: in 0.4 s, waiting for more than 0.1 s is a queue that grows."""
    return max(STEP_SECONDS * 1e3 / 4, 4e3 / pace)


def _sustained(
    address: str,
    path: str,
    bodies: Sequence[bytes],
    budget_ms: float,
    pace: float,
    asked: LoadPoint,
    met: bool,
) -> float:
    """The highest rate that a quick search sees to meet a budget; below a rate that is known to miss it."""
    end = time.perf_counter() + SEARCH_SECONDS

    def offer(rate: float) -> LoadPoint:
        known = not met and rate >= asked.rate_per_s
        return asked if known else loop.offer(rate, STEP_SECONDS, _SEED)

    with OpenLoop([address], path, bodies, budget=budget_ms / 1e3, patience=STEP_SECONDS) as loop:
        search = Search(
            offer,
            budget_ms,
            start=max(pace / 2, asked.rate_per_s) if met else min(pace, asked.rate_per_s) / 2,
            tolerance=0.1,
            confirmations=0,
            patient=False,
            has_time=lambda: time.perf_counter() < end,
        )
        return search.run().per_s


def _pace(address: str, path: str, bodies: Sequence[bytes]) -> float:
    """Requests a second of one connection that asks one after the other, once the server is warm."""
    with Connection(address) as connection:
        source = cycle([connection.prepare("POST", path, body) for body in bodies])
        for _ in range(WARM_UP_REQUESTS):
            _send(connection, next(source))
        count, start = 0, time.perf_counter()
        while not count or time.perf_counter() - start < PACE_SECONDS:
            _send(connection, next(source))
            count += 1
    return count / (time.perf_counter() - start)


def _send(connection: Connection, request: bytes) -> None:
    status, body = connection.send(request)
    if status != 200:
        raise _refused(f"{status}: {json.loads(body)['detail']}")


def _refused(told: str) -> StageError:
    return StageError(
        f"the server refused a record of the test window with {told}",
        hint="the record type and the rows do not agree",
    )
