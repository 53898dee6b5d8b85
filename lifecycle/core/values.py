"""The frozen values that pass along the loop, each carrying the ids of its parents.

    Snapshot → Split → TrainingRun → Release → Evaluation → ModelVersion → Deployment

Lineage therefore runs one way: from any answer of the endpoint back to commit, rows and parameters.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from lifecycle.core.trigger import Trigger


class Value(BaseModel):
    """Base of all values: immutable, and nothing unknown inside.

    A number that is not finite (an undefined metric) is text in JSON, ``"NaN"``, and is read back as it was.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Counts(Value):
    """What became of the rows of all sources.

    Attributes:
        read: Rows read.
        kept: Rows in the snapshot.
        quarantined: Rows refused, each with its reason in the quarantine file.
        duplicates: Rows equal to one already read.
        corrections: Rows replaced by a newer one of the same record id.
        future: Events on or after ``as_of``; they do not exist yet.
        immature: Events whose label is not known by ``as_of``, or has not arrived.
        unconsented: The user's own rows whose subject did not agree to training, or does so no longer.
        erased: Rows of subjects who were erased.
    """

    read: int = 0
    kept: int = 0
    quarantined: int = 0
    duplicates: int = 0
    corrections: int = 0
    future: int = 0
    immature: int = 0
    unconsented: int = 0
    erased: int = 0

    @property
    def withheld(self) -> str:
        """In words, how many rows of people may not be learnt from; nothing if there are none.

        Example:
            >>> Counts(unconsented=3).withheld
            ', 3 without consent'
        """
        told = {"without consent": self.unconsented, "of erased subjects": self.erased}
        return "".join(f", {count:,} {what}" for what, count in told.items() if count)


class Snapshot(Value):
    """An immutable, content-addressed version of a system's data.

    Attributes:
        system: Name of the system.
        id: DVC's hash of the folder of monthly partitions.
        commit: The git commit on ``lifecycle/<system>`` that holds the pointer.
        last_event: Event time of the newest row: with ``id``, the cut of this snapshot.
        counts: What became of the rows of all sources.
        origins: Rows kept per origin.
        months: The partitions, oldest first, as ``1996-01``.
        quarantine: Where the refused rows are described, if any were.
        warnings: What the user should know, such as an uncommitted change that was left out.
    """

    system: str
    id: str
    commit: str
    last_event: datetime | None
    counts: Counts
    origins: dict[str, int] = {}
    months: tuple[str, ...] = ()
    quarantine: str | None = None
    warnings: tuple[str, ...] = ()


class Window(Value):
    """A half-open span of event time, ``[start, end)``, and the rows in it."""

    start: datetime
    end: datetime
    rows: int


class Split(Value):
    """Which records train, validate and test; a manifest of ids lies beside it.

    Attributes:
        ok: Whether every part has the rows it needs; a split that is not is never trained on.
        reason: Why not, with the counts.
        train: Rows whose labels were known before validation began (purged, then embargoed).
        validation: The window before the test window; rows whose labels were known before that began.
        test: The last days whose labels have matured.
        purged: Rows left out because their label was not known when the next part began.
        embargoed: Rows left out by the embargo.
        regrouped: Rows left out because their subject also stands in a later part.
        digest: SHA-256 of the manifest.
    """

    ok: bool
    reason: str = ""
    train: Window
    validation: Window
    test: Window
    purged: int = 0
    embargoed: int = 0
    regrouped: int = 0
    half_life_days: float | None = None
    digest: str


class Parity(Value):
    """How closely the ONNX model answers as the estimator it was converted from.

    Attributes:
        rows: Rows compared.
        worst_relative: The largest relative difference.
        worst_row: Record id of that row.
        rtol: The bound.
        decisions_differ: Rows whose decision differs (classification).
    """

    rows: int
    worst_relative: float
    worst_row: str
    rtol: float
    decisions_differ: int = 0

    @property
    def ok(self) -> bool:
        """Whether the bound holds on every row."""
        return self.worst_relative <= self.rtol and self.decisions_differ == 0


