"""Steps as Prefect tasks: named, timed, and retried only where that can help."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import FlowRun, State, TaskRun
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed
from prefect.tasks import Task

from flows.order import RETRY_DELAYS, Runner, Step
from lifecycle.core.errors import TransientError
from lifecycle.core.scoring import ScoreResult
from lifecycle.core.settings import Settings
from lifecycle.core.values import FlowResult
from lifecycle.steps import score_summary
from lifecycle.steps.summary import as_markdown
from lifecycle.wiring import addresses

# Forwarded to the UI by PREFECT_LOGGING_EXTRA_LOGGERS, and shown by the command line as progress.
LOG = logging.getLogger("lifecycle.flows")


def as_task(step: Step, *arguments: Any) -> Any:
    """Run a step as a task of the current flow run.

    Results stay in memory: a step that is run again finds its own work, wherever that lies.
    """

    @task(
        name=step.name,
        description=step.run.__doc__,
        retries=len(RETRY_DELAYS),
        retry_delay_seconds=list(RETRY_DELAYS),
        retry_condition_fn=is_transient,
        cache_policy=NO_CACHE,
        persist_result=False,
    )
    def timed() -> Any:
        start = time.monotonic()
        result = step.run(*arguments)
        LOG.info("%-9s %6.1f s  %s", step.name, time.monotonic() - start, step.outcome(result))
        return result

    return timed()


def is_transient(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether the failure may pass by itself: no retry can mend a terminal error."""
    return isinstance(state.result(raise_on_failure=False), TransientError)


def finished(order: Callable[..., FlowResult], *arguments: Any) -> State[Any]:
    """Run a flow's order with tasks; end with a summary in the UI and a state named after how it ended."""
    result = order(_runner(), *arguments)
    markdown = as_markdown(result, addresses(Settings()))
    create_markdown_artifact(markdown, key=result.system, description=f"How {result.system} was last updated")
    return Completed(name=result.status.title(), message=result.reason, data=result)


def scored(order: Callable[..., ScoreResult], *arguments: Any) -> State[Any]:
    """The same for scoring, whose summary is kept apart from that of updates."""
    result = order(_runner(), *arguments)
    create_markdown_artifact(
        score_summary.as_markdown(result),
        key=f"{result.system}-scores",
        description=f"How {result.system} last scored a batch",
    )
    return Completed(name=result.status.title(), message=result.reason, data=result)


def queue_update(system: str, name: str) -> str | None:
    """Queue the update after an erasure, once per name; its run's name, or None: nobody runs updates."""
    try:
        run = run_deployment(
            f"update/{system}",
            timeout=0,
            as_subflow=False,
            flow_run_name=name,
            idempotency_key=name,
            parameters={"trigger": "erasure"},
            tags=["erasure"],
        )
    except ObjectNotFound:
        return None
    assert isinstance(run, FlowRun), "called from a flow that is not asynchronous"
    return run.name


def _runner() -> Runner:
    logging.getLogger("lifecycle").setLevel(logging.INFO)  # what a worker's process leaves at WARNING
    return as_task
