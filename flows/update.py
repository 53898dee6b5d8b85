"""The flow ``update``: a candidate from recent data, judged against the champion."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows import order
from flows.tasks import finished


@flow(name="update", persist_result=False)
def update(system: str, as_of: datetime | None = None) -> State[Any]:
    """Retrain on recent data, compare with the champion on identical rows, promote if it is not worse.

    Args:
        system: A key of `params.yaml`.
        as_of: Only events and labels known by then exist; now, if not given.
    """
    return finished(order.update, system, as_of)
