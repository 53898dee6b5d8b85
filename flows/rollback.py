"""The flow ``rollback``: what was live before is live again."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows import order
from flows.tasks import finished


@flow(name="rollback", persist_result=False)
def rollback(system: str, reason: str = "", version: str | None = None) -> State[Any]:
    """Make live what was live before; it is verified and loaded first.

    Args:
        system: A key of `params.yaml`.
        reason: Why; kept in the ledger.
        version: Roll back only if this version is live, so that asking twice rolls back once.
    """
    return finished(order.rollback, system, reason, version)
