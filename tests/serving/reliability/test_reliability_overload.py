"""Three times as much as the server can answer: everybody is answered, in time, and then it is as before."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from http.client import HTTPResponse
from pathlib import Path

import pytest

from lifecycle.core.capacity import LoadPoint
from lifecycle.serving.load.generator import OpenLoop
from tests.serving.conftest import eventually
from tests.serving.reliability.project import BODY, PREDICT, Project, Running, serving

SLOW = (sys.executable, str(Path(__file__).with_name("slow_server.py")))
OVERLOAD, NORMAL = 1400.0, 50.0
"""Requests a second; the slow model answers fewer than 500."""


def offer(service: Running, rate: float, seconds: float) -> LoadPoint:
    with OpenLoop([service.address], PREDICT, [BODY], connections=1000, patience=10) as load:
        return load.offer(rate, seconds, seed=1)


def is_well(service: Running) -> bool:
    """Whether a second of what is usual gets answers and nothing else."""
    return offer(service, NORMAL, 1).answered == {"200": NORMAL}


def refusal(service: Running) -> HTTPResponse:
    """The first refusal that a client of its own gets."""
    found: list[HTTPResponse] = []

    def refused() -> bool:
        connection = service.connect()
        connection.request("POST", PREDICT, BODY)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        found.append(answer)
        return answer.status != 200

    eventually(refused, 30)
    return found[-1]


def overload(service: Running, seconds: float) -> tuple[LoadPoint, float]:
    """Overload it, and check what holds; the load, and how long after it all was well again."""
    points: list[LoadPoint] = []

    def press() -> None:
        points.append(offer(service, OVERLOAD, seconds))

    eventually(lambda: is_well(service), 30)
    before, began = service.rss(), time.perf_counter()
    pressing = threading.Thread(target=press)
    pressing.start()
    told = refusal(service)
    pressing.join()
    assert (told.status, told.getheader("retry-after")) == (503, "1")
    [point] = points
    assert point.failed == {}
    assert point.answered.keys() == {"200", "503"}
    assert sum(point.answered.values()) == point.sent == OVERLOAD * seconds
    eventually(lambda: is_well(service), 30)
    recovery = time.perf_counter() - began - seconds - 1.0  # of which the last second was well
    assert service.metric("lifecycle_queued") == 0
    assert service.rss() - before < 30e6
    return point, recovery


@pytest.mark.slow
def test_everybody_is_answered_at_three_times_the_load_and_right_afterwards_all_is_well(tmp_path):
    with serving(Project(tmp_path), command=SLOW) as service:
        overload(service, 2)


@pytest.mark.soak
def test_a_minute_of_three_times_the_load(tmp_path, report: Callable[[str], None]):
    with serving(Project(tmp_path, budget_ms=200), command=SLOW) as service:
        point, recovery = overload(service, 60)
        accepted = service.quantile("lifecycle_latency_seconds", 0.99)
    answered = point.answered
    report(f"60 s at {OVERLOAD:g} requests a second, {point.connections} connections")
    report(f"{answered['200']:,} answered and {answered['503']:,} told to come again")
    report(f"all of them within {point.max_ms:.0f} ms")
    report(f"from when each was due: median {point.p50_ms:.0f} ms, p99 {point.p99_ms:.0f} ms")
    report(f"p99 of accepted requests at most {accepted * 1e3:.0f} ms, of a budget of 200 ms")
    report(f"{recovery:.2f} s after the last of them was due, all was as before")
    assert recovery < 2
