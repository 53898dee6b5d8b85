"""What a first deployment and an update have in common: the order of the steps."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.tasks import evaluate, ingest, promote, register, train
from lifecycle.core.clock import parse_moment
from lifecycle.core.settings import Settings
from lifecycle.core.values import FlowResult
from lifecycle.steps.loop import Loop
from lifecycle.steps.summary import as_markdown
from lifecycle.wiring import addresses, open_loop


def opened(system: str, as_of: datetime | None) -> Loop:
    """The loop of a system, as the environment says where things are."""
    return open_loop(Settings(), system, parse_moment(as_of) if as_of else None)


def advance(loop: Loop) -> FlowResult:
    """From sources to a decision; ends early where there is nothing to decide."""
    snapshot = ingest(loop)
    run = train(loop, snapshot)
    if ended := loop.settled(run):
        return ended
    evaluation = evaluate(loop, run)
    version = register(loop, run, evaluation)
    return promote(loop, run, evaluation, version)


def finished(result: FlowResult) -> State[Any]:
    """End a flow: a summary that the UI shows, and a state named after how it ended."""
    create_markdown_artifact(
        as_markdown(result, addresses(Settings())), key=result.system, description=result.reason
    )
    return Completed(name=result.status.title(), message=result.reason, data=result)
