"""The capacity of this machine for one release: real server processes, asked over real sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count, cycle, islice
from pathlib import Path

from lifecycle.core.capacity import Capacity, LoadPoint, duration
from lifecycle.core.errors import StageError, UnavailableError
from lifecycle.core.settings import Settings
from lifecycle.serving.client import Connection
from lifecycle.serving.load.generator import OpenLoop
from lifecycle.serving.load.http import detail_of
from lifecycle.serving.load.search import Offer, Search
from lifecycle.serving.trial import trial_server

FIRST_RATE = 50.0
"""Requests a second that are tried first."""

WARM_UP_REQUESTS = 200


@dataclass(frozen=True)
class Measuring:
    """How a capacity is measured.

    Attributes:
        path: What is POSTed to.
        bodies: Request bodies, sent in turn.
        budget: Bound on the 99th percentile, seconds.
        seconds: Length of one load.
        headers: Further header lines.
        say: Takes a line of progress.
    """

    path: str
    bodies: Sequence[bytes]
    budget: float
    seconds: float
    headers: Sequence[str] = ()
    say: Callable[[str], None] = lambda _line: None


def measure(targets: Sequence[str], measuring: Measuring) -> Capacity:
    """Find the highest rate that meets the budget, confirm it, and try loads around it.

    Args:
        targets: Addresses of the one service that is measured.
        measuring: How.

    Raises:
        StageError: The service refuses a record.
        UnavailableError: It does not answer.
        ConfigError: A target is no plain HTTP address.
    """
    with OpenLoop(
        targets, measuring.path, measuring.bodies, headers=measuring.headers, budget=measuring.budget
    ) as loop:
        for target in targets:
            _warm_up(target, measuring)
        search = Search(_offering(loop, targets, measuring), measuring.budget * 1e3, start=FIRST_RATE)
        return search.curve(search.run())


def _offering(loop: OpenLoop, targets: Sequence[str], measuring: Measuring) -> Offer:
    seeds = count(1)

    def offer(rate: float) -> LoadPoint:
        point = loop.offer(rate, measuring.seconds, next(seeds))
        fault = point.fault(measuring.budget * 1e3)
        told = f"no: {fault}" if fault else f"p50 {duration(point.p50_ms)}, p99 {duration(point.p99_ms)}"
        measuring.say(f"{rate:>9,.4g}/s  {told}")
        for target in targets:
            _settle(target)
        return point

    return offer


@contextmanager
def trial_servers(
    settings: Settings, release: Path, workers: int, estimator: Sequence[str] = ()
) -> Iterator[list[str]]:
    """Addresses of serving processes with one release, ready; each is a worker with a socket of its own."""
    with ExitStack() as stack:
        started = (trial_server(settings, release, estimator) for _ in range(workers))
        yield [stack.enter_context(server).address for server in started]


def _warm_up(target: str, measuring: Measuring) -> None:
    """Ask one request after the other, so that nothing is done for the first time later."""
    with _asking(target) as connection:
        for body in islice(cycle(measuring.bodies), WARM_UP_REQUESTS):
            status, answer = connection.send(
                connection.prepare("POST", measuring.path, body, measuring.headers)
            )
            if status != 200:
                raise StageError(
                    f"the service refused a record with {status}: {detail_of(answer)}",
                    hint="the release that answers reads other records, or a key is needed: --header",
                )


def _settle(target: str) -> None:
    """Wait until what a load left in the server's queue is done, so that the next one starts with none."""
    with _asking(target) as connection:
        connection.send(connection.prepare("GET", "/healthz"))


@contextmanager
def _asking(target: str) -> Iterator[Connection]:
    try:
        with Connection(target) as connection:
            yield connection
    except OSError as error:
        raise UnavailableError(
            f"the service at {target} does not answer: {type(error).__name__}",
            hint="is it up? lifecycle status; or leave --url out, and one is started",
        ) from error
