"""The order of the steps, free of Prefect: the same whether a server keeps the record or none is up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from lifecycle.core.clock import parse_moment
from lifecycle.core.erasure import AffectedVersion, Proof, Queued, Receipt
from lifecycle.core.scoring import ScoreRequest, ScoreResult
from lifecycle.core.settings import Settings
from lifecycle.core.trigger import Trigger
from lifecycle.core.values import Evaluation, FlowResult, ModelVersion, Snapshot, TrainingRun
from lifecycle.data.scoring.work import ChunkRecord
from lifecycle.steps.erase import Eraser, QueueUpdate
from lifecycle.steps.loop import Loop
from lifecycle.steps.rotate import Rotated, Rotator
from lifecycle.steps.score import Scorer
from lifecycle.steps.score_chunks import Job
from lifecycle.wiring import compact_log as make_parquet
from lifecycle.wiring import open_eraser, open_loop, open_rotator, open_scorer

if TYPE_CHECKING:
    from lifecycle.steps.compact import Compaction

RETRY_DELAYS = (2, 10, 30)
"""Seconds to wait before each new try of a step that failed for a reason that may pass."""


@dataclass(frozen=True)
class Step:
    """A step of the loop, as people see it.

    Attributes:
        name: In the UI, in the log and in the progress of the command line.
        run: What it does.
        outcome: What came of it, in a few words.
    """

    name: str
    run: Callable[..., Any]
    outcome: Callable[[Any], str]


class Runner(Protocol):
    """Runs one step: as a Prefect task, or directly."""

    def __call__(self, step: Step, *arguments: Any) -> Any:
        """The step's result; transient errors are retried, terminal ones are not."""
        ...


def _ingested(snapshot: Snapshot) -> str:
    counts = snapshot.counts
    said = f"{counts.kept:,} rows, {counts.quarantined:,} refused, {counts.immature:,} awaiting their label"
    said += counts.withheld
    return "\n".join([said, *(f"warning: {warning}" for warning in snapshot.warnings)])


def _evaluated(evaluation: Evaluation) -> str:
    kept = f"{sum(gate.ok for gate in evaluation.gates)} of {len(evaluation.gates)} gates kept"
    return f"{kept}\n{evaluation.surprise}" if evaluation.surprise else kept


def _registered(version: ModelVersion) -> str:
    return f"version {version.version}, release {version.release.digest[:12]}"


def _ran(run: TrainingRun) -> str:
    return f"ran {', '.join(run.ran)}" if run.ran else "nothing was out of date"


def _compacted(done: Compaction) -> str:
    days = f", deleted {', '.join(done.deleted_days)}" if done.deleted_days else ""
    return f"{done.predictions:,} predictions, {done.outcomes:,} outcomes from {done.segments} segments{days}"


def _prepared(job: Job) -> str:
    files = f"{len(job.inputs.files)} file{'s' if len(job.inputs.files) > 1 else ''}"
    said = f"{files}, version {job.plan.version}, release {job.plan.release[:12]}"
    return "\n".join([said, *(f"warning: {warning}" for warning in job.warnings)])


def _scored(records: Sequence[ChunkRecord]) -> str:
    return f"{sum(record.counts.read for record in records):,} rows in {len(records)} chunks"


def _proved(proof: Proof) -> str:
    files = sum(place.sealed for place in proof.places)
    lost = sum(place.lost for place in proof.places)
    return f"{lost:,} rows can no longer be opened; {files:,} sealed files looked through"


def _affected(versions: Sequence[AffectedVersion]) -> str:
    return ", ".join(version.version for version in versions) or "none"


def _queued(queued: Queued) -> str:
    return f"{queued.status}: {queued.detail}"


def rotated(done: Rotated) -> str:
    """What came of a rotation, in a few words."""
    if done.kek is None:
        return "no keys to rotate"
    return f"version {done.kek} of the key encryption key, {done.subject_keys:,} subject keys wrapped anew"


