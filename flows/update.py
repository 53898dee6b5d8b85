"""The flow ``update``: a candidate from recent data, judged against the champion."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows import order
from flows.tasks import finished
from lifecycle.core.trigger import Trigger


@flow(name="update", persist_result=False)
def update(system: str, as_of: datetime | None = None, trigger: Trigger = "manual") -> State[Any]:
    """Retrain on recent data, compare with the champion on identical rows, promote if it is not worse.

    Args:
        system: A key of `params.yaml`.
        as_of: Only events and labels known by then exist; now, if not given.
        trigger: Why it runs; kept in the ledger and shown to reviewers. The server refuses any other word.
    """
    return finished(order.update, system, as_of, trigger)
