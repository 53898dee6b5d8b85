"""What a reviewer reads beside a registered version: the verdict, then evidence, origin, next steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lifecycle.core.card import ModelCard, card_sections
from lifecycle.core.params import SystemParams
from lifecycle.core.trigger import BECAUSE
from lifecycle.core.values import (
    BatchMeasurements,
    Comparison,
    Evaluation,
    Measurements,
    Release,
    TrainingRun,
    Verdict,
    Window,
)

_CUT = "\n\n… the report has the rest."

_ROOM = "&emsp;"

_MARKS = {
    Verdict.BETTER: "✅",
    Verdict.NOT_WORSE: "☑️",
    Verdict.WORSE: "❌",
    Verdict.INCONCLUSIVE: "❔",
}


LONGEST = 5000
"""Characters that MLflow's database takes."""


@dataclass(frozen=True)
class Told:
    """What was declared of a system.

    Attributes:
        card: Of the release.
        params: Of the system.
        sealed: Whether its records are.
    """

    card: ModelCard | None
    params: SystemParams
    sealed: bool


def describe(run: TrainingRun, release: Release, evaluation: Evaluation, report: str, told: Told) -> str:
    """The description of a registered version, in Markdown; what is too long for MLflow is cut off.

    Args:
        run: What was trained, on which data.
        release: What was registered.
        evaluation: How it was judged.
        report: Link to the review report.
        told: What was declared.
    """
    sections = (
        _verdict(evaluation),
        f"[Review report]({report}): errors over time, slices, calibration or residuals.",
        _metrics(evaluation),
        _gates(evaluation),
        _measured(evaluation.measurements),
        _paced(evaluation.batch),
        f"**Engine**: {evaluation.surprise}" if evaluation.surprise else "",
        _card(told),
        _data(run),
        f"**Trained** because {BECAUSE[run.trigger]} (`{run.trigger}`).",
        _lineage(run, release),
        _next_steps(run.system, evaluation),
    )
    text = "\n\n".join(section for section in sections if section)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - len(_CUT)]}{_CUT}"


def _verdict(evaluation: Evaluation) -> str:
    kept = sum(gate.ok for gate in evaluation.gates)
    gates = f"**{kept} of {len(evaluation.gates)} gates kept**"
    may = "It may be promoted." if evaluation.passed else "It may not be promoted as it is."
    return "\n".join([*(_comparison(it) for it in evaluation.comparisons), "", f"{gates}. {may}"])


def _comparison(found: Comparison) -> str:
    other = f"champion `{found.against[:12]}`" if len(found.against) == 64 else f"baseline *{found.against}*"
    return (
        f"- {_MARKS[found.verdict]} **{found.verdict.value}** against the {other}: {found.metric} "
        f"{found.candidate:.4g} to {found.other:.4g} on {found.rows:,} identical rows; the difference lies "
        f"in [{found.low:+.3g}, {found.high:+.3g}] at {found.confidence:.0%} confidence "
        f"(margin {found.margin:.3g})"
    )


def _metrics(evaluation: Evaluation) -> str:
    champion = evaluation.champion_metrics
    header = ["Metric (test window)", "Candidate", *(["Champion"] if champion else [])]
    rows = [
        [name, f"{value:.4g}", *([f"{champion[name]:.4g}" if name in champion else "–"] if champion else [])]
        for name, value in evaluation.metrics.items()
    ]
    return _table(header, rows)


def _gates(evaluation: Evaluation) -> str:
    missed = [gate for gate in evaluation.gates if not gate.ok]
    if not missed:
        return ""
    rows = [[gate.name, gate.measured, gate.bound, gate.detail] for gate in missed]
    return "**Not kept**\n\n" + _table(["Gate", "Measured", "Bound", ""], rows)


def _measured(found: Measurements | None) -> str:
    if found is None:
        return ""
    return (
        f"**Measured** on a real server process, {found.requests:,} requests at "
        f"{found.offered_per_s:,.0f}/s: p50 {found.latency_p50_ms:.3g} ms, p99 {found.latency_p99_ms:.3g} "
        f"ms, sustained {found.throughput_per_s:,.0f} requests/s, {found.memory_mb:.0f} MB of memory, ready "
        f"in {found.ready_s:.2g} s; the release has {found.size_mb:.3g} MB"
    )


def _paced(found: BatchMeasurements | None) -> str:
    if found is None:
        return ""
    return f"**Measured** on {found.sample}: {found.records_per_hour:,.0f} records an hour in proportion"


def _card(told: Told) -> str:
    return "\n\n".join(
        f"**{title}**: {texts[0]}"
        if len(texts) == 1
        else "\n".join([f"**{title}**", "", *(f"- {text}" for text in texts)])
        for title, texts in card_sections(told.card, told.params, sealed=told.sealed)
    )


def _data(run: TrainingRun) -> str:
    split, counts = run.split, run.snapshot.counts
    windows = (("Train", split.train), ("Validation", split.validation), ("Test", split.test))
    table = _table(
        ["Window", "From", "Up to", "Rows"], [[name, *_window(window)] for name, window in windows]
    )
    left_out = f"Left out of training: {split.purged:,} purged, {split.embargoed:,} in the embargo"
    subjects = f", {split.regrouped:,} of subjects in a later part" if split.regrouped else ""
    refused = f"{counts.quarantined:,} of {counts.read:,} rows read were refused"
    return f"{table}\n\n{left_out}{subjects}; {refused}."


def _window(window: Window) -> list[str]:
    return [f"{window.start:%Y-%m-%d}", f"{window.end:%Y-%m-%d}", f"{window.rows:,}"]


def _lineage(run: TrainingRun, release: Release) -> str:
    rows = [
        ["Release", f"`{release.digest}`"],
        ["Snapshot (DVC)", f"`{run.snapshot.id}`"],
        ["Commit", f"`{run.commit}`"],
        ["Split", f"`{run.split.digest}`"],
    ]
    return _table(["Lineage", ""], rows)


def _next_steps(system: str, evaluation: Evaluation) -> str:
    verb = "update" if evaluation.champion or evaluation.passed else "first-deployment"
    steps = (
        f"lifecycle history {system}      # what was decided, and why",
        f"lifecycle {verb} {system}      # decide again, with new data",
        f"lifecycle rollback {system}     # back to what was live before",
    )
    return (
        "The ledger decides what is live; the aliases `champion` and `previous` follow it, and setting them "
        "here changes nothing.\n\n```\n" + "\n".join(steps) + "\n```"
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head, *lines = (f"| {' | '.join(_cell(cell) for cell in line)} |" for line in (header, *rows))
    return "\n".join([head, f"|{' --- |' * len(header)}", *lines])


def _cell(text: str) -> str:
    # MLflow's page sets cells without any room between them, and trims a space that is written as itself.
    return text.replace("|", "\\|").replace("\n", " ") + _ROOM
