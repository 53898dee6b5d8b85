"""The words and tables of the report: plain values that the template only lays out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lifecycle.core.card import card_sections
from lifecycle.core.values import Comparison, Lineage, Verdict, Window
from lifecycle.evaluation import findings, metrics
from lifecycle.evaluation.metrics import find
from lifecycle.evaluation.subject import ReportInput
from lifecycle.evaluation.wording import (
    count,
    inside,
    loss_difference,
    loss_interval,
    metric_gap,
    metric_value,
    percent,
)

_VERDICTS = {
    Verdict.BETTER: "is better than",
    Verdict.NOT_WORSE: "is not worse than",
    Verdict.WORSE: "is worse than",
    Verdict.INCONCLUSIVE: "cannot be told from",
}
_REQUIREMENTS = {
    "verdict": "Verdict",
    "latency_p99_ms": "99th-percentile latency",
    "throughput_per_s": "Throughput",
    "memory_mb": "Memory of one server",
    "records_per_hour": "Pace of a batch",
    "privacy": "Privacy",
    "size_mb": "Size of the release",
    "parity": "ONNX answers as the estimator",
}


@dataclass(frozen=True)
class Headline:
    """The recommendation, in one sentence, and why."""

    word: str
    sentence: str
    detail: str


@dataclass(frozen=True)
class Cell:
    """One value of the table of metrics; ``best`` marks the best of its row."""

    text: str
    best: bool


@dataclass(frozen=True)
class MetricLine:
    """One metric for every predictor; ``change`` says how the candidate differs from the champion."""

    title: str
    description: str
    primary: bool
    cells: tuple[Cell, ...]
    change: str


def context(report: ReportInput) -> dict[str, Any]:
    """Everything the template lays out, beside the pictures."""
    return {
        "system": report.system.name,
        "description": report.system.schema.description,
        "as_of": report.as_of,
        "task": report.system.task,
        "passed": report.evaluation.passed,
        "first": report.first,
        "rival": report.rival,
        "headline": headline(report),
        "compared": list(_compared(report)),
        "predictors": ["candidate", *_others(report)],
        "metrics": metric_lines(report),
        "findings": findings.all_findings(report),
        "gates": [(_gate_title(gate.name), gate) for gate in report.evaluation.gates],
        "surprise": report.evaluation.surprise,
        "missed": sum(not gate.ok for gate in report.evaluation.gates),
        "measurements": report.evaluation.measurements,
        "requirements": report.params.requirements,
        "card": card_sections(report.system.card, report.params, sealed=report.system.schema.is_sealed),
        "lineage": list(_lineage(report)),
        "seed": report.params.seed,
        "release": report.evaluation.release,
        "champion": report.evaluation.champion,
    }


def headline(report: ReportInput) -> Headline:
    """Promote or hold, with the numbers that say so."""
    gates = report.evaluation.gates
    missed = [gate for gate in gates if not gate.ok]
    made = report.against
    if missed:
        kept = (
            f"{len(missed)} of {count(len(gates), 'gate')} {'is' if len(missed) == 1 else 'are'} missed: "
            + (", ".join(inside(_gate_title(gate.name)) for gate in missed))
        )
    else:
        kept = f"All {count(len(gates), 'gate')} are kept" if len(gates) > 1 else "The one gate is kept"
    return Headline(
        word="Hold" if missed else "Promote",
        sentence=_first_sentence(report) if report.first else _sentence(made, "the champion", report.unit),
        detail=f"Difference in loss {_interval(made, report.unit)}. {kept}.",
    )


def metric_lines(report: ReportInput) -> list[MetricLine]:
    """Every metric of the system, for the candidate and all it was compared with."""
    names = report.system.metrics
    computed = {
        "candidate": report.evaluation.metrics,
        **{
            name: metrics.compute(
                report.system.task,
                report.rows.label,
                answers,
                threshold=report.params.evaluation.threshold,
                names=names,
            )
            for name, answers in _others(report).items()
        },
    }
    return [
        _metric_line(report, name, [found.get(name, np.nan) for found in computed.values()]) for name in names
    ]


def _metric_line(report: ReportInput, name: str, values: list[float]) -> MetricLine:
    metric = find(name)
    lost = [metrics.loss(name, value) for value in values]
    lowest = min((one for one in lost if not np.isnan(one)), default=np.nan)
    change = ""
    if not report.first and np.isfinite(lost).all():
        word = "better" if lost[0] < lost[1] else "worse" if lost[0] > lost[1] else "equal"
        step = values[0] - values[1]
        change = f"{'−' if step < 0 else '+'}{metric_gap(name, abs(step), report.unit)}, {word}"
    return MetricLine(
        title=metric.title,
        description=metric.description,
        primary=name == report.system.primary,
        cells=tuple(
            Cell(metric_value(name, value, report.unit), best=one == lowest)
            for value, one in zip(values, lost, strict=True)
        ),
        change=change,
    )


def _sentence(made: Comparison, other: str, unit: str) -> str:
    title, rows = inside(find(made.metric).title), count(made.rows, "row")
    if np.isnan(made.difference):
        return f"The candidate cannot be compared with {other}: {title} is undefined on these {rows}."
    mine, theirs = (metric_value(made.metric, value, unit) for value in (made.candidate, made.other))
    return (
        f"The candidate {_VERDICTS[made.verdict]} {other}: {title} {mine} against {theirs} "
        f"on the same {rows}."
    )


def _first_sentence(report: ReportInput) -> str:
    made = report.against
    if all(one.verdict is Verdict.BETTER for one in report.evaluation.comparisons):
        mine, theirs = (
            metric_value(made.metric, value, report.unit) for value in (made.candidate, made.other)
        )
        return (
            f"The candidate is better than every naive baseline: {inside(find(made.metric).title)} {mine} "
            f"against {theirs} for the strongest, “{made.against}”, on the same {count(made.rows, 'row')}."
        )
    return _sentence(made, f"the naive baseline “{made.against}”", report.unit)


def _interval(made: Comparison, unit: str) -> str:
    difference = loss_difference(made.metric, made.difference, unit)
    span = loss_interval(made.metric, made.low, made.high, unit)
    return f"{difference}, {percent(made.confidence)} interval {span}"


def _others(report: ReportInput) -> dict[str, Any]:
    return dict(report.others) if report.first else {"champion": report.others[report.against.against]}


def _gate_title(name: str) -> str:
    if name in metrics.REGISTRY:
        return find(name).title
    if name.startswith("verdict: "):
        return f"Verdict against “{name.removeprefix('verdict: ')}”"
    return _REQUIREMENTS.get(name, name)


def _compared(report: ReportInput) -> Iterator[tuple[str, str, str]]:
    """What is compared on what: title, value, and a digest to set in monospace."""
    yield "Candidate", f"trained on {_window(report.lineage.train)}", report.evaluation.release[:12]
    if report.evaluation.champion:
        trained = (
            f"trained on {_window(report.champion_lineage.train)}" if report.champion_lineage else "live now"
        )
        yield "Champion", trained, report.evaluation.champion[:12]
    else:
        yield "Compared with", "naive baselines: " + ", ".join(_others(report)), ""
    test = report.lineage.test  # not from the first event on, which is somebody's very own
    span = f"{test.start:%Y-%m-%d} until {test.end:%Y-%m-%d}"
    yield (
        "Test rows",
        f"{count(len(report.rows), 'row')}, {span}, identical for all",
        report.against.rows_digest[:12],
    )


def _lineage(report: ReportInput) -> Iterator[tuple[str, str, str]]:
    """Where the candidate comes from: title, value, and a digest to set in monospace."""
    found: Lineage = report.lineage
    yield "Release", "", report.evaluation.release
    yield "Snapshot of the data", "", found.snapshot
    yield "Commit", f"on lifecycle/{report.system.name}", found.commit
    for name in ("train", "validation", "test"):
        yield f"{name.capitalize()} window", _window(getattr(found, name)), ""
    yield "Split", "manifest of record ids", found.split
    yield "Parameters", "", found.params
    yield "Environment", "lock file", found.environment
    yield "Seed", str(found.seed), ""


def _window(window: Window) -> str:
    return f"{count(window.rows, 'row')}, {window.start:%Y-%m-%d} until {window.end:%Y-%m-%d}"
