"""The flow ``compact-log``: what servers have logged becomes Parquet, exactly once."""

from __future__ import annotations

import logging
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows import order
from flows.tasks import as_task


@flow(name="compact-log", persist_result=False)
def compact_log(system: str) -> State[Any]:
    """Compact the segments that nobody writes any more, and delete the days that are not kept.

    Args:
        system: A key of `params.yaml`.
    """
    logging.getLogger("lifecycle").setLevel(logging.INFO)  # what a worker's process leaves at WARNING
    done = order.compact_log(as_task, system)
    return Completed(message=f"{done.predictions} predictions, {done.outcomes} outcomes", data=done)