def _ended(result: FlowResult | ScoreResult) -> str:
    return f"{result.status}: {result.reason}"


INGEST = Step("ingest", Loop.ingest, _ingested)
TRAIN = Step("train", Loop.train, _ran)
EVALUATE = Step("evaluate", Loop.evaluate, _evaluated)
REGISTER = Step("register", Loop.register, _registered)
PROMOTE = Step("promote", Loop.promote, _ended)
ROLL_BACK = Step("roll back", Loop.rollback, _ended)
COMPACT = Step("compact", make_parquet, _compacted)
ERASE = Step("erase", Eraser.erase, lambda moment: f"keys destroyed at {moment:%Y-%m-%d %H:%M:%S}")
PROVE = Step("prove", Eraser.prove, _proved)
MODELS = Step("models", Eraser.affected, _affected)
QUEUE = Step("queue", Eraser.queue, _queued)
RECEIPT = Step("receipt", Eraser.issue, lambda receipt: f"signed for {receipt.ref}")
ROTATE = Step("rotate", Rotator.rotate, rotated)
PREPARE = Step("prepare", Scorer.prepare, _prepared)
SCORE = Step("score", Scorer.score, _scored)
PUBLISH = Step("publish", Scorer.publish, _ended)


def first_deployment(run: Runner, system: str, as_of: datetime | None) -> FlowResult:
    """Deploy for the first time; refused when a champion exists."""
    with _loop(system, as_of).opened("first-deployment") as loop:
        return _advance(run, loop)


def update(run: Runner, system: str, as_of: datetime | None, trigger: Trigger = "manual") -> FlowResult:
    """Bring a candidate from recent data; refused when there is no champion."""
    with _loop(system, as_of, trigger).opened("update") as loop:
        return _advance(run, loop)


def rollback(run: Runner, system: str, reason: str, version: str | None) -> FlowResult:
    """Make live what was live before."""
    with _loop(system, None).opened("rollback") as loop:
        result: FlowResult = run(ROLL_BACK, loop, reason, version)
        return result


def compact_log(run: Runner, system: str) -> Compaction:
    """Make Parquet of what servers have logged."""
    done: Compaction = run(COMPACT, Settings(), system)
    return done


def erase_subject(run: Runner, system: str, ref: str, queue_update: QueueUpdate) -> Receipt:
    """Erase a subject, prove it, and say so on paper."""
    eraser = open_eraser(Settings(), system, ref, queue_update)
    erased_at = run(ERASE, eraser)
    proof = run(PROVE, eraser)
    versions = run(MODELS, eraser, proof)
    queued = run(QUEUE, eraser, versions)
    receipt: Receipt = run(RECEIPT, eraser, erased_at, proof, versions, queued)
    return receipt


def rotate_keys(run: Runner, system: str) -> Rotated:
    """Wrap the keys of a system's subjects anew."""
    done: Rotated = run(ROTATE, open_rotator(Settings(), system))
    return done


def score_batch(run: Runner, system: str, request: ScoreRequest, as_of: datetime | None) -> ScoreResult:
    """Score files with a release, and publish all of it or nothing."""
    moment = parse_moment(as_of) if as_of else None
    with open_scorer(Settings(), system, request, moment).opened() as scorer:
        job = run(PREPARE, scorer)
        if ended := scorer.settled(job):
            return ended
        result: ScoreResult = run(PUBLISH, scorer, job, run(SCORE, scorer, job))
        return result


def _advance(run: Runner, loop: Loop) -> FlowResult:
    snapshot = run(INGEST, loop)
    training = run(TRAIN, loop, snapshot)
    if ended := loop.settled(training):
        return ended
    evaluation = run(EVALUATE, loop, training)
    version = run(REGISTER, loop, training, evaluation)
    result: FlowResult = run(PROMOTE, loop, training, evaluation, version)
    return result


def _loop(system: str, as_of: datetime | None, trigger: Trigger = "manual") -> Loop:
    return open_loop(Settings(), system, parse_moment(as_of) if as_of else None, trigger)
