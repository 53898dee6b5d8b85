"""The highest rate that meets a latency budget: which rates to try, and what to make of them. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from lifecycle.core.capacity import Capacity, LoadPoint

Offer = Callable[[float], LoadPoint]
"""Offers a rate, requests a second, and says what came."""

LOWEST = 0.5
"""A server that misses the budget at this rate, requests a second, is said not to meet it at all."""

_STEP_BACK = 0.95
_CURVE = (0.1, 0.25, 0.5, 0.75, 0.9, 1.1)


@dataclass
class Search:
    """Finds a capacity by doubling (or halving) a rate until the budget is missed (or met), then bisecting.

    A rate that misses the budget is tried once more before it counts as missed, because one hiccup of a
    shared machine is not a limit; what that lets through, the confirmations catch: the rate that is told
    met the budget each time it was tried again, or a lower one is told.

    Args:
        offer: Offers a rate to what is measured.
        budget_ms: Bound on the 99th percentile, ms.
        start: First rate to try, requests a second.
        tolerance: The rate is found to this relative precision.
        confirmations: How often it must meet the budget again.
        patient: Whether a rate that misses is tried once more.
        has_time: Asked before each load; False ends the search with what is known.

    Attributes:
        points: Every load that was tried, in order.
    """

    offer: Offer
    budget_ms: float
    start: float
    tolerance: float = 0.05
    confirmations: int = 3
    patient: bool = True
    has_time: Callable[[], bool] = lambda: True
    points: list[LoadPoint] = field(default_factory=list)

    def run(self) -> Capacity:
        """Search, confirm, and say what was found."""
        met, missed = self._bracket()
        while met and missed and missed.rate_per_s > met * (1 + self.tolerance) and self.has_time():
            middle = (met * missed.rate_per_s) ** 0.5
            if fault := self._missed(middle):
                missed = fault
            else:
                met = middle
        confirmed = 0
        while met and confirmed < self.confirmations:
            point = self._try(met)
            if point.fault(self.budget_ms):
                missed, confirmed = point, 0
                met = met * _STEP_BACK if met * _STEP_BACK >= LOWEST else 0.0
            else:
                confirmed += 1
        return Capacity(
            budget_ms=self.budget_ms,
            per_s=met,
            limit=self._told(missed),
            at_least=missed is None or not missed.valid,
            confirmed=confirmed,
            points=self._sorted(),
        )

    def curve(self, found: Capacity) -> Capacity:
        """The same capacity, with loads around it tried for a picture of latency versus load."""
        tried = [point.rate_per_s for point in self.points]
        for share in _CURVE:
            rate = found.per_s * share
            if rate >= LOWEST and not any(abs(rate / known - 1) < 0.05 for known in tried):
                self._try(rate)
        return found.model_copy(update={"points": self._sorted()})

    def _bracket(self) -> tuple[float, LoadPoint | None]:
        """A rate that meets the budget (0 if none), and the lowest load seen to miss it (None if none)."""
        rate = self.start
        missed = self._missed(rate)
        if missed is None:
            while self.has_time():
                if missed := self._missed(rate * 2):
                    return rate, missed
                rate *= 2
            return rate, None
        while rate > LOWEST and self.has_time():
            rate = max(rate / 2, LOWEST)
            if (fault := self._missed(rate)) is None:
                return rate, missed
            missed = fault
        return 0.0, missed

    def _missed(self, rate: float) -> LoadPoint | None:
        """The load at a rate if it does not meet the budget on every try; None if it does."""
        point = self._try(rate)
        if self.patient and point.fault(self.budget_ms):
            point = self._try(rate)
        return point if point.fault(self.budget_ms) else None

    def _try(self, rate: float) -> LoadPoint:
        point = self.offer(rate)
        self.points.append(point)
        return point

    def _told(self, missed: LoadPoint | None) -> str:
        if missed is None:
            return "the time for the search was over before a rate missed the budget"
        return f"at {missed.rate_per_s:,.4g} requests a second: {missed.fault(self.budget_ms)}"

    def _sorted(self) -> tuple[LoadPoint, ...]:
        return tuple(sorted(self.points, key=lambda point: point.rate_per_s))
