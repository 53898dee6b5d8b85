"""What the command line starts: through the Prefect server if one is up, else in this process alone.

Without a server Prefect is not even imported: its ephemeral one takes longer to start than an update that
finds nothing new, and is left behind by a kill.
"""

from __future__ import annotations

import logging
import os
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_chain, wait_fixed

from flows import order
from flows.order import RETRY_DELAYS, Step
from lifecycle.core.errors import TransientError
from lifecycle.core.scoring import ScoreRequest, ScoreResult
from lifecycle.core.trigger import Trigger
from lifecycle.core.values import FlowResult

if TYPE_CHECKING:
    from lifecycle.core.erasure import Receipt
    from lifecycle.steps.compact import Compaction
    from lifecycle.steps.rotate import Rotated

LOG = logging.getLogger("lifecycle.flows")


def first_deployment(system: str, as_of: datetime | None = None) -> FlowResult:
    """Deploy a system for the first time."""
    if _server_is_up():
        from flows.first_deployment import first_deployment as flow

        result: FlowResult = _result_of(flow, system=system, as_of=as_of)
        return result
    return order.first_deployment(directly, system, as_of)


def update(system: str, as_of: datetime | None = None, trigger: Trigger = "manual") -> FlowResult:
    """Update a system from recent data."""
    if _server_is_up():
        from flows.update import update as flow

        result: FlowResult = _result_of(flow, system=system, as_of=as_of, trigger=trigger)
        return result
    return order.update(directly, system, as_of, trigger)


def rollback(system: str, reason: str = "", version: str | None = None) -> FlowResult:
    """Make live what was live before."""
    if _server_is_up():
        from flows.rollback import rollback as flow

        result: FlowResult = _result_of(flow, system=system, reason=reason, version=version)
        return result
    return order.rollback(directly, system, reason, version)


def compact_log(system: str) -> Compaction:
    """Make Parquet of what servers have logged."""
    if _server_is_up():
        from flows.compact_log import compact_log as flow

        done: Compaction = _result_of(flow, system=system)
        return done
    return order.compact_log(directly, system)


def score_batch(system: str, request: ScoreRequest, as_of: datetime | None = None) -> ScoreResult:
    """Score files with a release."""
    if _server_is_up():
        from flows.score_batch import score_batch as flow

        asked = request.model_dump() | {"inputs": list(request.inputs)}
        result: ScoreResult = _result_of(flow, system=system, as_of=as_of, **asked)
        return result
    return order.score_batch(directly, system, request, as_of)


def erase_subject(system: str, ref: str) -> Receipt:
    """Erase a subject; without a server, nobody takes the update that is then due."""
    if _server_is_up():
        from flows.erase_subject import erase_subject as flow

        receipt: Receipt = _result_of(flow, system=system, ref=ref)
        return receipt
    return order.erase_subject(directly, system, ref, lambda _system, _name: None)


def rotate_keys(system: str) -> Rotated:
    """Wrap the keys of a system's subjects anew."""
    if _server_is_up():
        from flows.rotate_keys import rotate_keys as flow

        done: Rotated = _result_of(flow, system=system)
        return done
    return order.rotate_keys(directly, system)


def directly(step: Step, *arguments: Any) -> Any:
    """Run a step in this process, with the same retries that Prefect gives it."""
    start = time.monotonic()
    retrying = Retrying(
        retry=retry_if_exception_type(TransientError),
        stop=stop_after_attempt(1 + len(RETRY_DELAYS)),
        wait=wait_chain(*(wait_fixed(seconds) for seconds in RETRY_DELAYS)),
        reraise=True,
    )
    result = retrying(step.run, *arguments)
    LOG.info("%-9s %6.1f s  %s", step.name, time.monotonic() - start, step.outcome(result))
    return result


def _server_is_up() -> bool:
    return bool(os.environ.get("PREFECT_API_URL"))


def _result_of(flow: Any, **parameters: Any) -> Any:
    return flow(**parameters, return_state=True).result()
