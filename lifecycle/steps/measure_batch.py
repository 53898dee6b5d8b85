"""How many records an hour a release gets through, seen on a sample that takes every step of a real job."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from lifecycle.core.errors import StageError
from lifecycle.core.machine import at_most
from lifecycle.core.params import SystemParams
from lifecycle.core.ports import Engine, Vault
from lifecycle.core.record import RecordSchema
from lifecycle.core.reference import read_reference
from lifecycle.core.release import MANIFEST, Manifest, read_schema
from lifecycle.core.scoring import Reading, ScorePlan
from lifecycle.core.values import BatchMeasurements
from lifecycle.data.scoring.sample import write_sample
from lifecycle.data.scoring.work import WorkFolder
from lifecycle.steps.score_chunks import Job, answer_all

SAMPLE_ROWS = 20_000
SAMPLE_CHUNK = 5_000
"""Rows per chunk: several, so that one is read and another written while one is answered, as in long jobs."""


@dataclass(frozen=True)
class BatchProbe:
    """Scores made-up records as they come at night: sealed files in, reasons told, sealed files out.

    Nobody's record is opened for it, and all of it is gone afterwards, with the keys.

    Attributes:
        system: Name of the system.
        scratch: Where it may write.
        open_vault: A vault whose keys live in a folder; None where nothing in the record is sensitive.
        load_engine: The model, as a job loads it.
        rows: Size of the sample.
        chunk_rows: Rows per chunk.
    """

    system: str
    scratch: Path
    open_vault: Callable[[Path, RecordSchema], Vault | None]
    load_engine: Callable[[Path], Engine]
    rows: int = SAMPLE_ROWS
    chunk_rows: int = SAMPLE_CHUNK

    def measure(self, release: Path, params: SystemParams) -> BatchMeasurements:
        """Score the sample.

        Args:
            release: Verified folder of the candidate.
            params: Of the system: which cores may be used, and what is said beside each answer.

        Raises:
            StageError: Some of the sample was not scored.
        """
        self.scratch.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix="measure-", dir=self.scratch) as name,
            at_most(params.requirements.cores) as cores,
        ):
            folder = Path(name)
            job = self._job(release, params, folder)
            begun = time.perf_counter()
            scored = self._score(job, WorkFolder(folder / "scores"))
            seconds = time.perf_counter() - begun
        if scored != self.rows:
            raise StageError(
                f"{self.system}: of {self.rows:,} made-up records {scored:,} were scored",
                hint="see that the record's own bounds allow what they ask for",
            )
        return BatchMeasurements(
            rows=self.rows,
            seconds=round(seconds, 3),
            cores=cores,
            sealed=job.vault is not None,
            records_per_hour=round(self.rows / seconds * 3600),
        )

    def _job(self, release: Path, params: SystemParams, folder: Path) -> Job:
        """The sample as a job. Who scores it meets its people for the first time: another key table."""
        schema = read_schema(release)
        (folder / "input").mkdir()
        inputs = write_sample(
            schema, self.rows, folder / "input", self.open_vault(folder / "keys-of-input", schema)
        )
        manifest = Manifest.model_validate_json((release / MANIFEST).read_bytes())
        reference = read_reference(release)
        plan = ScorePlan(
            system=self.system,
            release="0" * 64,
            version="measured",
            inputs=inputs.files,
            reading=Reading(),
            chunk_rows=self.chunk_rows,
            explain=params.batch.explain if reference else None,
        )
        vault = self.open_vault(folder / "keys-of-scores", schema)
        return Job(plan, inputs, manifest, release, schema, reference, (), vault)

    def _score(self, job: Job, work: WorkFolder) -> int:
        """Rows in the files of scores."""
        with work.held(), closing(self.load_engine(job.release)) as engine:
            work.begin(job.plan, restart=False)
            records = list(answer_all(job, work, engine, threads=1))
            if job.vault:
                job.vault.close(work.path)
            return sum(work.rows(record.part, job.vault) for record in records)
