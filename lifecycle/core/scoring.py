"""The values of batch scoring: a plan, what became of its rows, and the manifest that publishes them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, ValidationError

from lifecycle.core.errors import ConfigError
from lifecycle.core.params import ExplainParams
from lifecycle.core.values import Lineage, Value

MANIFEST = "manifest.json"
"""The file of an output folder that says what belongs to it; without it, nothing there is published."""
CHUNK_ROWS = 100_000


class InputFile(Value):
    """One file that is scored.

    Attributes:
        name: As messages and the quarantine call it.
        sha256: Of its content.
        size: Bytes.
    """

    name: str
    sha256: str
    size: int


class Reading(Value):
    """How the columns of the input are read; as for a source of ``params.yaml``.

    Attributes:
        columns: Record field -> column of the files; ``""`` for an optional field that they lack.
        formats: Date field -> strptime format, where it is not ISO 8601.
        number_rows_as: Field filled with the row's number.
    """

    columns: dict[str, str] = Field({})
    formats: dict[str, str] = Field({})
    number_rows_as: str | None = None


class ScoreRequest(Value):
    """What is asked of a scoring job.

    Attributes:
        inputs: Files and globs: CSV, Parquet and Arrow IPC.
        output: The folder to publish; ``{as_of}``, here as in ``inputs``, stands for the date of ``as_of``.
        version: The registered version that answers; the live one, if neither this nor ``release`` is given.
        release: Its digest, or enough of its beginning.
        like_source: Number, from 1, of the source in ``params.yaml`` whose columns and formats hold here.
        columns: As in ``Reading``; these win over those of the source.
        formats: Likewise.
        chunk_rows: Rows per chunk.
        max_bad_share: Share of refused rows above which nothing is published; as in ``params.yaml``, if None.
        accept: Why the output is to be published whatever the checks say.
        restart: Whether to drop what an unfinished other job left for the same output.
        threads: Chunks answered at the same time.
    """

    inputs: tuple[str, ...] = Field(min_length=1)
    output: str = Field(min_length=1)
    version: str | None = None
    release: str | None = Field(None, pattern=r"^[0-9a-f]{6,64}$")
    like_source: int | None = Field(None, ge=1)
    columns: dict[str, str] = Field({})
    formats: dict[str, str] = Field({})
    chunk_rows: int = Field(CHUNK_ROWS, ge=1)
    max_bad_share: float | None = Field(None, ge=0, le=1)
    accept: str = ""
    restart: bool = False
    threads: int = Field(1, ge=1)

    @classmethod
    def of(cls, **fields: Any) -> ScoreRequest:
        """A request from the words of a command or the parameters of a flow.

        Raises:
            ConfigError: Some do not fit; all are named.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            faults = "\n".join(
                f"  - {'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
                for fault in error.errors()
            )
            raise ConfigError(
                f"this cannot be scored:\n{faults}", hint="see: lifecycle score --help"
            ) from None


class ScorePlan(Value):
    """What makes a job this job and no other: the same plan always gives the same bytes.

    Attributes:
        system: Name of the system.
        release: Digest of the release that answers.
        version: Its registered version.
        inputs: The files, in the order they are read.
        reading: How their columns are read.
        chunk_rows: Rows per chunk; chunk ``k`` holds the rows from ``k * chunk_rows`` on, over all files.
        explain: What is said beside each answer; None: nothing.
    """

    system: str
    release: str
    version: str
    inputs: tuple[InputFile, ...]
    reading: Reading
    chunk_rows: int
    explain: ExplainParams | None = None

    @cached_property
    def job(self) -> str:
        """What predictions of this job are known by: 32 hex digits.

        Names of files leave it as it is; their content and order do not.
        """
        terms = self.model_copy(
            update={"inputs": tuple(file.model_copy(update={"name": ""}) for file in self.inputs)}
        )
        # Without explanations a job is known by what it always was.
        unsaid = None if self.explain else {"explain"}
        return hashlib.sha256(terms.model_dump_json(exclude=unsaid).encode()).hexdigest()[:32]


