"""Batch scoring as a transaction: files in, one published folder out, with the numbers of the endpoint."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from lifecycle.core.disclosure import SMALLEST_CELL
from lifecycle.core.errors import ConfigError, StateError
from lifecycle.core.params import BatchParams, SystemParams
from lifecycle.core.ports import Engine, Ledger, OpenVault, ReleaseStore, Signer
from lifecycle.core.reference import read_reference
from lifecycle.core.release import read_schema, verify_release
from lifecycle.core.scoring import (
    BatchGate,
    Reading,
    ScoreCounts,
    ScoreManifest,
    ScorePlan,
    ScoreRequest,
    ScoreResult,
)
from lifecycle.core.values import Deployment
from lifecycle.data.scoring.inputs import open_inputs
from lifecycle.data.scoring.work import ChunkRecord, WorkFolder
from lifecycle.evaluation.bands import spread
from lifecycle.evaluation.batch_gates import judge_batch
from lifecycle.rollout import decisions
from lifecycle.steps.progress import Progress
from lifecycle.steps.reproduce import find_release, find_version
from lifecycle.steps.score_chunks import Job, answer_all, total_bins


@dataclass(frozen=True)
class Scorer:
    """The steps of one scoring job; each may be run again after a crash, and makes what is missing.

    Attributes:
        name: Name of the system.
        request: What is asked.
        as_of: The moment it stands for.
        past: Whether that was asked for: then the release that was live at that time answers.
        actor: Who is acting.
        root: The project's folder; relative paths start there.
        params: Of the system.
    """

    name: str
    request: ScoreRequest
    as_of: datetime
    past: bool
    actor: str
    root: Path
    params: SystemParams
    ledger: Ledger
    store: ReleaseStore
    signer: Signer
    load_engine: Callable[[Path], Engine]
    open_vault: OpenVault

    @property
    def work(self) -> WorkFolder:
        """The output folder and what lies beside it."""
        name = self._dated(self.request.output)
        return WorkFolder(Path(os.path.abspath(self.root / name)))  # noqa: PTH100 - links are kept

    @contextmanager
    def opened(self) -> Iterator[Scorer]:
        """Hold the output for this job.

        Raises:
            BusyError: Another job makes it now.
        """
        with self.work.held():
            yield self

    def prepare(self) -> Job:
        """Find the release and the files, and see that they are those of the chunks that are there.

        Raises:
            StateError: Nothing is deployed, or the output holds what another job made.
            IntegrityError: The release does not verify.
            ConfigError: An option does not fit the record or the files.
            SourceError: A file is missing, unreadable or of another shape.
        """
        deployment = self._deployment()
        folder = self.store.fetch(deployment.release)
        manifest = verify_release(folder, deployment.release.digest, self.signer)
        reading = self._reading()
        schema = read_schema(folder)
        inputs = open_inputs(schema, [self._dated(it) for it in self.request.inputs], reading, self.root)
        reference = read_reference(folder)
        plan = ScorePlan(
            system=self.name,
            release=deployment.release.digest,
            version=deployment.version,
            inputs=inputs.files,
            reading=reading,
            chunk_rows=self.request.chunk_rows,
            explain=self.params.batch.explain,
        )
        if plan.explain and reference is None:
            raise ConfigError(
                f"version {deployment.version} of {self.name} has no profile of what training saw, which"
                " reasons and abstentions are told from",
                hint="update the system first, or take batch.explain out of params.yaml",
            )
        warnings = [
            f"{name} has no column for {schema.record_id.name}: its rows are known by their position"
            for name in inputs.without_ids
        ]
        vault = self.open_vault(schema)
        return Job(plan, inputs, manifest, folder, schema, reference, tuple(warnings), vault)

    def settled(self, job: Job) -> ScoreResult | None:
        """The end of a job that was published before.

        Raises:
            StateError: The output folder holds what another job published, or anything else.
        """
        found = self.work.published()
        if found is None:
            return None
        if found.job != job.plan.job:
            raise StateError(
                f"{self.work.out} holds what another job published: release {found.plan.release[:12]}, "
                f"{found.counts.scored:,} rows as of {found.as_of:%Y-%m-%d}",
                hint="published scores are never overwritten: choose another --output",
            )
        return self._result("unchanged", "this very job is published already", job, found)

    def score(self, job: Job) -> tuple[ChunkRecord, ...]:
        """Answer every chunk that is not finished; what each came to, in order."""
        work = self.work
        work.begin(job.plan, restart=self.request.restart)
        if work.sealed(job.plan):
            return ()
        progress = Progress(f"score {self.name}", job.inputs.rows)
        records = []
        with closing(self.load_engine(job.release)) as engine:
            for record in answer_all(job, work, engine, self.request.threads):
                records.append(record)
                progress.advance(record.counts.read)
        job.inputs.require_unchanged()
        return tuple(records)

    def publish(self, job: Job, records: Sequence[ChunkRecord]) -> ScoreResult:
        """Check the whole batch, and make all of it appear at once, or nothing."""
        work = self.work
        if sealed := work.sealed(job.plan):
            work.publish(sealed, job.vault)
            return self._result("published", "what an interrupted run had finished", job, sealed)
        counts = ScoreCounts.total(record.counts for record in records)
        bins = total_bins(job, records)
        gates = judge_batch(
            counts,
            promised=counts.read if job.inputs.rows is None else job.inputs.rows,
            written=sum(work.rows(record.part, job.vault) for record in records),
            bins=bins,
            reference=job.answers,
            params=self._bounds(),
        )
        failed = [gate for gate in gates if self._stops(gate)]
        manifest = ScoreManifest(
            job=job.plan.job,
            plan=job.plan,
            task=job.manifest.task,
            threshold=job.manifest.threshold,
            lineage=job.manifest.lineage,
            as_of=self.as_of,
            actor=self.actor,
            counts=counts,
            parts=tuple(record.part for record in records),
            quarantine=work.quarantine(records),
            gates=gates,
            accepted=self.request.accept if failed else "",
            sealed=job.vault is not None,
            bands=spread(job.answers, bins, SMALLEST_CELL if job.vault else 1) if job.answers else (),
        )
        if failed and not self.request.accept:
            names = " and ".join(f"{gate.name} {gate.measured}, asked {gate.bound}" for gate in failed)
            return self._result("held", names, job, manifest)
        work.publish(manifest, job.vault)
        said = f"{counts.scored:,} rows scored, {counts.quarantined:,} quarantined"
        if counts.left_out:
            said += f", {counts.erased:,} left out as erased, {counts.unconsented:,} as without consent"
        return self._result("published", said, job, manifest)

    def _dated(self, name: str) -> str:
        return name.replace("{as_of}", f"{self.as_of:%Y-%m-%d}")

    def _deployment(self) -> Deployment:
        """The decision whose release answers."""
        history = self.ledger.history(self.name)
        if self.request.version is not None and self.request.release is not None:
            raise ConfigError("a version and a release are named", hint="give --version or --release")
        if self.request.version is not None:
            return find_version(history, self.name, self.request.version)
        if self.request.release is not None:
            return find_release(history, self.name, self.request.release)
        if self.past:
            live, _ = decisions.standing(self.ledger.history(self.name, self.as_of))
        else:
            live = self.ledger.live(self.name)
        if live is None:
            raise StateError(
                f"nothing {'was' if self.past else 'is'} deployed for {self.name}"
                + (f" at {self.as_of:%Y-%m-%d %H:%M} UTC" if self.past else ""),
                hint=f"run `lifecycle first-deployment {self.name}`, or name a --version",
            )
        return live

    def _reading(self) -> Reading:
        """How columns are read: as in a source, if one is named, with what the request says on top."""
        columns, formats, number = self.request.columns, self.request.formats, None
        if self.request.like_source is not None:
            sources = self.params.sources
            if self.request.like_source > len(sources):
                raise ConfigError(
                    f"{self.name} has no source {self.request.like_source}",
                    hint=f"params.yaml lists {len(sources)}, counted from 1",
                )
            source = sources[self.request.like_source - 1]
            columns, formats = source.columns | columns, source.formats | formats
            number = source.number_rows_as
        return Reading(columns=columns, formats=formats, number_rows_as=number)

    def _bounds(self) -> BatchParams:
        share = self.request.max_bad_share
        return (
            self.params.batch
            if share is None
            else self.params.batch.model_copy(update={"max_bad_share": share})
        )

    def _stops(self, gate: BatchGate) -> bool:
        if gate.verdict == "inconclusive":
            return self.params.batch.on_inconclusive == "hold"
        return gate.verdict == "broken"

    def _result(
        self, status: Literal["published", "held", "unchanged"], reason: str, job: Job, found: ScoreManifest
    ) -> ScoreResult:
        doubtful = [
            f"{gate.name} is {gate.verdict}: {gate.detail}" for gate in found.gates if gate.verdict != "kept"
        ]
        return ScoreResult(
            system=self.name,
            status=status,
            reason=reason,
            as_of=found.as_of,
            job=found.job,
            release=found.plan.release,
            version=found.plan.version,
            folder=str(self.work.path if status == "held" else self.work.out),
            counts=found.counts,
            gates=found.gates,
            accepted=found.accepted,
            warnings=(*job.warnings, *doubtful),
            task=found.task,
            chunks=len(found.parts),
            sealed=found.sealed,
            bands=found.bands,
        )
