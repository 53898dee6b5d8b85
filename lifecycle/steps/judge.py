"""The judging step: a candidate against what is live, on identical rows, with the requirements measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.errors import StateError
from lifecycle.core.layout import Layout
from lifecycle.core.params import SystemParams
from lifecycle.core.ports import Engine, OpenVault, Probe, ReleaseStore, Signer
from lifecycle.core.record import RecordSchema
from lifecycle.core.release import read_schema, verify_release
from lifecycle.core.rows import Rows
from lifecycle.core.system import System
from lifecycle.core.values import (
    BatchMeasurements,
    Comparison,
    Deployment,
    Evaluation,
    Lineage,
    Measurements,
    Release,
    TrainingRun,
)
from lifecycle.data.reading import Part, read_records, read_rows
from lifecycle.evaluation import baselines, gates, metrics
from lifecycle.evaluation.comparison import Scored, compare_baselines, compare_releases
from lifecycle.evaluation.report import ReportInput, plots, render

PROBED_RECORDS = 500

MeasureBatch = Callable[[Path, SystemParams], BatchMeasurements]
"""Scores a sample with the release in a folder."""


@dataclass(frozen=True)
class _Champion:
    scored: Scored
    lineage: Lineage


@dataclass(frozen=True)
class Judge:
    """Judges candidates of one system."""

    system: System
    params: SystemParams
    as_of: datetime
    layout: Layout
    store: ReleaseStore
    signer: Signer
    probe: Probe
    load_engine: Callable[[Path], Engine]
    open_vault: OpenVault
    measure_batch: MeasureBatch
    reports: Path

    def judge(self, run: TrainingRun, release: Release, live: Deployment | None) -> Evaluation:
        """Compare, measure, check every gate and write the report.

        Args:
            run: What was trained, on which split.
            release: The candidate.
            live: What is live; None at the first deployment, which is compared with naive baselines.

        Raises:
            StateError: The champion has already seen the rows it would be tested on.
            IntegrityError: A release does not verify, or both were not scored on identical rows.
        """
        folder = self.store.fetch(release)
        manifest = verify_release(folder, release.digest, self.signer)
        test = self._rows("test")
        candidate = self._scored(folder, release, test)
        champion = self._champion(live, run) if live else None
        rivals = {champion.scored.digest: champion.scored.prediction} if champion else self._naive(test)
        comparisons = self._compare(test, candidate, champion, rivals)
        measurements = self._measure(release)
        batch = self.measure_batch(folder, self.params) if self.params.requirements.records_per_hour else None
        found = self._metrics(test, candidate.prediction)
        evaluation = Evaluation(
            release=release.digest,
            champion=champion.scored.digest if champion else None,
            metrics=found,
            champion_metrics=self._metrics(test, champion.scored.prediction) if champion else {},
            comparisons=comparisons,
            gates=gates.judge(
                first=champion is None,
                comparisons=comparisons,
                metrics=found,
                choice=manifest.choice,
                params=self.params,
                measurements=measurements,
                batch=batch,
                sealed=self.system.schema.is_sealed,
                size_mb=sum(path.stat().st_size for path in folder.iterdir()) / 1e6,
                unit=self.system.schema.label.unit,
            ),
            measurements=measurements,
            batch=batch,
            engine=manifest.engine,
            engine_reason=manifest.engine_reason,
            report=str(self.reports / self.system.name / release.digest[:16] / "report.html"),
        )
        self._write_report(
            ReportInput(
                system=self.system,
                params=self.params,
                as_of=self.as_of,
                evaluation=evaluation,
                lineage=manifest.lineage,
                rows=test,
                candidate=candidate.prediction,
                others=rivals,
                champion_lineage=champion.lineage if champion else None,
            )
        )
        return evaluation

    def _rows(self, part: Part) -> Rows:
        return self._read(self.system.schema, part)

    def _read(self, schema: RecordSchema, part: Part) -> Rows:
        vault = self.open_vault(self.system.schema)
        return read_rows(schema, self.layout.data, self.layout.manifest, part, vault)

    def _scored(self, folder: Path, release: Release, rows: Rows) -> Scored:
        prediction = self.load_engine(folder).predict(rows.tensors)
        return Scored(digest=release.digest, rows_digest=rows.digest, prediction=prediction)

    def _champion(self, live: Deployment, run: TrainingRun) -> _Champion:
        """The champion's answers to the candidate's test rows, read through the champion's own schema."""
        folder = self.store.fetch(live.release)
        lineage = verify_release(folder, live.release.digest, self.signer).lineage
        if lineage.train.end > run.split.test.start:
            raise StateError(
                f"the champion was trained on events up to {lineage.train.end:%Y-%m-%d}, the test window "
                f"starts on {run.split.test.start:%Y-%m-%d}: it has seen rows it would be tested on",
                hint="update as of a later moment: --as-of",
            )
        rows = self._read(read_schema(folder), "test")
        return _Champion(self._scored(folder, live.release, rows), lineage)

    def _naive(self, test: Rows) -> Mapping[str, NDArray[np.float64]]:
        history = self._rows("train").joined(self._rows("validation"))
        delay = self.system.schema.label.delay
        return baselines.naive_predictions(self.system.task, history, test, delay)

    def _compare(
        self,
        test: Rows,
        candidate: Scored,
        champion: _Champion | None,
        rivals: Mapping[str, NDArray[np.float64]],
    ) -> tuple[Comparison, ...]:
        primary, params, seed = self.system.primary, self.params.evaluation, self.params.seed
        if champion:
            comparison = compare_releases(
                primary,
                test.label,
                candidate,
                champion.scored,
                params=params,
                seed=seed,
                event_time=test.event_time,
            )
            return (comparison,)
        return compare_baselines(
            primary,
            test.label,
            candidate.prediction,
            rivals,
            rows_digest=test.digest,
            params=params,
            seed=seed,
            event_time=test.event_time,
        )

    def _metrics(self, rows: Rows, prediction: NDArray[np.float64]) -> dict[str, float]:
        threshold = self.params.evaluation.threshold
        found = metrics.compute(self.system.task, rows.label, prediction, threshold=threshold)
        return {name: found[name] for name in self.system.metrics}

    def _measure(self, release: Release) -> Measurements | None:
        """What a real server process does with the candidate; a batch system needs none."""
        if self.params.requirements.mode == "batch":
            return None
        layout = self.layout
        records = read_records(self.system.schema, layout.data, layout.manifest, "test", limit=PROBED_RECORDS)
        return self.probe.measure(release, records, self.params.requirements)

    def _write_report(self, report: ReportInput) -> None:
        """The page, and its pictures beside it for MLflow."""
        page = Path(report.evaluation.report)
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(render(report), encoding="utf-8")
        for name, picture in plots(report).items():
            (page.parent / f"{name}.png").write_bytes(picture)
