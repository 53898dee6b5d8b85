"""One system's loop, step by step: from sources to a release that is live."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lifecycle.core.errors import ConfigError, StageError
from lifecycle.core.layout import Layout
from lifecycle.core.params import SystemParams, load_params
from lifecycle.core.ports import (
    Clock,
    Engine,
    Ledger,
    OpenVault,
    Probe,
    Registry,
    ReleaseStore,
    Signer,
    Workspace,
)
from lifecycle.core.purposes import TRAINING
from lifecycle.core.release import MODEL, REFERENCE, SCHEMA, SKOPS, read_engine, write_release
from lifecycle.core.system import System, load_system
from lifecycle.core.trigger import Trigger
from lifecycle.core.values import (
    Deployment,
    Evaluation,
    FlowResult,
    Lineage,
    ModelVersion,
    Release,
    Snapshot,
    TrainingRun,
)
from lifecycle.rollout import decisions
from lifecycle.steps.outputs import Scores, Training

if TYPE_CHECKING:
    from lifecycle.steps.judge import MeasureBatch


@dataclass(frozen=True)
class Loop:
    """The steps of one system, as of one moment.

    Every step may be run again after a crash: it finds what is already there and makes the rest.

    Attributes:
        name: Name of the system.
        as_of: Only events and labels known by then exist.
        actor: Who is acting.
        reports: The folder of HTML reports.
        releases: The folder of releases by digest.
        trigger: Why it runs; kept with everything that comes of it.
        measure_batch: Scores a sample with a release, where a pace is required.
        compact_log: Makes what servers have logged readable, before logged predictions are ingested.
    """

    name: str
    as_of: datetime
    actor: str
    reports: Path
    releases: Path
    workspace: Workspace
    registry: Registry
    ledger: Ledger
    store: ReleaseStore
    signer: Signer
    probe: Probe
    clock: Clock
    load_engine: Callable[[Path], Engine]
    open_vault: OpenVault
    measure_batch: MeasureBatch
    compact_log: Callable[[], object]
    trigger: Trigger = "manual"

    @contextmanager
    def opened(self, verb: Literal["first-deployment", "update", "rollback"]) -> Iterator[Loop]:
        """Hold the system for one flow, once the verb is known to fit what is deployed.

        Raises:
            StateError: The verb does not fit; the message says which one does.
            BusyError: Another flow holds the system.
        """
        with self.workspace.locked():
            self.mirror()  # a flow that died between its switch and the aliases left them behind
            decisions.require(verb, self.name, self.ledger.live(self.name))
            yield self

    def ingest(self) -> Snapshot:
        """Version the data as of the moment, with the code of the user's last commit.

        Raises:
            BusyError: The scheduled compaction is at work on the log that the data comes from.
            AccessDeniedError: The policy does not let this actor train on what would be sealed.
        """
        warnings = self.workspace.prepare()
        system, params = self._declared()
        self._may_train(system)
        if any(source.kind == "predictions" for source in params.sources):
            self.compact_log()
        snapshot = self.workspace.snapshot(system, params, self.as_of)
        return snapshot.model_copy(update={"warnings": (*warnings, *snapshot.warnings)})

    def _may_train(self, system: System) -> None:
        """Told before the first row is read, rather than by a stage when months of them are sealed."""
        if (vault := self.open_vault(system.schema)) is not None:
            vault.check(system.schema.trained_on, TRAINING)

    def train(self, snapshot: Snapshot) -> TrainingRun:
        """Run the stages that are out of date."""
        return self.workspace.train(snapshot).model_copy(update={"trigger": self.trigger})

    def settled(self, run: TrainingRun) -> FlowResult | None:
        """The end of a flow that has nothing to decide: too little data, or nothing new."""
        if not run.split.ok:
            return self._result("skipped", run.split.reason, run)
        history = self.ledger.history(self.name)
        decided = decisions.last_word(history, self.package(run).digest, self._terms())
        if decided is None:
            return None
        return self._result("unchanged", decided, run)

    def package(self, run: TrainingRun) -> Release:
        """Assemble and sign the release of a training run; the same run gives the same digest."""
        layout = Layout(Path(run.folder), run.system)
        system, params = self._declared()
        training = Training.model_validate_json((layout.model / "training.json").read_bytes())
        scores = Scores.model_validate_json((layout.evaluation / "metrics.json").read_bytes())
        split = run.split
        lineage = Lineage(
            snapshot=run.snapshot.id,
            commit=run.commit,
            params=training.params,
            environment=training.environment,
            split=split.digest,
            seed=training.seed,
            train=split.train,
            validation=split.validation,
            test=split.test,
        )
        choice = read_engine(layout.model)
        if choice is None:
            raise StageError(
                f"stage train of {system.name} left no word of what runs its model",
                hint=f"run it again: dvc repro --force train@{system.name}",
            )
        facts = {
            "system": system.name,
            "task": choice.task,
            "threshold": params.evaluation.threshold,
            "lineage": lineage,
            "metrics": scores.test,
            "parity": choice.parity,
            "engine": choice.engine,
            "engine_reason": choice.reason,
            "trusted_types": choice.trusted_types,
            "serving": params.serving,
            "logging": params.requirements.logging,
            "logging_share": params.requirements.logging_share,
            "card": system.card,
        }
        model = (MODEL, SKOPS) if choice.engine == "onnx" else (SKOPS,)
        files = {name: layout.model / name for name in (*model, SCHEMA, REFERENCE)}
        return write_release(files, facts, self.releases, self.signer)

    def evaluate(self, run: TrainingRun) -> Evaluation:
        """Judge the candidate against the champion, or the naive baselines where there is none."""
        from lifecycle.steps.judge import Judge  # loads what an unchanged update never needs

        system, params = self._declared()
        judge = Judge(
            system=system,
            params=params,
            as_of=self.as_of,
            layout=Layout(Path(run.folder), run.system),
            store=self.store,
            signer=self.signer,
            probe=self.probe,
            load_engine=self.load_engine,
            open_vault=self.open_vault,
            measure_batch=self.measure_batch,
            reports=self.reports,
        )
        return judge.judge(run, self.package(run), self.ledger.live(self.name))

    def register(self, run: TrainingRun, evaluation: Evaluation) -> ModelVersion:
        """Put run, report and release where people compare and review."""
        return self.registry.register(run, self.package(run), evaluation)

    def promote(self, run: TrainingRun, evaluation: Evaluation, version: ModelVersion) -> FlowResult:
        """Decide on the evidence, and make the switch if it stands."""
        live = self.ledger.live(self.name)
        decided = decisions.decide(evaluation, first=live is None)
        evidence = {
            "reason": decided.reason,
            "trigger": run.trigger,
            "terms": self._terms(),
            "evaluation": json.loads(evaluation.model_dump_json()),  # a NaN is text there
        }
        deployment = self.ledger.record(
            self._deployment(decided.decision, version.release, version.version, live, evidence),
            expected=live.id if live else None,
        )
        self.mirror()
        return self._result(
            "held" if decided.decision == "hold" else "promoted",
            decided.reason,
            run,
            evaluation=evaluation,
            version=version,
            deployment=deployment,
        )

    def rollback(self, reason: str, version: str | None = None) -> FlowResult:
        """Make live what was live before; it is fetched, verified and loaded first.

        Args:
            reason: Why; kept in the ledger.
            version: Roll back only if this version is live, so that asking twice rolls back once.

        Raises:
            StateError: Nothing was live before.
            IntegrityError: The release does not verify; what is live stays live.
        """
        live = self.ledger.live(self.name)
        if live and version not in (None, live.version):
            said = f"version {version} is not live, version {live.version} is; nothing to roll back"
            return FlowResult(system=self.name, status="unchanged", reason=said, as_of=self.as_of)
        target = decisions.rollback_target(self.ledger.history(self.name))
        self.load_engine(self.store.fetch(target.release))
        deployment = self.ledger.record(
            self._deployment("rollback", target.release, target.version, live, {"reason": reason}),
            expected=live.id if live else None,
        )
        self.mirror()
        said = f"version {target.version} is live again" + (f": {reason}" if reason else "")
        return FlowResult(
            system=self.name, status="rolled back", reason=said, as_of=self.as_of, deployment=deployment
        )

    def mirror(self) -> None:
        """Make the registry's aliases follow the ledger."""
        live, before = decisions.standing(self.ledger.history(self.name))
        if live:
            self.registry.mirror(self.name, live.version, before.version if before else None)

    def _terms(self) -> str:
        """SHA-256 of what a candidate is judged by."""
        _, params = self._declared()
        terms = params.model_dump_json(include={"evaluation", "gates", "requirements"})
        return hashlib.sha256(terms.encode()).hexdigest()

    def _declared(self) -> tuple[System, SystemParams]:
        """The system and its parameters, as the worktree has them."""
        root = self.workspace.root
        params = load_params(root).system(self.name)
        system = load_system(params.entry, root)
        if system.name != self.name:
            raise ConfigError(
                f"params.yaml names the system {self.name!r}, its entry {params.entry!r} {system.name!r}",
                hint="give both the same name",
            )
        return system, params

    def _deployment(
        self,
        decision: Literal["first-deployment", "promote", "rollback", "hold"],
        release: Release,
        version: str,
        live: Deployment | None,
        evidence: dict[str, Any],
    ) -> Deployment:
        return Deployment(
            id=0,  # the ledger numbers its rows
            system=self.name,
            decided_at=self.clock.now(),
            as_of=self.as_of,
            actor=self.actor,
            decision=decision,
            release=release,
            version=version,
            previous=live.release.digest if live else None,
            evidence=evidence,
        )

    def _result(
        self,
        status: Literal["promoted", "held", "skipped", "unchanged"],
        reason: str,
        run: TrainingRun,
        evaluation: Evaluation | None = None,
        version: ModelVersion | None = None,
        deployment: Deployment | None = None,
    ) -> FlowResult:
        return FlowResult(
            system=self.name,
            status=status,
            reason=reason,
            as_of=self.as_of,
            trigger=run.trigger,
            snapshot=run.snapshot,
            split=run.split,
            evaluation=evaluation,
            version=version,
            deployment=deployment,
        )
