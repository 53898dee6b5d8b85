"""The loop of a system, and what looks back on it: stages, batch scoring, log and outcomes."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle.core.clock import SystemClock
from lifecycle.core.params import SystemParams, load_params
from lifecycle.core.settings import Settings
from lifecycle.wiring.adapters import (
    engine_loader,
    estimator_command,
    made,
    open_engine,
    open_ledger,
    open_log,
    open_registry,
    open_signer,
    open_store,
    open_workspace,
    schema_of_system,
    trial_vault,
    vault_opener,
)

if TYPE_CHECKING:
    from lifecycle.core.ports import Vault
    from lifecycle.core.scoring import ScoreRequest
    from lifecycle.core.trigger import Trigger
    from lifecycle.core.values import BatchMeasurements
    from lifecycle.data.log_parts import CompactedLog
    from lifecycle.data.outcome_import import Imported, OutcomeCounts
    from lifecycle.steps.compact import Compaction
    from lifecycle.steps.log_status import LogStatus
    from lifecycle.steps.loop import Loop
    from lifecycle.steps.reproduce import Proof
    from lifecycle.steps.score import Scorer


def open_loop(
    settings: Settings, system: str, as_of: datetime | None = None, trigger: Trigger = "manual"
) -> Loop:
    """The loop of one system with its real adapters.

    Args:
        settings: Where things are.
        system: Name of the system, a key of ``params.yaml``.
        as_of: The moment it stands for; now, if None.
        trigger: Why it runs.

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
        trigger=trigger,
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
        open_vault=vault_opener(settings, system),
        measure_batch=partial(_measure_batch, settings, system, workspace.root),
        compact_log=partial(compact_log, settings, system),
    )


def _measure_batch(
    settings: Settings, system: str, root: Path, release: Path, params: SystemParams
) -> BatchMeasurements:
    """Score a sample with a release.

    Args:
        settings: Where things are.
        system: Name of the system.
        root: The project whose code a scikit-learn estimator may need.
        release: Its folder.
        params: Of the system.
    """
    from lifecycle.steps.measure_batch import BatchProbe

    probe = BatchProbe(
        system=system,
        scratch=settings.state / "tmp",
        open_vault=partial(trial_vault, system),
        load_engine=engine_loader(root, bulk=True),
    )
    return probe.measure(release, params)


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
        load_engine=engine_loader(settings.project, request.threads, bulk=True),
        open_vault=vault_opener(settings, system),
    )


def run_stage(settings: Settings, root: Path, stage: str, system: str) -> None:
    """Run one DVC stage in a project folder.

    Args:
        settings: Of the project whose keys open its snapshots.
        root: The folder: that project, or a worktree of it.
        stage: ``split``, ``train`` or ``evaluate``.
        system: Name of the system.
    """
    from lifecycle.steps import stages

    open_vault = vault_opener(settings, system)
    if stage == "split":
        stages.run_split(root, system, open_vault)
    elif stage == "train":
        stages.run_train(root, system, engine_loader(root), open_vault)
    else:
        stages.run_evaluate(root, system, engine_loader(root), open_vault)


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
    with tempfile.TemporaryDirectory(prefix="reproduce-", dir=made(settings.state / "tmp")) as folder:
        project = retrain(settings, system, manifest.lineage.commit, Path(folder) / "project")
        loader, open_vault = engine_loader(project), vault_opener(settings, system)
        return prove(deployment, manifest, release, project, loader, open_vault)


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


def compact_log(settings: Settings, system: str) -> Compaction:
    """Make Parquet of what servers have logged, and delete the days that the live release does not keep.

    Where nothing is live, ``params.yaml`` says how long days are kept.
    """
    from lifecycle.core.release import MANIFEST, Manifest
    from lifecycle.steps.compact import compact

    log, vault = _log(settings, system)
    serving = load_params(settings.project).system(system).serving
    if live := open_ledger(settings).live(system):
        folder = open_store(settings).fetch(live.release)
        serving = Manifest.model_validate_json((folder / MANIFEST).read_bytes()).serving
    return compact(log, SystemClock().now(), serving.retention_days, vault)


def log_status(settings: Settings, system: str) -> LogStatus:
    """How a system's prediction log stands."""
    from lifecycle.steps.log_status import log_status as look

    log, vault = _log(settings, system)
    return look(log, None if vault else outcome_counts(settings, system).parked)


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
    from lifecycle.data.outcome_file import OutcomeFile
    from lifecycle.data.outcome_import import import_outcomes as store

    log, _ = _log(settings, system)
    read = OutcomeFile(file, schema_of_system(settings, system), columns, utc=utc)
    return store(log, read, SystemClock().now(), skip_bad=skip_bad)


def outcome_counts(settings: Settings, system: str) -> OutcomeCounts:
    """How the outcomes of a system stand."""
    from lifecycle.data.outcome_import import count_outcomes

    return count_outcomes(_log(settings, system)[0])


def _log(settings: Settings, system: str) -> tuple[CompactedLog, Vault | None]:
    """A system's prediction log, and the vault of its records."""
    schema = schema_of_system(settings, system)
    vault = vault_opener(settings, system)(schema)
    return open_log(settings, schema, system, vault), vault
