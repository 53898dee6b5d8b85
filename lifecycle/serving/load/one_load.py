"""One load under way: what is due, what is on which connection, and what has come."""

from __future__ import annotations

import select
import selectors
from collections import Counter, deque
from collections.abc import Sequence
from itertools import cycle
from time import perf_counter

from lifecycle.core.capacity import LoadPoint
from lifecycle.serving.load.histogram import Histogram
from lifecycle.serving.load.http import BrokenError, Line, Target, detail_of

LATE_SHARE = 0.01
"""Share of all requests beyond the budget from which on a load has clearly missed it."""


class Load:
    """Sends requests when they are due and takes the answers as they come, in one thread.

    Args:
        targets: Where connections go, in turn.
        requests: Their bytes, sent in turn.
        offsets: When each is due, seconds from the start.
        budget: Latency beyond which an answer is late, seconds; None: none is.
        connections: Most connections at once.

    Attributes:
        cut_short: Whether so many answers were late that the rest was not sent.
        refusal: Status and detail of the first answer other than 200.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        requests: Sequence[bytes],
        offsets: Sequence[float],
        budget: float | None,
        connections: int,
    ) -> None:
        self._targets = cycle(targets)
        self._requests = cycle(requests)
        self._offsets = offsets
        self._budget = budget if budget is not None else float("inf")
        self._most = connections
        self._selector = selectors.DefaultSelector()
        self._lines: dict[int, Line] = {}
        self._free: deque[Line] = deque()
        self._waiting: deque[float] = deque()
        self._opened = 0
        self._sent = self._late = 0
        self._latencies, self._lags = Histogram(), Histogram()
        self._answered: Counter[int] = Counter()
        self._failed: Counter[str] = Counter()
        self._trend = _Trend()
        self._start = self._last_answer = 0.0
        self.cut_short = False
        self.refusal = ""

    def keep(self, lines: Sequence[Line]) -> None:
        """Take over idle connections of an earlier load, as far as the server has not ended them."""
        for line in lines:
            self._lines[line.number] = line
            self._selector.register(line.number, selectors.EVENT_READ, line)
        self._free.extend(lines)
        self._listen(0.0)

    def close(self) -> list[Line]:
        """End the load: what is under way is hung up; the idle connections are handed on."""
        for line in self._lines.values():
            if line.due is not None:
                line.close()
        self._selector.close()
        return list(self._free)

    def run(self, patience: float) -> None:
        """Send everything when it is due, then wait for what is under way."""
        self._start = self._last_answer = perf_counter()
        end = self._start + self._offsets[-1] + patience
        while (now := perf_counter()) < end:
            if self._sent < len(self._offsets):
                self._send_due()
                wait = self._start + self._offsets[min(self._sent, len(self._offsets) - 1)] - perf_counter()
            elif self._unanswered:
                wait = end - now
            else:
                break
            self._listen(max(wait, 0.0))
            if self._late > LATE_SHARE * len(self._offsets) and not self.cut_short:
                self.cut_short, end = True, min(end, perf_counter() + patience)
                self._offsets = self._offsets[: self._sent]
        self._give_up()

    @property
    def _unanswered(self) -> int:
        return self._sent - self._latencies.count

    def _send_due(self) -> None:
        """Send every request that is due, and note how late this is."""
        while self._sent < len(self._offsets):
            due, now = self._start + self._offsets[self._sent], perf_counter()
            if due > now:
                return
            self._lags.add(now - due)
            self._sent += 1
            if self._free:
                self._ask(self._free.popleft(), due)
            elif len(self._lines) < self._most:
                self._open(due)
            else:
                self._waiting.append(due)

    def _open(self, due: float) -> None:
        try:
            line = Line(next(self._targets))
        except BrokenError as broken:
            self._fail(due, str(broken))
            return
        self._lines[line.number] = line
        self._opened = max(self._opened, len(self._lines))
        self._selector.register(line.number, selectors.EVENT_READ, line)
        self._ask(line, due)

    def _ask(self, line: Line, due: float) -> None:
        line.due = due
        try:
            line.send(next(self._requests))
        except BrokenError as broken:
            self._drop(line, str(broken))
            return
        if line.unsent:
            self._selector.modify(line.number, selectors.EVENT_READ | selectors.EVENT_WRITE, line)

    def _listen(self, wait: float) -> None:
        """Take what has come, waiting for it at most until the next request is due."""
        if wait > 0:
            # A selector rounds its own timeout up to a millisecond; this wakes within some 50 µs.
            select.select([self._selector], [], [], wait)
        for key, events in self._selector.select(0):
            line: Line = key.data
            try:
                if events & selectors.EVENT_WRITE:
                    self._send_rest(line)
                if events & selectors.EVENT_READ and (body := line.receive()) is not None:
                    self._answer(line, body)
            except BrokenError as broken:
                self._drop(line, str(broken))

    def _send_rest(self, line: Line) -> None:
        line.send(line.unsent)
        if not line.unsent:
            self._selector.modify(line.number, selectors.EVENT_READ, line)

    def _answer(self, line: Line, body: bytes) -> None:
        assert line.due is not None
        now = self._last_answer = perf_counter()
        self._count(line.due, now)
        self._answered[line.status] += 1
        if line.status != 200 and not self.refusal:
            self.refusal = f"{line.status}: {detail_of(body)}"
        line.due = None
        if line.last:
            self._forget(line)
        elif self._waiting:
            self._ask(line, self._waiting.popleft())
        else:
            self._free.append(line)

    def _drop(self, line: Line, reason: str) -> None:
        """A connection broke; so did the request on it."""
        if line.due is None:
            self._free.remove(line)
        else:
            self._fail(line.due, reason)
        self._forget(line)

    def _forget(self, line: Line) -> None:
        del self._lines[line.number]
        self._selector.unregister(line.number)
        line.close()
        if self._waiting:
            self._open(self._waiting.popleft())

    def _fail(self, due: float, reason: str) -> None:
        self._count(due, perf_counter())
        self._failed[reason] += 1

    def _count(self, due: float, now: float) -> None:
        latency = now - due
        self._latencies.add(latency)
        self._trend.add(due - self._start, latency)
        if latency > self._budget:
            self._late += 1

    def _give_up(self) -> None:
        under_way = [line.due for line in self._lines.values() if line.due is not None]
        for due in (*under_way, *self._waiting):
            self._fail(due, "not answered in time")

    def point(self, rate: float, seconds: float, lag_bound: float) -> LoadPoint:
        """What was seen."""
        spent = self._last_answer - self._start if self.cut_short else seconds
        quantiles = [round(self._latencies.quantile(q) * 1e3, 4) for q in (0.5, 0.9, 0.99, 0.999)]
        return LoadPoint(
            rate_per_s=rate,
            seconds=seconds,
            sent=self._sent,
            answered={str(status): count for status, count in sorted(self._answered.items())},
            failed=dict(self._failed),
            achieved_per_s=round(self._answered[200] / max(spent, self._last_answer - self._start, 1e-9), 3),
            p50_ms=quantiles[0],
            p90_ms=quantiles[1],
            p99_ms=quantiles[2],
            p999_ms=quantiles[3],
            max_ms=round(self._latencies.largest * 1e3, 4),
            growth=round(self._trend.slope, 5),
            lag_p99_ms=round(self._lags.quantile(0.99) * 1e3, 4),
            lag_bound_ms=lag_bound * 1e3,
            connections=self._opened,
            cut_short=self.cut_short,
        )


class _Trend:
    """The slope of a straight line through points that come one by one (least squares)."""

    def __init__(self) -> None:
        self._n = 0
        self._x = self._y = self._xx = self._xy = 0.0

    def add(self, x: float, y: float) -> None:
        """Take one point."""
        self._n += 1
        self._x += x
        self._y += y
        self._xx += x * x
        self._xy += x * y

    @property
    def slope(self) -> float:
        """Of the line; 0 while there is none."""
        spread = self._n * self._xx - self._x**2
        return (self._n * self._xy - self._x * self._y) / spread if spread > 1e-12 else 0.0
