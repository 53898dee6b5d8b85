"""The steps of the loop as Prefect tasks: named, timed, and retried only where that can help."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from lifecycle.core.errors import TransientError
from lifecycle.core.values import Evaluation, FlowResult, ModelVersion, Snapshot, TrainingRun
from lifecycle.steps.loop import Loop

# Forwarded to the Prefect UI, and shown by the command line as progress.
LOG = logging.getLogger("lifecycle.flows")

P = ParamSpec("P")
R = TypeVar("R")


async def transient(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether the failure may pass by itself: a retry cannot mend a terminal error."""
    return isinstance(await state.aresult(raise_on_failure=False), TransientError)


def step(name: str, outcome: Callable[[R], str]) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a Prefect task of a step.

    Results stay in memory: a step that is run again finds its own work, wherever that lies.

    Args:
        name: As shown in the UI and in the progress of the command line.
        outcome: What came of it, in a few words.
    """

    def decorate(function: Callable[P, R]) -> Task[P, R]:
        @functools.wraps(function)
        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            start = time.monotonic()
            result = function(*args, **kwargs)
            LOG.info("%-9s %6.1f s  %s", name, time.monotonic() - start, outcome(result))
            return result

        return task(
            timed,
            name=name,
            retries=3,
            retry_delay_seconds=[2, 10, 30],
            retry_condition_fn=transient,
            cache_policy=NO_CACHE,
            persist_result=False,
        )

    return decorate


def _ingested(snapshot: Snapshot) -> str:
    counts = snapshot.counts
    return f"{counts.kept:,} rows, {counts.quarantined:,} refused, {counts.immature:,} awaiting their label"


def _evaluated(evaluation: Evaluation) -> str:
    return f"{sum(gate.ok for gate in evaluation.gates)} of {len(evaluation.gates)} gates kept"


@step("ingest", _ingested)
def ingest(loop: Loop) -> Snapshot:
    """Version the data."""
    snapshot = loop.ingest()
    for warning in snapshot.warnings:
        LOG.warning(warning)
    return snapshot


@step("train", lambda run: f"ran {', '.join(run.ran)}" if run.ran else "nothing was out of date")
def train(loop: Loop, snapshot: Snapshot) -> TrainingRun:
    """Run the stages that DVC finds out of date."""
    return loop.train(snapshot)


@step("evaluate", _evaluated)
def evaluate(loop: Loop, run: TrainingRun) -> Evaluation:
    """Compare, measure and report."""
    return loop.evaluate(run)


@step("register", lambda version: f"version {version.version}, release {version.release.digest[:12]}")
def register(loop: Loop, run: TrainingRun, evaluation: Evaluation) -> ModelVersion:
    """Put it where people review."""
    return loop.register(run, evaluation)


@step("promote", lambda result: f"{result.status}: {result.reason}")
def promote(loop: Loop, run: TrainingRun, evaluation: Evaluation, version: ModelVersion) -> FlowResult:
    """Decide, and switch."""
    return loop.promote(run, evaluation, version)


@step("roll back", lambda result: f"{result.status}: {result.reason}")
def roll_back(loop: Loop, reason: str, version: str | None) -> FlowResult:
    """Switch to what was live before."""
    return loop.rollback(reason, version)
