"""A deployment ledger in memory, for tests of whatever stands around one.

It keeps decisions in a list and obeys the same rules (``Trail``), so it answers as ``SqlLedger`` does: both
pass the contract in ``tests/rollout/test_rollout_ledger_contract.py``. It differs in three ways:
nothing survives the process, one process alone can use it, and ``outage`` makes every call fail as an
unreachable database would.

    ledger = LedgerSimulator()
    ledger.record(first, expected=None)
    ledger.outage = UnavailableError("the ledger does not answer")
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime

from lifecycle.core.clock import parse_moment
from lifecycle.core.errors import LifecycleError
from lifecycle.core.values import Deployment
from lifecycle.rollout.decisions import Trail


class LedgerSimulator:
    """``core.ports.Ledger`` on a list.

    Attributes:
        rows: Every decision of every system, oldest first.
        outage: Raised by every call while it is set.
    """

    def __init__(self) -> None:
        self.rows: list[Deployment] = []
        self.outage: LifecycleError | None = None
        self._lock = threading.Lock()

    def live(self, system: str) -> Deployment | None:
        return Trail(system, self.history(system)).live

    def live_all(self) -> Sequence[Deployment]:
        self._answer()
        found = (self.live(system) for system in sorted({row.system for row in self.rows}))
        return tuple(deployment for deployment in found if deployment)

    def live_at(self, system: str, moment: datetime) -> Deployment | None:
        return Trail(system, self.history(system, moment)).live

    def history(self, system: str, until: datetime | None = None) -> Sequence[Deployment]:
        self._answer()
        rows = (row for row in self.rows if row.system == system)
        return tuple(row for row in rows if until is None or row.decided_at <= parse_moment(until))

    def record(self, deployment: Deployment, *, expected: int | None) -> Deployment:
        self._answer()
        with self._lock:
            trail = Trail(deployment.system, self.history(deployment.system))
            trail.expect(expected)
            before = trail.live
            trail.append(deployment)
            given = {
                "id": len(self.rows) + 1,
                "previous": before.release.digest if before else None,
                "decided_at": parse_moment(deployment.decided_at),
                "as_of": parse_moment(deployment.as_of),
            }
            # Through JSON, as in a database: what cannot be written there must not pass here.
            stored = Deployment.model_validate_json(deployment.model_copy(update=given).model_dump_json())
            self.rows.append(stored)
            return stored

    def _answer(self) -> None:
        if self.outage is not None:
            raise self.outage
