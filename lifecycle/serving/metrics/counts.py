"""The numbers that requests touch: plain attributes, changed by one thread, never locked."""

from __future__ import annotations

from bisect import bisect_left
from typing import Literal

import msgspec

BOUNDS = (
    *(50e-6, 70e-6),
    *(100e-6, 150e-6, 200e-6, 300e-6, 500e-6, 700e-6),
    *(1e-3, 1.5e-3, 2e-3, 3e-3, 5e-3, 7e-3),
    *(10e-3, 15e-3, 20e-3, 30e-3, 50e-3, 70e-3),
    *(0.1, 0.15, 0.2, 0.3, 0.5, 0.7),
    *(1.0, 2.0, 5.0, 10.0),
)
"""Upper bounds of the latency buckets, seconds, each inclusive; one more bucket holds what is longer."""

Reason = Literal[
    "malformed",
    "unauthenticated",
    "forbidden",
    "not-found",
    "method",
    "slow-body",
    "too-large",
    "media-type",
    "invalid",
    "shed",
    "late",
    "no-release",
    "log-failure",
    "engine-fault",
    "unforeseen",
    "other",
]
"""Why a request was refused. A fixed list: nothing a client sends may become a label."""

REASONS: dict[int, Reason] = {
    400: "malformed",
    401: "unauthenticated",
    403: "forbidden",
    404: "not-found",
    405: "method",
    408: "slow-body",
    413: "too-large",
    415: "media-type",
    422: "invalid",
    429: "shed",
    500: "unforeseen",
    503: "no-release",
    504: "late",
}
"""The usual reason of each HTTP status."""


def _no_latencies() -> list[int]:
    return [0] * (len(BOUNDS) + 1)


class Counts(msgspec.Struct):
    """What was asked of one release in one share of the traffic, since the process began.

    Attributes:
        system: Name of the system; empty if the request named none that is served.
        release: The release's digest, shortened; empty if none was found.
        share: ``champion``, ``canary`` or ``shadow``; empty if none was chosen.
        answers: Requests answered, by wire format.
        errors: Requests refused, by ``"<status> <reason>"``.
        rows: Predictions made.
        seconds: Sum of the latencies of all answers.
        latencies: How many answers fell into each bucket of ``BOUNDS``; the last: longer than all.
        changed: When it was last seen to have changed, seconds since 1970.
    """

    system: str
    release: str
    share: str
    answers: dict[str, int] = msgspec.field(default_factory=dict)
    errors: dict[str, int] = msgspec.field(default_factory=dict)
    rows: int = 0
    seconds: float = 0.0
    latencies: list[int] = msgspec.field(default_factory=_no_latencies)
    changed: float = 0.0

    def answered(self, seconds: float, rows: int, wire: str = "json") -> None:
        """Count an answer.

        Args:
            seconds: From the whole request received to its answer.
            rows: Predictions in it.
            wire: Name of the wire format.
        """
        self.rows += rows
        self.seconds += seconds
        self.latencies[bisect_left(BOUNDS, seconds)] += 1
        try:
            self.answers[wire] += 1
        except KeyError:
            self.answers[wire] = 1

    def refused(self, status: int, reason: Reason | None = None) -> None:
        """Count a request that got no prediction.

        Args:
            status: The HTTP status it was answered with.
            reason: Why, where the status alone does not tell.
        """
        key = f"{status} {reason or REASONS.get(status, 'other')}"
        self.errors[key] = self.errors.get(key, 0) + 1

    @property
    def key(self) -> tuple[str, str, str]:
        """What it counts: system, release, share."""
        return self.system, self.release, self.share

    @property
    def answered_total(self) -> int:
        """Requests answered."""
        return sum(self.latencies)

    def refused_total(self, kind: str = "") -> int:
        """Requests refused whose status begins so: ``4`` by the client's fault, ``5`` by ours."""
        return sum(count for key, count in list(self.errors.items()) if key.startswith(kind))

    def add(self, other: Counts) -> None:
        """Add what another process counted of the same."""
        _add(self.answers, other.answers)
        _add(self.errors, other.errors)
        self.rows += other.rows
        self.seconds += other.seconds
        self.latencies = [a + b for a, b in zip(self.latencies, other.latencies, strict=True)]
        self.changed = max(self.changed, other.changed)


class LogCounts(msgspec.Struct):
    """What one system's prediction log took, and what it did not.

    Attributes:
        system: Name of the system.
        entries: Entries written.
        unlogged: Requests answered and not logged, by reason: ``sampled`` or ``failed``.
    """

    system: str
    entries: int = 0
    unlogged: dict[str, int] = msgspec.field(default_factory=dict)

    def missed(self, reason: Literal["sampled", "failed"], requests: int = 1) -> None:
        """Count answers that were not logged."""
        self.unlogged[reason] = self.unlogged.get(reason, 0) + requests

    @property
    def key(self) -> str:
        """What it counts."""
        return self.system

    def add(self, other: LogCounts) -> None:
        """Add what another process counted of the same."""
        self.entries += other.entries
        _add(self.unlogged, other.unlogged)


class SwitchCounts(msgspec.Struct):
    """How one system's releases were switched.

    Attributes:
        system: Name of the system.
        switches: Releases that began to answer.
        seconds: Sum of the times from a decision being read to its release answering.
        failures: Times a release could not be fetched, verified, loaded or warmed up.
    """

    system: str
    switches: int = 0
    seconds: float = 0.0
    failures: int = 0

    @property
    def key(self) -> str:
        """What it counts."""
        return self.system

    def add(self, other: SwitchCounts) -> None:
        """Add what another process counted of the same."""
        self.switches += other.switches
        self.seconds += other.seconds
        self.failures += other.failures


def _add(into: dict[str, int], other: dict[str, int]) -> None:
    for key, count in other.items():
        into[key] = into.get(key, 0) + count