class ScoreCounts(Value):
    """What became of the rows.

    Attributes:
        read: Rows in the input.
        scored: Rows in the output.
        quarantined: Rows refused, each with its reasons in the quarantine file.
        unanswered: Rows of the output that have no finite answer: null there.
        abstained: Rows of the output that have an answer, and no decision.
        erased: Rows left out because their subject was erased.
        unconsented: Rows left out because their subject did not agree to be scored, or does so no longer.
    """

    read: int = 0
    scored: int = 0
    quarantined: int = 0
    unanswered: int = 0
    abstained: int = 0
    erased: int = 0
    unconsented: int = 0

    @property
    def left_out(self) -> int:
        """Rows that may not be scored."""
        return self.erased + self.unconsented

    @classmethod
    def total(cls, several: Iterable[ScoreCounts]) -> ScoreCounts:
        """All together.

        Example:
            >>> total = ScoreCounts.total([ScoreCounts(read=2), ScoreCounts(read=3, scored=1)])
            >>> total.read, total.scored
            (5, 1)
        """
        every = list(several)
        return cls(**{name: sum(getattr(one, name) for one in every) for name in cls.model_fields})


class OutputFile(Value):
    """A file of the output.

    Attributes:
        name: In the output folder.
        rows: Of predictions, or lines of the quarantine.
        size: Bytes.
        sha256: Of its content.
    """

    name: str
    rows: int
    size: int
    sha256: str


class BatchGate(Value):
    """One check of a whole batch.

    Attributes:
        name: What is checked.
        verdict: ``inconclusive``: too few rows to tell, which is never fine.
        measured: What was found.
        bound: What was asked.
        detail: What it means.
    """

    name: str
    verdict: Literal["kept", "broken", "inconclusive"]
    measured: str
    bound: str
    detail: str = ""


class ScoreBand(Value):
    """How many answers lie between two values.

    Attributes:
        low: From this on; None for the lowest band.
        high: Below this; None for the highest band.
        rows: Answers of the batch.
        expected: Share of the answers on the newest rows that training knew.
    """

    low: float | None
    high: float | None
    rows: int
    expected: float


class ScoreManifest(Value):
    """What a published output consists of and where it comes from; readers take only what it names.

    Attributes:
        format: Version of this layout.
        job: Of the plan; row ``i`` of it has the prediction id ``{job}-{i}``.
        plan: Release, input files and parameters.
        task: ``regression`` or ``classification``.
        threshold: Decision threshold (classification).
        lineage: Of the release: from any score back to commit, rows and parameters.
        as_of: The moment the job stood for.
        actor: Who ran it.
        counts: What became of the rows.
        parts: Parquet files with the scores, in the order of the rows.
        quarantine: The file that describes refused rows, as JSON lines; None if there are none.
        gates: Every check of the batch.
        accepted: Why it was published all the same, where a check was not kept.
        sealed: Whether the parts are.
        bands: How the answers are spread; of sealed parts, in no smaller cells than may be shown.
    """

    format: Literal[1] = 1
    job: str
    plan: ScorePlan
    task: str
    threshold: float
    lineage: Lineage
    as_of: datetime
    actor: str
    counts: ScoreCounts
    parts: tuple[OutputFile, ...]
    quarantine: OutputFile | None
    gates: tuple[BatchGate, ...]
    accepted: str = ""
    sealed: bool = False
    bands: tuple[ScoreBand, ...] = ()

    @property
    def files(self) -> frozenset[str]:
        """The names of all files that belong to the output."""
        named = [part.name for part in self.parts] + ([self.quarantine.name] if self.quarantine else [])
        return frozenset((MANIFEST, *named))


class ScoreResult(Value):
    """How scoring ended; the same on the command line, in the artifact and in JSON.

    Attributes:
        system: Name of the system.
        status: ``published``; ``unchanged``: this very job had been published before; ``held``: a check
            was not kept, and nothing was published.
        reason: Why, in a sentence.
        as_of: The moment it stood for.
        job: What its predictions are known by.
        release: Digest of the release that answered.
        version: Its registered version.
        folder: Where the output lies; for ``held``, where the finished parts wait.
        counts: What became of the rows.
        gates: Every check of the batch.
        accepted: Why it was published all the same, where a check was not kept.
        warnings: What the user should know.
        task: ``regression`` or ``classification``.
        chunks: Files of scores.
        sealed: Whether they are.
        bands: How the answers are spread.
    """

    system: str
    status: Literal["published", "held", "unchanged"]
    reason: str
    as_of: datetime
    job: str
    release: str
    version: str
    folder: str
    counts: ScoreCounts
    gates: tuple[BatchGate, ...] = ()
    accepted: str = ""
    warnings: tuple[str, ...] = ()
    task: str = ""
    chunks: int = 0
    sealed: bool = False
    bands: tuple[ScoreBand, ...] = ()
