"""The chunks of a scoring job, answered in order: while one is answered, others are read and written."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.clock import SystemClock
from lifecycle.core.errors import IntegrityError, LifecycleError
from lifecycle.core.ports import Engine, Vault
from lifecycle.core.record import RecordSchema
from lifecycle.core.reference import NumberProfile, ReferenceProfile
from lifecycle.core.release import Manifest
from lifecycle.core.rows import Tensors
from lifecycle.core.scoring import ScorePlan
from lifecycle.data.scoring.chunks import Chunk, cut
from lifecycle.data.scoring.inputs import Inputs
from lifecycle.data.scoring.records import Said, Stamp, admit, answered, ask
from lifecycle.data.scoring.work import ChunkRecord, WorkFolder
from lifecycle.evaluation.abstention import abstentions
from lifecycle.evaluation.reasons import top_reasons


@dataclass(frozen=True)
class Job:
    """A plan with everything that carrying it out needs.

    Attributes:
        plan: What is made, from what, by which release.
        inputs: The files.
        manifest: Of the release.
        release: Its verified folder.
        schema: Its record schema.
        reference: What training saw; None if the release has no such profile.
        warnings: What the user should know.
        vault: Seals the output of a record with sensitive fields; None where it has none.
    """

    plan: ScorePlan
    inputs: Inputs
    manifest: Manifest
    release: Path
    schema: RecordSchema
    reference: ReferenceProfile | None
    warnings: tuple[str, ...]
    vault: Vault | None

    @property
    def answers(self) -> NumberProfile | None:
        """The release's answers on the newest rows that training knew; None if they were not profiled."""
        return self.reference.prediction if self.reference else None


def answer_all(
    job: Job, work: WorkFolder, engine: Engine, threads: int
) -> Generator[ChunkRecord, None, None]:
    """The record of every chunk, in order; a chunk that was finished before is not answered again.

    Args:
        job: What is made.
        work: Where its chunks are kept.
        engine: The model; it may be asked by several threads at once.
        threads: How many chunks it is asked for at the same time. Validating and writing go on beside.

    Raises:
        IntegrityError: The model failed.
        StorageError: The disk refuses a part.
    """
    turn = threading.Semaphore(threads)
    stamp = Stamp(
        job=job.plan.job,
        release=job.plan.release,
        version=job.plan.version,
        threshold=job.manifest.threshold if job.manifest.task == "classification" else None,
    )

    person = job.schema.subject_id.name if job.vault and job.schema.subject_id else None

    def finished(chunk: Chunk) -> ChunkRecord:
        if found := work.record(chunk.index):
            return found
        asked = ask(job.inputs.schema, job.schema.record_id.name, chunk, person)
        if job.vault:
            asked = admit(job.schema, job.vault, asked, SystemClock().now())
        with turn:
            predictions = _predict(engine, asked.tensors, chunk.index)
            said = _explain(job, engine, asked.tensors, predictions, chunk.index)
        done = answered(asked, predictions, stamp, said)
        bins = job.answers.counted(done.answers) if job.answers else np.empty(0, dtype=np.int64)
        return work.finish(done, bins, job.vault)

    with ThreadPoolExecutor(threads + 1, "score") as pool:
        waiting: deque[Future[ChunkRecord]] = deque()
        try:
            for chunk in _read_ahead(cut(job.inputs.batches(), job.plan.chunk_rows)):
                waiting.append(pool.submit(finished, chunk))
                if len(waiting) > threads + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def total_bins(job: Job, records: Sequence[ChunkRecord]) -> list[int]:
    """Answers of all chunks per bin of the reference."""
    bins = np.zeros(len(job.answers.counts) if job.answers else 0, dtype=np.int64)
    for record in records:
        bins += np.asarray(record.bins, dtype=np.int64)
    return [int(count) for count in bins]


def _predict(engine: Engine, tensors: Tensors, index: int) -> NDArray[np.float64]:
    try:
        return engine.predict(tensors)
    except LifecycleError:
        raise
    except Exception as error:  # noqa: BLE001 - its message and trace may hold values of records
        raise IntegrityError(
            f"the model failed on chunk {index}: {type(error).__name__}",
            hint="roll back to a release that answers, or name another with --version",
        ) from None


def _explain(
    job: Job, engine: Engine, tensors: Tensors, answers: NDArray[np.float64], index: int
) -> Said | None:
    """What is said beside the answers; nothing where it was not asked for."""
    asked = job.plan.explain
    if asked is None or job.reference is None:  # `Scorer.prepare` refuses the second
        return None
    threshold = job.manifest.threshold if job.manifest.task == "classification" else None
    reasons = top_reasons(
        job.schema,
        job.reference,
        tensors,
        answers,
        lambda changed: _predict(engine, changed, index),
        asked.reasons,
    )
    why = abstentions(job.schema, job.reference, asked, tensors, answers, threshold)
    return Said(reasons.features, reasons.effects, why)


def _read_ahead(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """Read the next chunk while others are worked on."""
    iterator = iter(chunks)
    with ThreadPoolExecutor(1, "read") as reader:
        upcoming = reader.submit(next, iterator, None)
        while chunk := upcoming.result():
            upcoming = reader.submit(next, iterator, None)
            yield chunk
