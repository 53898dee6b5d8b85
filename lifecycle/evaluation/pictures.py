"""Each picture of the report, from the report's input: numbers from ``views``, drawing in ``figures``."""

from __future__ import annotations

from matplotlib.figure import Figure

from lifecycle.evaluation import views
from lifecycle.evaluation.figures import rows as rows_figures
from lifecycle.evaluation.figures import time as time_figures
from lifecycle.evaluation.figures import verdict as verdict_figures
from lifecycle.evaluation.figures.style import candidate_and, metric_axis
from lifecycle.evaluation.metrics import find
from lifecycle.evaluation.residuals import by_decile, scale_of
from lifecycle.evaluation.residuals import calibration as calibrate
from lifecycle.evaluation.subject import ReportInput
from lifecycle.evaluation.wording import inside


def verdict(report: ReportInput) -> Figure:
    """The interval of every comparison."""
    made = report.evaluation.comparisons
    names = [comparison.against if report.first else "the champion" for comparison in made]
    return verdict_figures.draw_intervals(made, names, report.unit, margin=not report.first)


def error_over_time(report: ReportInput) -> Figure:
    """The primary metric over event time."""
    metric = find(report.system.primary)
    return time_figures.draw_over_time(
        candidate_and(report.rival),
        views.error_over_time(report),
        label=inside(metric.title),
        axis=lambda axes: metric_axis(axes, metric.name, report.unit),
        from_zero=metric.best == "low",
    )


def bias_over_time(report: ReportInput) -> Figure:
    """Too high or too low, over event time."""
    scale = scale_of(report.system.task, report.rows.label)
    return time_figures.draw_over_time(
        candidate_and(report.rival),
        views.bias_over_time(report),
        label="mean probability − share of label 1" if scale == "probability" else "predicted against true",
        axis=lambda axes: rows_figures.offset_axis(axes, scale, report.unit),
        reference=0.0,
    )


def slices(report: ReportInput) -> Figure:
    """The primary metric by slice."""
    return rows_figures.draw_slices(
        candidate_and(report.rival), views.slices(report), report.system.primary, report.unit
    )


def residuals(report: ReportInput) -> Figure:
    """Offsets by tenth of the candidate's predictions, and how often answers are close enough."""
    scale, limits, within = views.close_enough(report)
    deciles = {
        name: by_decile(scale, report.rows.label, prediction, report.candidate)
        for name, prediction in report.answers.items()
    }
    return rows_figures.draw_residuals(
        candidate_and(report.rival), deciles, limits, within, scale, report.unit
    )


def calibration(report: ReportInput) -> Figure:
    """Whether a probability means what it says."""
    sealed = report.system.schema.is_sealed
    bins = {name: calibrate(report.rows.label, p, sealed=sealed) for name, p in report.answers.items()}
    return rows_figures.draw_calibration(
        candidate_and(report.rival), bins, *views.by_class(report), report.params.evaluation.threshold
    )


def reliability(report: ReportInput) -> Figure:
    """How far the verdict can be trusted."""
    return verdict_figures.draw_reliability(report.reliability, report.unit, margin=not report.first)
