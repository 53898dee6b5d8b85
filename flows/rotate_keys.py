"""The flow ``rotate-keys``: new keys around the keys of a system's subjects."""

from __future__ import annotations

import logging
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows import order
from flows.tasks import as_task


@flow(name="rotate-keys", persist_result=False)
def rotate_keys(system: str) -> State[Any]:
    """Wrap the keys of a system's subjects anew; an interrupted rotation is finished.

    Args:
        system: A key of `params.yaml`.
    """
    logging.getLogger("lifecycle").setLevel(logging.INFO)  # what a worker's process leaves at WARNING
    done = order.rotate_keys(as_task, system)
    return Completed(message=order.rotated(done), data=done)