class EngineChoice(Value):
    """What runs a trained model, and why.

    Attributes:
        task: ``regression`` or ``classification``.
        engine: ``onnx``, or ``skops`` for the scikit-learn estimator itself.
        reason: Why it is not ONNX, in a sentence; empty if it is.
        parity: Of the ONNX model against the estimator; None where the estimator itself answers.
        trusted_types: Full names of the user's own types that may be built from ``model.skops``.
    """

    task: Literal["regression", "classification"]
    engine: Literal["onnx", "skops"]
    reason: str = ""
    parity: Parity | None = None
    trusted_types: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _accounted_for(self) -> EngineChoice:
        if self.engine == "onnx" and (self.parity is None or self.reason):
            raise ValueError("an ONNX model carries its parity, and needs no reason")
        if self.engine == "skops" and (self.parity is not None or not self.reason):
            raise ValueError("a model that scikit-learn serves carries the reason, and no parity with ONNX")
        return self


class TrainingRun(Value):
    """One run of the stages split, train and evaluate.

    Attributes:
        system: Name of the system.
        snapshot: The snapshot trained on.
        commit: The commit on ``lifecycle/<system>`` that holds pointer and lock; it gives the model back.
        ran: The stages DVC found out of date and ran; empty: nothing changed.
        folder: The project as it was trained, in the worktree: ``core.layout`` says what lies where in it.
        split: What was trained on.
        trigger: Why it was run.
    """

    system: str
    snapshot: Snapshot
    commit: str
    ran: tuple[str, ...]
    folder: str
    split: Split
    trigger: Trigger = "manual"


class Lineage(Value):
    """Where a release comes from.

    Attributes:
        snapshot: DVC's hash of the data.
        commit: ``git checkout`` of it, ``dvc pull`` and ``dvc repro`` give the model back.
        params: SHA-256 of the system's parameters.
        environment: SHA-256 of the environment's lock file.
        split: SHA-256 of the split's manifest.
        seed: The seed of the estimator.
    """

    snapshot: str
    commit: str
    params: str
    environment: str
    split: str
    seed: int
    train: Window
    validation: Window
    test: Window


class Release(Value):
    """A verified release: what is deployed, everywhere, under one digest.

    Attributes:
        system: Name of the system.
        digest: SHA-256 of the manifest.
        uri: The folder it can be fetched from.
    """

    system: str
    digest: str
    uri: str


class Verdict(StrEnum):
    """How a candidate compares."""

    BETTER = "better"
    NOT_WORSE = "not worse"
    WORSE = "worse"
    INCONCLUSIVE = "inconclusive"


class Comparison(Value):
    """A candidate against another predictor, on identical rows.

    Attributes:
        against: The champion's digest, or the name of a naive baseline.
        metric: The primary metric.
        candidate: Its value for the candidate.
        other: Its value for the other.
        difference: Loss of the candidate minus loss of the other; below zero the candidate is better.
        low: Lower end of the interval of the difference.
        high: Upper end.
        confidence: Of the interval.
        margin: Absolute difference that still counts as not worse.
        rows: Rows compared.
        rows_digest: The same for both, by assertion.
        verdict: What follows.
    """

    against: str
    metric: str
    candidate: float
    other: float
    difference: float
    low: float
    high: float
    confidence: float
    margin: float
    rows: int
    rows_digest: str
    verdict: Verdict


class GateResult(Value):
    """One bound and whether it is kept.

    Attributes:
        name: What is bounded, such as ``latency_p99_ms`` or ``verdict``.
        ok: Whether it is kept.
        measured: What was found.
        bound: What was asked.
        detail: By how much it is missed, or what it means.
    """

    name: str
    ok: bool
    measured: str
    bound: str
    detail: str = ""


class Measurements(Value):
    """What a real server process with the release loaded was seen to do on this machine, open-loop.

    Requests are sent when they are due, whatever became of earlier ones, and a latency counts from then.

    Attributes:
        latency_p50_ms: Median latency of a single-record request at ``offered_per_s``, ms.
        latency_p99_ms: 99th percentile, ms; of fewer than 100 requests, the largest.
        offered_per_s: The required rate, or 30 % of what one connection can do where none is required.
        throughput_per_s: Highest rate that was seen to keep the latency bound (1 s where there is none)
            with every request answered; no lower than ``offered_per_s`` if that did.
        memory_mb: Resident memory after the requests, MB.
        ready_s: From start to the first answer of ``/readyz``, seconds.
        size_mb: Size of the release folder, MB.
        requests: How many the latencies are of.
    """

    latency_p50_ms: float
    latency_p99_ms: float
    offered_per_s: float
    throughput_per_s: float
    memory_mb: float
    ready_s: float
    size_mb: float
    requests: int


