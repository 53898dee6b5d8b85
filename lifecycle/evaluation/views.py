"""What the report's pictures and sentences both draw on: one set of numbers for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lifecycle.evaluation import metrics
from lifecycle.evaluation.monthly import Stretch, Unit, stretches
from lifecycle.evaluation.residuals import Scale, central_offset, scale_of, within
from lifecycle.evaluation.scorers import Vector
from lifecycle.evaluation.slices import Slice, by_slice
from lifecycle.evaluation.subject import ReportInput

FEWEST_STRETCHES = 4
FEWEST_ROWS = 10
NAMES: dict[Unit, str] = {"M": "month", "W": "week", "D": "day"}


@dataclass(frozen=True)
class OverTime:
    """One number over event time, for each predictor.

    Attributes:
        unit: What the lines are drawn by: months, or shorter where the window has fewer than four.
        stretches: Those of the lines.
        shorter: Those of the dots; with fewer than ten rows a dot would only be noise, and is left out.
        lines: By name of predictor, a value per stretch.
        dots: By name of predictor, a value per shorter stretch.
    """

    unit: Unit
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


def _over_time(report: ReportInput, value: Callable[[Vector, Vector], float]) -> OverTime:
    rows = report.rows
    cuts: dict[Unit, tuple[Stretch, ...]] = {unit: stretches(unit, rows.event_time) for unit in NAMES}
    unit: Unit = next((u for u in NAMES if len(cuts[u]) >= FEWEST_STRETCHES), "D")
    finer: Unit = "W" if unit == "M" else "D"
    shorter = tuple(s for s in cuts[finer] if len(s.index) >= FEWEST_ROWS)

    def values(parts: tuple[Stretch, ...], prediction: Vector) -> list[float]:
        return [value(rows.label[s.index], prediction[s.index]) for s in parts]

    return OverTime(
        unit=unit,
        stretches=cuts[unit],
        shorter=shorter,
        lines={name: values(cuts[unit], prediction) for name, prediction in report.answers.items()},
        dots={name: values(shorter, prediction) for name, prediction in report.answers.items()},
    )
