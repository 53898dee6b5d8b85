"""Settings to real adapters: the only place that knows them all. Each is imported when it is asked for."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle.core.clock import SystemClock
from lifecycle.core.machine import cores
from lifecycle.core.params import load_params
from lifecycle.core.settings import Settings, environment_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from lifecycle.core.capacity import CapacityReport
    from lifecycle.core.ports import Engine, Ledger, Registry, ReleaseStore, Signer
    from lifecycle.core.scoring import ScoreRequest
    from lifecycle.data.log_parts import CompactedLog
    from lifecycle.data.outcome_import import Imported, OutcomeCounts
    from lifecycle.data.workspace import GitDvcWorkspace
    from lifecycle.serving.board import Seat
    from lifecycle.serving.keys import KeyFile
    from lifecycle.serving.process import Manner
    from lifecycle.steps.capacity import Question
    from lifecycle.steps.compact import Compaction
    from lifecycle.steps.log_status import LogStatus
    from lifecycle.steps.loop import Loop
    from lifecycle.steps.reproduce import Proof
    from lifecycle.steps.score import Scorer


def open_loop(settings: Settings, system: str, as_of: datetime | None = None) -> Loop:
    """The loop of one system with its real adapters.

    Args:
        settings: Where things are.
        system: Name of the system, a key of ``params.yaml``.
        as_of: The moment it stands for; now, if None.

    Raises:
        ConfigError: ``params.yaml`` has faults or no such system.
    """
    from lifecycle.serving.probe import ServerProbe
    from lifecycle.steps.loop import Loop

    load_params(settings.project).system(system)  # a wrong name is told before anything is opened
    clock = SystemClock()
    signer = open_signer(settings)
    workspace = open_workspace(settings, system)
    return Loop(
        name=system,
        as_of=as_of or clock.now(),
        actor=settings.actor,
        reports=settings.state / "reports",
        releases=settings.releases,
        workspace=workspace,
        registry=open_registry(settings),
        ledger=open_ledger(settings),
        store=open_store(settings),
        signer=signer,
        probe=ServerProbe(settings, estimator_command(settings.project)),
        clock=clock,
        load_engine=lambda folder: open_engine(folder, workspace.root),
        compact_log=partial(compact_log, settings, system),
    )


def open_scorer(
    settings: Settings, system: str, request: ScoreRequest, as_of: datetime | None = None
) -> Scorer:
    """A scoring job of one system with its real adapters.

    Args:
        settings: Where things are.
        system: Name of the system, a key of ``params.yaml``.
        request: What is asked.
        as_of: The moment it stands for; now, if None.

    Raises:
        ConfigError: ``params.yaml`` has faults or no such system.
    """
    from lifecycle.steps.score import Scorer

    return Scorer(
        name=system,
        request=request,
        as_of=as_of or SystemClock().now(),
        past=as_of is not None,
        actor=settings.actor,
        root=settings.project,
        params=load_params(settings.project).system(system),
        ledger=open_ledger(settings),
        store=open_store(settings),
        signer=open_signer(settings),
        load_engine=engine_loader(settings.project, request.threads),
    )


def open_signer(settings: Settings) -> Signer:
    """The signing key of this project, made at first use."""
    from lifecycle.records.signing import Ed25519Signer

    return Ed25519Signer(settings.keys)


def open_ledger(settings: Settings) -> Ledger:
    """The deployment ledger; the servers of this machine are told of each switch it records."""
    from lifecycle.rollout.ledger import SqlLedger
    from lifecycle.serving.notice import announce

    return SqlLedger(settings.ledger, switched=partial(announce, settings.state))


def open_registry(settings: Settings) -> Registry:
    """The model registry."""
    from lifecycle.registry.mlflow_registry import MlflowRegistry

    return MlflowRegistry(settings)


def open_store(settings: Settings) -> ReleaseStore:
    """The cache of verified releases."""
    from lifecycle.serving.store import VerifiedReleaseStore

    return VerifiedReleaseStore(settings.releases, open_signer(settings))


def open_workspace(settings: Settings, system: str) -> GitDvcWorkspace:
    """The data versions and commits of a system."""
    from lifecycle.data.workspace import GitDvcWorkspace

    return GitDvcWorkspace(settings, system)


def open_engine(folder: Path, root: Path, workers: int | None = 1) -> Engine:
    """The model of a folder: a release, or what training left.

    Args:
        folder: Holds the model and ``schema.json``.
        root: The project whose code a scikit-learn estimator may need.
        workers: Processes that run such an estimator; one a core, if None.
    """
    from lifecycle.serving.engine import load_engine

    return load_engine(folder, estimator=estimator_command(root), workers=workers)


def engine_loader(root: Path, workers: int | None = 1) -> Callable[[Path], Engine]:
    """`open_engine` for the code of one project."""
    return lambda folder: open_engine(folder, root, workers)


def estimator_command(root: Path) -> tuple[str, ...]:
    """Runs a scikit-learn estimator in a process of its own; a folder and a descriptor are appended.

    ``-P`` keeps the current folder off the import path; the project's comes first.
    """
    return (sys.executable, "-P", "-m", "lifecycle.training.estimator_server", "--root", str(root))


def run_stage(root: Path, stage: str, system: str) -> None:
    """Run one DVC stage in a project folder: ``split``, ``train`` or ``evaluate``."""
    from lifecycle.steps import stages

    if stage == "split":
        stages.run_split(root, system)
    elif stage == "train":
        stages.run_train(root, system, engine_loader(root))
    else:
        stages.run_evaluate(root, system, engine_loader(root))


def serve(settings: Settings, port: int, workers: int | None = None) -> None:
    """Run the prediction service until it is told to stop.

    Args:
        settings: Where things are.
        port: 0 takes a free one.
        workers: How many processes answer; ``settings.serving_workers``, if None. One runs in this process.

    Raises:
        ConfigError: It would listen to other machines without API keys.
    """
    from lifecycle.serving.keys import KeyRing, require_keys

    require_keys(KeyRing(settings.key_file), settings.host)
    count = workers or settings.serving_workers
    if count == 1:
        from lifecycle.serving.server import run_server

        run_server(_service(settings), settings.host, port, _manner(settings))
    else:
        from lifecycle.serving.workers import Workers

        command = (sys.executable, "-P", "-m", "lifecycle", "serve", "--place")
        with tempfile.TemporaryDirectory(prefix="counters-", dir=_made(settings.state / "tmp")) as folder:
            shared = {
                "LIFECYCLE_COUNTERS": folder,
                # Each worker has its own processes of an estimator: together no more than there are cores.
                "LIFECYCLE_ESTIMATOR_WORKERS": str(settings.estimator_workers or max(1, cores() // count)),
            }
            environment = os.environ | environment_of(settings) | shared
            Workers(command, count, environment, _manner(settings)).run(settings.host, port)


def work(settings: Settings, place: str) -> None:
    """Be one worker of ``serve``.

    Args:
        settings: The parent's.
        place: A ``Place`` as JSON.
    """
    from lifecycle.serving.process import Place
    from lifecycle.serving.worker import run_worker

    run_worker(Place.from_json(place), lambda seat: _service(settings, seat), _manner(settings))


def _service(settings: Settings, seat: Seat | None = None) -> ASGIApp:
    """The prediction service of this process.

    Args:
        settings: Where things are.
        seat: Its place among several workers, which share their counters; None if it is the only one.
    """
    from lifecycle.serving.app import create_app
    from lifecycle.serving.keys import KeyRing

    return create_app(
        open_ledger(settings),
        open_store(settings),
        poll_seconds=settings.poll_seconds,
        keys=KeyRing(settings.key_file),
        origins=settings.origins,
        log=settings.log,
        segment_seconds=settings.log_segment_seconds,
        counters=settings.counters,
        mlflow=settings.mlflow_pages,
        load_engine=engine_loader(settings.project, settings.estimator_workers),
        seat=seat,
        state=settings.state,
    )


def _manner(settings: Settings) -> Manner:
    from lifecycle.serving.process import Manner

    return Manner(settings.tls_certificate, settings.tls_key, settings.drain_seconds)


def open_keys(settings: Settings) -> KeyFile:
    """The API keys of this project."""
    from lifecycle.serving.keys import KeyFile

    return KeyFile(settings.key_file)


def capacity(settings: Settings, question: Question, say: Callable[[str], None]) -> CapacityReport:
    """Measure what this machine, or a running service, can do for a system.

    Args:
        settings: Where things are.
        question: What is asked.
        say: Takes a line of progress.

    Raises:
        StateError: Nothing is live, or no such release is known.
    """
    from lifecycle.steps.capacity import find_capacity

    load_params(settings.project).system(question.system)
    estimator = estimator_command(settings.project)
    return find_capacity(question, settings, open_ledger(settings), open_store(settings), estimator, say)


def reproduce(settings: Settings, system: str, version: str) -> Proof:
    """Retrain a version from its commit in a clean folder and compare the answers.

    Raises:
        StateError: There is no such version.
        IntegrityError: Its release does not verify.
    """
    from lifecycle.core.release import verify_release
    from lifecycle.data.checkout import reproduce as retrain
    from lifecycle.steps.reproduce import find_version, prove

    load_params(settings.project).system(system)
    deployment = find_version(open_ledger(settings).history(system), system, version)
    release = open_store(settings).fetch(deployment.release)
    manifest = verify_release(release, deployment.release.digest, open_signer(settings))
    with tempfile.TemporaryDirectory(prefix="reproduce-", dir=_made(settings.state / "tmp")) as folder:
        project = retrain(settings, system, manifest.lineage.commit, Path(folder) / "project")
        return prove(deployment, manifest, release, project, engine_loader(project))


def addresses(settings: Settings) -> dict[str, str]:
    """Where ``serving``, ``mlflow`` and ``prefect`` listen, as far as they are up."""
    from lifecycle.supervise.state import addresses as listening

    return listening(settings)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def checkout_data(settings: Settings, system: str, at: str | None) -> str:
    """Bring a snapshot into the user's checkout; its id.

    Args:
        settings: Where things are.
        system: Name of the system.
        at: A snapshot's id or commit; the newest, if None.
    """
    from lifecycle.data.checkout import checkout_data as bring

    load_params(settings.project).system(system)
    return bring(settings, system, at)


def open_log(settings: Settings, system: str) -> CompactedLog:
    """The Parquet side of a system's prediction log.

    Raises:
        ConfigError: ``params.yaml`` has faults or no such system.
    """
    from lifecycle.data.log_parts import CompactedLog

    load_params(settings.project).system(system)
    return CompactedLog(settings.log / system, system)


def compact_log(settings: Settings, system: str) -> Compaction:
    """Make Parquet of what servers have logged, and delete the days that the live release does not keep.

    Where nothing is live, ``params.yaml`` says how long days are kept.
    """
    from lifecycle.core.release import MANIFEST, Manifest
    from lifecycle.steps.compact import compact

    log = open_log(settings, system)
    serving = load_params(settings.project).system(system).serving
    if live := open_ledger(settings).live(system):
        folder = open_store(settings).fetch(live.release)
        serving = Manifest.model_validate_json((folder / MANIFEST).read_bytes()).serving
    return compact(log, SystemClock().now(), serving.retention_days)


def log_status(settings: Settings, system: str) -> LogStatus:
    """How a system's prediction log stands."""
    from lifecycle.steps.log_status import log_status as look

    return look(open_log(settings, system), outcome_counts(settings, system).parked)


def import_outcomes(
    settings: Settings, system: str, file: Path, columns: Mapping[str, str], *, utc: bool, skip_bad: bool
) -> Imported:
    """Store a file's outcomes in a system's log.

    Args:
        settings: Where things are.
        system: Name of the system.
        file: CSV, Parquet or JSON lines.
        columns: Field -> column of the file, where they differ.
        utc: Whether times without an offset are UTC.
        skip_bad: Leave bad rows out instead of refusing the file.
    """
    from lifecycle.core.system import load_system
    from lifecycle.data.outcome_file import OutcomeFile
    from lifecycle.data.outcome_import import import_outcomes as store

    log = open_log(settings, system)
    entry = load_params(settings.project).system(system).entry
    read = OutcomeFile(file, load_system(entry, settings.project).schema, columns, utc=utc)
    return store(log, read, SystemClock().now(), skip_bad=skip_bad)


def outcome_counts(settings: Settings, system: str) -> OutcomeCounts:
    """How the outcomes of a system stand."""
    from lifecycle.data.outcome_import import count_outcomes

    return count_outcomes(open_log(settings, system))
