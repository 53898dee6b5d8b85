"""What all workers counted, as one."""

from __future__ import annotations

from dataclasses import dataclass

from lifecycle.serving.metrics.files import Published, Totals
from lifecycle.serving.metrics.minute import Rates, rates

FRESH = 5.0
"""A worker that told nothing for longer is stuck: what it did in the last minute is not shown, seconds."""

IDLE = 86_400.0
"""After so long without a request, the numbers of a release that is not live are no longer shown, seconds."""


@dataclass(frozen=True)
class Whole:
    """The service at one moment.

    Attributes:
        totals: The counters of all workers, alive or gone.
        workers: Those alive, one per name.
        shared: Whether this worker could read the others.
    """

    totals: Totals
    workers: tuple[Published, ...]
    shared: bool

    def rates(self, system: str) -> Rates:
        """How a system did in the last minute."""
        now = max(worker.at for worker in self.workers)
        fresh = [worker for worker in self.workers if now - worker.at <= FRESH]
        return rates([worker.minute[system] for worker in fresh if system in worker.minute])

    def forget_idle(self, now: float) -> None:
        """Leave out releases that are not live and were not asked for a day, so that labels stay few.

        Args:
            now: Seconds since 1970.
        """
        live = {(fact.system, fact.release) for worker in self.workers for fact in worker.facts.releases}
        self.totals.counts[:] = [
            each
            for each in self.totals.counts
            if not each.release or (each.system, each.release) in live or now - each.changed < IDLE
        ]


def whole_of(own: Published, others: list[Published], past: Totals, *, shared: bool) -> Whole:
    """Add everything up; of two workers of one name, as in a rolling restart, the younger one is shown."""
    totals = past
    for worker in (*others, own):
        totals.add(worker.totals)
    by_age = sorted((*others, own), key=lambda worker: worker.process.started)
    names = {worker.worker: worker for worker in by_age}
    return Whole(totals=totals, workers=tuple(names.values()), shared=shared)
