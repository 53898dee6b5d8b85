"""One sentence under each picture: what it shows, with the numbers."""

from __future__ import annotations

import numpy as np

from lifecycle.evaluation import metrics, views
from lifecycle.evaluation.residuals import Scale, central_offset, scale_of
from lifecycle.evaluation.slices import Slice
from lifecycle.evaluation.subject import ReportInput
from lifecycle.evaluation.wording import amount, count, metric_gap, percent


def all_findings(report: ReportInput) -> dict[str, str]:
    """A sentence for every picture of this report, by the picture's name."""
    found = {
        "error_over_time": error_over_time(report),
        "bias_over_time": bias_over_time(report),
        "reliability": reliability(report),
    }
    if any(views.slices(report).values()):
        found["slices"] = slices(report)
    if report.system.task == "regression":
        found["residuals"] = residuals(report)
    else:
        found["calibration"] = calibration(report)
    return found


def error_over_time(report: ReportInput) -> str:
    """In how many months the candidate's error is lower."""
    over_time = views.error_over_time(report)
    mine, theirs = (_losses(report, over_time.lines[name]) for name in ("candidate", report.rival))
    return (
        f"In {int((mine < theirs).sum())} of {count(len(mine), over_time.unit)} the candidate errs less than "
        f"the {_quoted(report)}.{_faint(over_time)}"
    )


def bias_over_time(report: ReportInput) -> str:
    """How far each predictor is off on the whole."""
    scale = scale_of(report.system.task, report.rows.label)
    mine, theirs = (
        _direction(central_offset(scale, report.rows.label, answers), scale, report.unit)
        for answers in report.answers.values()
    )
    what = "The average probability" if scale == "probability" else "The median answer"
    return f"{what} of the candidate is {mine}; of the {_quoted(report)} {theirs}."


def slices(report: ReportInput) -> str:
    """Where the candidate is worse, although it may be better on the whole."""
    primary = report.system.primary
    mine, theirs = views.slices(report).values()
    enough = [(a, b) for a, b in zip(mine, theirs, strict=True) if not a.too_few]
    lost = [(a, _loss(primary, a) - _loss(primary, b)) for a, b in enough]
    worse = sorted((pair for pair in lost if pair[1] > 0), key=lambda pair: -pair[1])
    sentence = f"The candidate errs less in {sum(by < 0 for _, by in lost)} of {count(len(lost), 'slice')} "
    sentence += "with at least 30 rows"
    if worse:
        named = ", ".join(
            f"{one.feature}: {one.value} (by {metric_gap(primary, by, report.unit)})" for one, by in worse[:3]
        )
        sentence += f"; it errs more in {named}{' and others' if len(worse) > 3 else ''}"
    few = len(mine) - len(enough)
    return f"{sentence}." + (f" Hollow marks: {count(few, 'slice')} with too few rows to say." if few else "")


def residuals(report: ReportInput) -> str:
    """How many answers are close enough."""
    scale, limits, within = views.close_enough(report)
    limit = 0.1 if scale == "ratio" else float(limits[len(limits) // 2])
    at = int(np.argmin(np.abs(limits - limit)))
    mine, theirs = (percent(float(share[at])) for share in within.values())
    shown = percent(limit) if scale == "ratio" else amount(limit, report.unit)
    return (
        f"{mine} of the candidate's answers lie within {shown} of the truth, {theirs} of those "
        f"of the {_quoted(report)}. Bars span the middle half of the rows."
    )


def calibration(report: ReportInput) -> str:
    """How far a probability is off."""
    threshold = report.params.evaluation.threshold
    mine, theirs = (
        metrics.compute(
            "classification", report.rows.label, answers, threshold=threshold, names=["calibration_error"]
        )["calibration_error"]
        for answers in report.answers.values()
    )
    return (
        f"A probability of the candidate is {metric_gap('calibration_error', mine)} off on average, of the "
        f"{_quoted(report)} {metric_gap('calibration_error', theirs)}. Bars are 95 % intervals of the share."
    )


def reliability(report: ReportInput) -> str:
    """How often the same question gets the same answer."""
    found = report.reliability
    if not len(found.differences):
        return f"The difference is undefined in every resample of {found.resampled}."
    repeats = len(found.repeats) - 1
    tolerated = (
        f", in {percent(found.tolerated)} it was worse by less than the margin" if not report.first else ""
    )
    warning = " Some repeats contradict each other: do not lean on this verdict." if found.opposed else ""
    drawn = f"{len(found.differences):,} resamples of {found.resampled}"
    return (
        f"In {percent(found.better)} of {drawn} the candidate had the lower loss{tolerated}. "
        f"{found.agreeing} of {repeats} repeats, on fewer rows or with another seed, reach the same verdict."
        f"{warning}"
    )


def _faint(over_time: views.OverTime) -> str:
    if over_time.unit == views.JOINED:
        return " A period is as many months as it takes to show no fewer than eleven records alike."
    if over_time.unit == "day":
        return ""
    shorter = "weeks" if over_time.unit == "month" else "days"
    return f" Faint points are single {shorter}, to show how much a point scatters."


def _losses(report: ReportInput, values: list[float]) -> np.ndarray:
    return np.array([metrics.loss(report.system.primary, value) for value in values])


def _loss(metric: str, cell: Slice) -> float:
    return metrics.loss(metric, cell.metrics[metric])


def _direction(offset: float, scale: Scale, unit: str) -> str:
    size = {
        "ratio": percent(abs(offset)),
        "difference": amount(abs(offset), unit),
        "probability": f"{abs(offset) * 100:.1f} points",
    }[scale]
    return f"{size} too {'low' if offset < 0 else 'high'}"


def _quoted(report: ReportInput) -> str:
    return f"baseline “{report.rival}”" if report.first else report.rival
