"""The flow ``erase-subject``: a person's keys are destroyed, and a receipt says what that means."""

from __future__ import annotations

import logging
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows import order
from flows.tasks import as_task, queue_update


@flow(name="erase-subject", persist_result=False)
def erase_subject(system: str, ref: str) -> State[Any]:
    """Erase a subject, prove it, queue an update without them, and write a signed receipt.

    Args:
        system: A key of `params.yaml`.
        ref: The subject's ref: 32 hex digits. Never an identifier: parameters are kept and shown.
    """
    logging.getLogger("lifecycle").setLevel(logging.INFO)  # what a worker's process leaves at WARNING
    receipt = order.erase_subject(as_task, system, ref, queue_update)
    return Completed(message=f"{receipt.lost} rows can no longer be opened", data=receipt)
