"""Open-loop load over real sockets: each request is sent when it is due, however late earlier answers are.

A closed loop sends the next request when the last answer has come, so a server that stalls is simply asked
less and looks fast ("coordinated omission", Gil Tene). Here the times are fixed before the load starts, and
a latency counts from the moment its request was *due*.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from lifecycle.core.capacity import LoadPoint
from lifecycle.serving.client import prepare
from lifecycle.serving.load.http import Line, Target
from lifecycle.serving.load.one_load import Load

MAX_CONNECTIONS = 256
"""Connections that one load opens at most; a request that finds none free waits, and its waiting counts."""

LEAST_LAG_BOUND = 0.002
"""Seconds that the generator may be late in any case: half of it is the operating system's scheduler."""


def arrivals(rate: float, seconds: float, seed: int | None = None) -> Sequence[float]:
    """When each request is due, seconds from the start.

    Args:
        rate: Requests a second; exactly ``rate * seconds`` are due, and at least one.
        seconds: Over which they are due.
        seed: Of a Poisson process with that many arrivals; None spaces them evenly.

    Example:
        >>> arrivals(4, 1)
        [0.0, 0.25, 0.5, 0.75]
        >>> len(arrivals(100, 2, seed=7))
        200
    """
    count = max(round(rate * seconds), 1)
    if seed is None:
        return [position / rate for position in range(count)]
    # A Poisson process, given its number of arrivals, is that many uniform draws in order.
    drawn: list[float] = np.sort(np.random.default_rng(seed).uniform(0, seconds, count)).tolist()
    return drawn


class OpenLoop:
    """Sends one load after another, over connections that are kept from load to load.

    Args:
        targets: Addresses of one service, such as ``http://127.0.0.1:8000``; connections take turns.
        path: What to POST to.
        bodies: Request bodies, sent in turn.
        headers: Further header lines, such as ``Authorization: Bearer ...``.
        budget: Latency that 99 % of requests should keep, seconds: a load that clearly cannot is cut short.
            None never cuts one short.
        connections: Most connections at once.
        lag_bound: The most that the generator may be late itself, seconds; a tenth of the budget if None.
        patience: How long the last answers are waited for after the last request was due, seconds.

    Raises:
        ConfigError: A target is no plain HTTP address.
    """

    def __init__(
        self,
        targets: Sequence[str],
        path: str,
        bodies: Sequence[bytes],
        *,
        headers: Sequence[str] = (),
        budget: float | None = None,
        connections: int = MAX_CONNECTIONS,
        lag_bound: float | None = None,
        patience: float | None = None,
    ) -> None:
        self._targets = [Target(url) for url in targets]
        host = self._targets[0].host
        self._requests = [prepare(host, "POST", path, body, headers) for body in bodies]
        self._budget = budget
        self._connections = connections
        self._lag_bound = max(LEAST_LAG_BOUND, (budget or 0.0) / 10 if lag_bound is None else lag_bound)
        self._patience = patience if patience is not None else max(1.0, 3 * (budget or 0.0))
        self._kept: list[Line] = []
        self.refusal = ""
        """Status and detail of the first answer other than 200."""

    def __enter__(self) -> OpenLoop:
        return self

    def __exit__(self, *_: object) -> None:
        for line in self._kept:
            line.close()
        self._kept = []

    def offer(self, rate: float, seconds: float, seed: int | None = None) -> LoadPoint:
        """Offer a rate for some seconds, wait for the last answers, and say what came.

        Args:
            rate: Requests a second.
            seconds: Over which they are due.
            seed: See `arrivals`.
        """
        due = arrivals(rate, seconds, seed)
        load = Load(self._targets, self._requests, due, self._budget, self._connections)
        try:
            load.keep(self._kept)
            with _no_collections():
                load.run(self._patience)
        finally:
            self._kept = load.close()
        self.refusal = self.refusal or load.refusal
        return load.point(rate, seconds, self._lag_bound)


@contextmanager
def _no_collections() -> Iterator[None]:
    """The garbage collector would make the generator late; nothing here is cyclic."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
