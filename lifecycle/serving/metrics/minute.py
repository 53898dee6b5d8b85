"""Rates and latencies over the last minute, from the same counters that Prometheus reads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec

from lifecycle.serving.metrics.counts import BOUNDS, Counts

SECONDS = 60
"""Length of the window."""


class Tally(msgspec.Struct):
    """What one system did: the sum over its releases and shares, or a difference of two such sums.

    Attributes:
        answered: Requests answered.
        refused: Requests refused by the client's fault (4xx).
        failed: Requests refused by ours (5xx).
        rows: Predictions made.
        latencies: Answers in each latency bucket.
        seconds: The time in which it happened; 0 for a sum since the beginning.
    """

    answered: int = 0
    refused: int = 0
    failed: int = 0
    rows: int = 0
    latencies: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    seconds: float = 0.0

    def since(self, before: Tally, seconds: float) -> Tally:
        """What happened since an earlier sum."""
        return Tally(
            self.answered - before.answered,
            self.refused - before.refused,
            self.failed - before.failed,
            self.rows - before.rows,
            tuple(a - b for a, b in zip(self.latencies, before.latencies, strict=True)),
            seconds,
        )


class Window:
    """One sum per second, for a minute; whoever ticks it decides how often that is."""

    def __init__(self) -> None:
        self._slots: deque[tuple[float, dict[str, Tally]]] = deque(maxlen=SECONDS + 1)

    def tick(self, now: float, counts: Iterable[Counts]) -> None:
        """Remember where the counters stand.

        Args:
            now: Monotonic time, seconds.
            counts: Every counter of this process.
        """
        self._slots.append((now, _tallies(counts)))

    def last(self, now: float, counts: Iterable[Counts]) -> dict[str, Tally]:
        """By system: what happened from the oldest slot of the last minute until now."""
        while self._slots and now - self._slots[0][0] > SECONDS + 1:
            self._slots.popleft()
        if not self._slots:
            return {}
        then, before = self._slots[0]
        return {
            system: tally.since(before.get(system, Tally()), now - then)
            for system, tally in _tallies(counts).items()
        }


def _tallies(counts: Iterable[Counts]) -> dict[str, Tally]:
    tallies: dict[str, Tally] = {}
    for each in counts:
        latencies = tuple(each.latencies)
        before = tallies.get(each.system, Tally())
        tallies[each.system] = Tally(
            before.answered + sum(latencies),
            before.refused + each.refused_total("4"),
            before.failed + each.refused_total("5"),
            before.rows + each.rows,
            tuple(a + b for a, b in zip(before.latencies, latencies, strict=True)),
        )
    return tallies


@dataclass(frozen=True)
class Rates:
    """How a system does, over the last minute and all workers.

    Attributes:
        qps: Requests per second, answered or not.
        rows: Predictions per second.
        refused: Share of requests refused by the client's fault, 0 to 1.
        failed: Share of requests refused by ours, 0 to 1.
        p50: Median latency of an answer, seconds; None if there was none.
        p99: Its 99th percentile, seconds.
    """

    qps: float
    rows: float
    refused: float
    failed: float
    p50: float | None
    p99: float | None


def rates(minutes: Sequence[Tally]) -> Rates:
    """The rates of several workers together."""
    qps = rows = 0.0
    total = refused = failed = 0
    latencies = [0] * (len(BOUNDS) + 1)
    for minute in minutes:
        requests = minute.answered + minute.refused + minute.failed
        if minute.seconds > 0:
            qps += requests / minute.seconds
            rows += minute.rows / minute.seconds
        total, refused, failed = total + requests, refused + minute.refused, failed + minute.failed
        latencies = [a + b for a, b in zip(latencies, minute.latencies, strict=True)]
    return Rates(
        qps=qps,
        rows=rows,
        refused=refused / total if total else 0.0,
        failed=failed / total if total else 0.0,
        p50=quantile(latencies, 0.5),
        p99=quantile(latencies, 0.99),
    )


def quantile(latencies: Sequence[int], share: float) -> float | None:
    """A quantile read from latency buckets, linear within its bucket as Prometheus does it.

    Args:
        latencies: Answers per bucket of ``BOUNDS``, and one more for what is longer.
        share: Such as 0.99.

    Returns:
        Seconds, at most the highest bound; None if there were no answers.

    Example:
        >>> round(quantile([0] * 8 + [100] + [0] * (len(BOUNDS) - 8), 0.5), 6)  # all from 0.7 to 1 ms
        0.00085
    """
    wanted = share * sum(latencies)
    if not wanted:
        return None
    seen = 0
    for (low, high), count in zip(pairwise((0.0, *BOUNDS)), latencies, strict=False):
        if seen + count >= wanted:
            return low + (high - low) * (wanted - seen) / count
        seen += count
    return BOUNDS[-1]
