"""The flow ``first-deployment``: no champion yet, so the bar is set by naive baselines."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows import order
from flows.tasks import finished


@flow(name="first-deployment", persist_result=False)
def first_deployment(system: str, as_of: datetime | None = None) -> State[Any]:
    """Deploy a system for the first time: it must beat naive baselines and meet its requirements.

    Args:
        system: A key of `params.yaml`.
        as_of: Only events and labels known by then exist; now, if not given.
    """
    return finished(order.first_deployment, system, as_of)
