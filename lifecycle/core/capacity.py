"""What one load asked of a server and how it answered, and what a search over loads found."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lifecycle.core.values import Value

MAX_GROWTH = 0.05
"""Seconds of waiting that may come to be per second of load: above it the server is not keeping up."""


def duration(milliseconds: float) -> str:
    """A duration in the unit a person would use, three digits.

    Example:
        >>> duration(0.4567), duration(12.34), duration(1500)
        ('0.457 ms', '12.3 ms', '1.5 s')
    """
    return f"{milliseconds / 1e3:.3g} s" if milliseconds >= 1000 else f"{milliseconds:.3g} ms"


class LoadPoint(Value):
    """One open-loop load: what was sent, what came back, and how late.

    Latencies are from the moment a request was *due*, whatever held it up, so a stall of the server counts
    for every request that was due meanwhile.

    Attributes:
        rate_per_s: Requests offered a second.
        seconds: Over which they were due.
        sent: Requests that were due; each is in ``answered`` or in ``failed``.
        answered: HTTP status -> how many.
        failed: What went wrong -> how many got no answer.
        achieved_per_s: Answers of status 200 a second, until the last one came.
        p50_ms: Median latency, ms; an unanswered request counts with the time it was waited for.
        p90_ms: 90th percentile, ms.
        p99_ms: 99th percentile, ms.
        p999_ms: 99.9th percentile, ms.
        max_ms: The largest, ms.
        growth: How much the latency grew over the load, seconds per second: the queue of a server that is
            offered 5 % more than it can do grows by about 0.05.
        lag_p99_ms: 99th percentile of how late the load generator itself came to a request, ms.
        lag_bound_ms: The most that it may be late.
        connections: Connections that were open at most.
        cut_short: Whether the load was ended early because the budget was clearly missed.
    """

    rate_per_s: float
    seconds: float
    sent: int
    answered: Mapping[str, int]
    failed: Mapping[str, int]
    achieved_per_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    growth: float
    lag_p99_ms: float
    lag_bound_ms: float
    connections: int
    cut_short: bool = False

    @property
    def valid(self) -> bool:
        """Whether the generator kept its own schedule, so that the latencies are the server's."""
        return self.lag_p99_ms <= self.lag_bound_ms

    @property
    def errors(self) -> int:
        """Requests without an answer of status 200."""
        return self.sent - self.answered.get("200", 0)

    def fault(self, budget_ms: float) -> str:
        """Why this load does not meet a budget; empty if it does."""
        if not self.valid:
            late, most = duration(self.lag_p99_ms), duration(self.lag_bound_ms)
            return f"the load generator itself came {late} late (at most {most})"
        return self.server_fault(budget_ms)

    def server_fault(self, budget_ms: float) -> str:
        """Why the answers do not meet a budget, however late the generator was; empty if they do.

        Its lateness is part of every latency, so answers that meet the budget all the same do meet it.
        """
        if self.errors:
            parts = [
                f"{count} answered {status}" for status, count in self.answered.items() if status != "200"
            ]
            parts += [f"{count} {reason}" for reason, count in self.failed.items()]
            return ", ".join(parts)
        if self.p99_ms > budget_ms:
            return f"p99 of {duration(self.p99_ms)}"
        # From an empty queue, latency that grows through the load by more than its median is a queue.
        if self.growth > MAX_GROWTH and self.growth * self.seconds * 1e3 > self.p50_ms:
            return f"the queue grew by {self.growth * 1e3:.0f} ms a second"
        return ""


class Capacity(Value):
    """The highest rate at which a budget was met, and the loads that were tried.

    Attributes:
        budget_ms: Bound on the 99th percentile, ms.
        per_s: Highest rate at which it was met, without a single error; 0 if none was found.
        limit: Why a higher rate does not meet it, in words.
        at_least: Whether the server may do more: the load generator, or the time, came to its own end first.
        confirmed: How often the rate was tried again and met the budget each time.
        points: Every load that was tried, by rate.
    """

    budget_ms: float
    per_s: float
    limit: str
    at_least: bool
    confirmed: int
    points: tuple[LoadPoint, ...]


class CapacityReport(Value):
    """What this machine can do for a system, and how many such machines a rate asks for.

    Attributes:
        system: Its name.
        release: Digest of what was measured.
        measured: What was asked, in words: processes started for it, or a service that was running.
        workers: Serving processes that were started; None for a running service.
        records: Where the request bodies came from.
        asked_per_s: The rate that is to be served.
        headroom: Share of each machine's capacity that is kept free.
        cores: Of this machine, shared by the load generator and what it measures.
        load_before: The machine's load average over the minute before.
        capacity: What was found.
    """

    system: str
    release: str
    measured: str
    workers: int | None
    records: str
    asked_per_s: float
    headroom: float
    cores: int
    load_before: float
    capacity: Capacity

    @property
    def busy(self) -> bool:
        """Whether something else kept this machine busy, so that it can do more than was found."""
        return self.load_before > self.cores / 4

    @property
    def machines(self) -> int | None:
        """How many such machines serve the asked rate with headroom; None if one cannot meet the budget.

        Example:
            >>> found = Capacity(budget_ms=300, per_s=500, limit="", at_least=False, confirmed=3, points=())
            >>> CapacityReport(system="s", release="r", measured="", workers=1, records="", asked_per_s=1000,
            ...                headroom=0.3, cores=2, load_before=0.1,
            ...                capacity=found).machines
            3
        """
        usable = self.capacity.per_s * (1 - self.headroom)
        return math.ceil(self.asked_per_s / usable) if usable else None
