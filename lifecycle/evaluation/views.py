"""What the report's pictures and sentences both draw on: one set of numbers for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lifecycle.core.disclosure import SMALLEST_CELL
from lifecycle.evaluation import metrics
from lifecycle.evaluation.disclosure import joined, kinds
from lifecycle.evaluation.monthly import Stretch, Unit, shown, stretches, whole
from lifecycle.evaluation.residuals import Scale, central_offset, scale_of, within
from lifecycle.evaluation.scorers import Vector
from lifecycle.evaluation.slices import Slice, by_slice
from lifecycle.evaluation.subject import ReportInput

FEWEST_STRETCHES = 4
FEWEST_ROWS = 10
BINS = 40
"""Of the histogram of probabilities."""

NAMES: dict[Unit, str] = {"M": "month", "W": "week", "D": "day"}
JOINED = "period"


@dataclass(frozen=True)
class OverTime:
    """One number over event time, for each predictor.

    Attributes:
        unit: What the lines are drawn by, in a word: months, or shorter where the window has fewer than four.
            Of sealed records they are joined until they may be shown.
        stretches: Those of the lines.
        shorter: Those of the dots; with fewer than ten rows a dot would only be noise, and is left out. Of
            sealed records there are none.
        lines: By name of predictor, a value per stretch.
        dots: By name of predictor, a value per shorter stretch.
    """

    unit: str
    stretches: tuple[Stretch, ...]
    shorter: tuple[Stretch, ...]
    lines: dict[str, list[float]]
    dots: dict[str, list[float]]


def error_over_time(report: ReportInput) -> OverTime:
    """The primary metric over event time."""
    primary, task = report.system.primary, report.system.task
    threshold = report.params.evaluation.threshold

    def error(label: Vector, prediction: Vector) -> float:
        return metrics.compute(task, label, prediction, threshold=threshold, names=[primary])[primary]

    return _over_time(report, error)


def bias_over_time(report: ReportInput) -> OverTime:
    """How far answers are too high (above zero) or too low over event time."""
    scale = scale_of(report.system.task, report.rows.label)
    return _over_time(report, lambda label, prediction: central_offset(scale, label, prediction))


def slices(report: ReportInput) -> dict[str, tuple[Slice, ...]]:
    """The slices, by name of predictor."""
    evaluation = report.params.evaluation
    return {
        name: by_slice(
            report.system.task,
            report.system.schema,
            evaluation.slices,
            report.rows,
            prediction,
            threshold=evaluation.threshold,
        )
        for name, prediction in report.answers.items()
    }


def close_enough(report: ReportInput) -> tuple[Scale, Vector, dict[str, Vector]]:
    """Distances from the truth, and the share of rows within each, by name of predictor."""
    label = report.rows.label
    scale = scale_of(report.system.task, label)
    furthest = 0.5
    if scale != "ratio":
        furthest = float(np.quantile(np.abs(report.candidate - label), 0.9)) or 1.0
    limits = np.linspace(0, furthest, 101)
    return scale, limits, {name: within(scale, label, p, limits) for name, p in report.answers.items()}


def by_class(report: ReportInput) -> tuple[Vector, dict[str, Vector], str]:
    """The candidate's probabilities as a histogram for each label.

    Of sealed records bins are joined until they may be shown. They differ in width then: heights are shares.

    Returns:
        Ends of the bins ``[bins + 1]``, heights ``[bins]`` by label, and what the heights are.
    """
    edges = np.linspace(0, 1, BINS + 1)
    each = kinds("classification", report.rows.label)
    bin_of = np.clip(np.searchsorted(edges, report.candidate, side="right") - 1, 0, BINS - 1)
    counts = np.array([np.bincount(bin_of, weights=each[:, kind], minlength=BINS) for kind in (0, 1)])
    if not report.system.schema.is_sealed:
        return edges, {"label 0": counts[0], "label 1": counts[1]}, "rows"
    parts = joined(counts.T.astype(np.int64), [SMALLEST_CELL, SMALLEST_CELL])
    edges = edges[[0, *(part.stop for part in parts)]] if parts else np.array([0.0, 1.0])
    sums = np.array([[kind[part].sum() for part in parts] or [0.0] for kind in counts])
    heights = sums / np.maximum(sums.sum(axis=1, keepdims=True), 1) / (np.diff(edges) * 100)
    return edges, {"label 0": heights[0], "label 1": heights[1]}, "share of the label's rows, per point"


def _over_time(report: ReportInput, value: Callable[[Vector, Vector], float]) -> OverTime:
    rows = report.rows
    cuts: dict[Unit, tuple[Stretch, ...]] = {unit: stretches(unit, rows.event_time) for unit in NAMES}
    unit: Unit = next((u for u in NAMES if len(cuts[u]) >= FEWEST_STRETCHES), "D")
    finer: Unit = "W" if unit == "M" else "D"
    sealed = report.system.schema.is_sealed
    # Where no part may be shown, the whole is one: its values stand in the table of metrics anyway.
    drawn = shown(report.system.task, rows, cuts["M"]) if sealed else cuts[unit]
    drawn = drawn or (whole(rows.event_time),)
    shorter = () if sealed else tuple(s for s in cuts[finer] if len(s.index) >= FEWEST_ROWS)

    def values(parts: tuple[Stretch, ...], prediction: Vector) -> list[float]:
        return [value(rows.label[s.index], prediction[s.index]) for s in parts]

    return OverTime(
        unit=JOINED if sealed else NAMES[unit],
        stretches=drawn,
        shorter=shorter,
        lines={name: values(drawn, prediction) for name, prediction in report.answers.items()},
        dots={name: values(shorter, prediction) for name, prediction in report.answers.items()},
    )
