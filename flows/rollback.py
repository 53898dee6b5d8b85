"""The flow ``rollback``: what was live before is live again."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.advance import finished, opened
from flows.tasks import roll_back


@flow(name="rollback", persist_result=False)
def rollback(system: str, reason: str = "", version: str | None = None) -> State[Any]:
    """Make live what was live before; it is verified and loaded first.

    Args:
        system: A key of ``params.yaml``.
        reason: Why; kept in the ledger.
        version: Roll back only if this version is live, so that asking twice rolls back once.
    """
    with opened(system, None).opened("rollback") as loop:
        return finished(roll_back(loop, reason, version))