class BatchMeasurements(Value):
    """What scoring a sample was seen to do on this machine: made-up records, through the steps of a real job.

    Attributes:
        rows: Records of the sample, each of a subject of its own.
        seconds: From loading the model to the last file written and signed.
        cores: That it could use.
        sealed: Whether the records came from sealed files and the scores went into some.
        records_per_hour: In proportion. A longer job is no slower a record: here the start counts in full.
    """

    rows: int
    seconds: float
    cores: int
    sealed: bool
    records_per_hour: float

    @property
    def sample(self) -> str:
        """What was measured, for people.

        Example:
            >>> BatchMeasurements(rows=20000, seconds=3.21, cores=2, sealed=True, records_per_hour=1.0).sample
            '20,000 made-up records from sealed files into sealed files in 3.2 s on 2 cores, start included'
        """
        files = "sealed files into sealed files" if self.sealed else "files into files"
        cores = f"{self.cores} core{'s' if self.cores != 1 else ''}"
        return (
            f"{self.rows:,} made-up records from {files} in {self.seconds:.1f} s on {cores}, start included"
        )


class Evaluation(Value):
    """Everything that decides whether a candidate may be promoted.

    Attributes:
        release: Digest of the candidate.
        champion: Digest of what is live, None at the first deployment.
        metrics: The candidate's metrics on the test window.
        champion_metrics: The champion's on the same rows.
        comparisons: With the champion (update) or the naive baselines (first deployment).
        gates: Every gate, kept or not.
        measurements: Of the serving process; None for a batch system.
        batch: Of a scored sample; None where no pace is required.
        engine: What runs the candidate: ``onnx``, or ``skops`` for the scikit-learn estimator itself.
        engine_reason: Why it is not ONNX; empty if it is.
        report: Path of the HTML report.
    """

    release: str
    champion: str | None
    metrics: dict[str, float]
    champion_metrics: dict[str, float] = {}
    comparisons: tuple[Comparison, ...]
    gates: tuple[GateResult, ...]
    measurements: Measurements | None = None
    batch: BatchMeasurements | None = None
    engine: Literal["onnx", "skops"] = "onnx"
    engine_reason: str = ""
    report: str = ""

    @property
    def surprise(self) -> str:
        """What people should know of the engine, in a sentence; empty for ONNX."""
        if self.engine == "onnx":
            return ""
        return (
            "scikit-learn itself serves this model, in processes of its own, which costs latency and memory: "
            f"{self.engine_reason}"
        )

    @property
    def passed(self) -> bool:
        """Whether every gate is kept."""
        return all(gate.ok for gate in self.gates)


class ModelVersion(Value):
    """A registered version of a model.

    Attributes:
        name: Registered name: the system's.
        version: MLflow's number, as text.
        run: MLflow's run id.
        release: The release it carries.
    """

    name: str
    version: str
    run: str
    release: Release


class Deployment(Value):
    """One row of the deployment ledger: a decision, why, and the switch it made.

    Attributes:
        id: Number of the row.
        system: Name of the system.
        decided_at: When, by the machine's clock.
        as_of: The moment the flow stood for.
        actor: Who decided.
        decision: What was decided; ``hold`` leaves the live release as it was.
        release: What is live after it (for ``hold``: the candidate that was held).
        version: Its registered version.
        previous: Digest of what was live before; None at the first deployment.
        evidence: The evaluation and what triggered the training, or for a rollback the reason.
    """

    id: int
    system: str
    decided_at: datetime
    as_of: datetime
    actor: str
    decision: Literal["first-deployment", "promote", "rollback", "hold"]
    release: Release
    version: str
    previous: str | None
    evidence: dict[str, Any]

    @property
    def trigger(self) -> str:
        """Why its release was trained; empty for a rollback, and for decisions from before this was kept."""
        return str(self.evidence.get("trigger", ""))


class FlowResult(Value):
    """How a flow ended; the same on the command line, in the artifact and in JSON.

    Attributes:
        system: Name of the system.
        status: ``skipped``: too little data. ``unchanged``: nothing new. ``held``: the candidate was
            registered and not promoted. ``promoted`` and ``rolled back``: the switch was made.
        reason: Why, in a sentence.
        trigger: Why the system was trained; None for a rollback.
    """

    system: str
    status: Literal["promoted", "held", "skipped", "unchanged", "rolled back"]
    reason: str
    as_of: datetime
    trigger: Trigger | None = None
    snapshot: Snapshot | None = None
    split: Split | None = None
    evaluation: Evaluation | None = None
    version: ModelVersion | None = None
    deployment: Deployment | None = None
