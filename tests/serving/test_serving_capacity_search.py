"""The search for a capacity, against servers whose capacity is known: no sockets, no time."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from lifecycle.core.capacity import LoadPoint
from lifecycle.serving.load.generator import arrivals
from lifecycle.serving.load.search import Search

BUDGET_MS = 300.0


def point(rate: float, **found: object) -> LoadPoint:
    fine = {
        "seconds": 3.0,
        "sent": 1000,
        "answered": {"200": 1000},
        "failed": {},
        "achieved_per_s": rate,
        "p50_ms": 1.0,
        "p90_ms": 2.0,
        "p99_ms": 3.0,
        "p999_ms": 4.0,
        "max_ms": 5.0,
        "growth": 0.0,
        "lag_p99_ms": 0.1,
        "lag_bound_ms": 30.0,
        "connections": 8,
    }
    return LoadPoint.model_validate({"rate_per_s": rate, **fine, **found})


def random_service(mean_ms: float) -> Callable[[float], LoadPoint]:
    """A long load on one server with exponential service times (M/M/1): p99 is known in closed form."""

    def offer(rate: float) -> LoadPoint:
        idle = 1e3 / mean_ms - rate
        return point(rate, p99_ms=math.log(100) / idle * 1e3 if idle > 0 else math.inf)

    return offer


def constant_service(service: float, seconds: float = 3.0) -> Callable[[float], LoadPoint]:
    """A short load on one server with a constant service time: each request waits for the one before."""

    def offer(rate: float) -> LoadPoint:
        due = np.array(arrivals(rate, seconds, seed=7))
        done = np.empty_like(due)
        free = 0.0
        for i, moment in enumerate(due):
            done[i] = free = max(free, moment) + service
        late = (done - due) * 1e3
        p50, p99 = np.quantile(late, [0.5, 0.99])
        growth = np.polyfit(due, late / 1e3, 1)[0] if len(due) > 1 else 0.0
        return point(rate, seconds=seconds, p50_ms=p50, p99_ms=p99, growth=growth)

    return offer


@pytest.mark.parametrize("mean_ms", [0.1, 2, 20, 50])
def test_the_capacity_of_a_server_with_random_service_is_found(mean_ms):
    true = 1e3 / mean_ms - math.log(100) / (BUDGET_MS / 1e3)
    found = Search(random_service(mean_ms), BUDGET_MS, start=50, tolerance=0.01).run()
    assert true * 0.98 <= found.per_s <= true
    assert found.confirmed == 3
    assert not found.at_least
    assert "p99 of" in found.limit


@pytest.mark.parametrize("start", [1, 50, 5000])
def test_short_loads_do_not_flatter_a_server_whose_queue_only_begins_to_grow(start):
    """At 10 % too much, three seconds make a queue of 0.3 s: its growth tells, its p99 hardly."""
    found = Search(constant_service(0.002), BUDGET_MS, start=start).run()
    assert 0.93 * 500 <= found.per_s <= 1.06 * 500


def test_a_hiccup_is_no_limit_and_a_lucky_load_no_capacity():
    answer, tries = random_service(2), []

    def hiccup(rate: float) -> LoadPoint:
        tries.append(rate)
        return point(rate, p99_ms=900.0) if len(tries) == 3 else answer(rate)

    assert Search(hiccup, BUDGET_MS, start=50).run().per_s > 400

    def lucky(rate: float) -> LoadPoint:
        first, seen = rate not in tries, tries.append(rate)
        assert seen is None
        return point(rate) if first and rate < 700 else answer(rate)

    tries.clear()
    found = Search(lucky, BUDGET_MS, start=50).run()
    assert found.per_s < 500
    assert not answer(found.per_s).fault(BUDGET_MS)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"p99_ms": 1500.0}, "p99 of 1.5 s"),
        ({"answered": {"200": 990, "503": 10}}, "10 answered 503"),
        ({"answered": {"200": 990}, "failed": {"hung up": 10}}, "10 hung up"),
        ({"growth": 0.2, "p50_ms": 50.0}, "the queue grew by 200 ms a second"),
    ],
)
def test_a_server_that_never_meets_the_budget_has_no_capacity(found, told):
    capacity = Search(lambda rate: point(rate, **found), BUDGET_MS, start=50).run()
    assert (capacity.per_s, capacity.confirmed) == (0, 0)
    assert told in capacity.limit


def test_where_the_generator_ends_first_the_server_may_do_more():
    def offer(rate: float) -> LoadPoint:
        return point(rate, lag_p99_ms=1.0 if rate < 1000 else 40.0)

    found = Search(offer, BUDGET_MS, start=50).run()
    assert 900 <= found.per_s < 1000
    assert found.at_least
    assert "the load generator itself came 40 ms late (at most 30 ms)" in found.limit


def test_a_search_without_time_tells_what_it_has_seen():
    tries = []

    def offer(rate: float) -> LoadPoint:
        tries.append(rate)
        return point(rate)

    found = Search(offer, BUDGET_MS, start=50, confirmations=0, has_time=lambda: len(tries) < 4).run()
    assert (found.per_s, found.at_least) == (400, True)
    assert "the time for the search was over" in found.limit


def test_the_curve_has_loads_on_both_sides_of_the_capacity():
    search = Search(random_service(2), BUDGET_MS, start=50)
    found = search.curve(search.run())
    shares = [load.rate_per_s / found.per_s for load in found.points]
    assert shares == sorted(shares)
    for share in (0.1, 0.25, 0.5, 0.75, 0.9, 1.1):
        assert any(abs(known / share - 1) < 0.06 for known in shares)
