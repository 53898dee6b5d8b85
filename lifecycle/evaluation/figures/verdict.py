"""Pictures of the verdict: the interval, and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lifecycle.core.values import Comparison, Verdict
from lifecycle.evaluation.figures.style import (
    BETTER,
    BLUE,
    HAIRLINE,
    INK,
    MUTED,
    ORANGE,
    TOLERATED,
    WORSE,
    difference_axis,
    label_places,
)
from lifecycle.evaluation.reliability import Reliability
from lifecycle.evaluation.scorers import Vector
from lifecycle.evaluation.wording import loss_difference, loss_interval

_COLORS = {
    Verdict.BETTER: BLUE,
    Verdict.NOT_WORSE: BLUE,
    Verdict.WORSE: ORANGE,
    Verdict.INCONCLUSIVE: MUTED,
}


_FAR = 8.0
"""A difference that is so many times the nearest is off the picture."""


def draw_intervals(
    comparisons: Sequence[Comparison], names: Sequence[str], unit: str, *, margin: bool
) -> Figure:
    """One interval of the difference in loss per comparison, over the regions of the verdict.

    Args:
        comparisons: All with one metric.
        names: What each is against.
        unit: Of the label.
        margin: Whether not worse is good enough, so that the margin is drawn.
    """
    figure = Figure(figsize=(9.2, 1.35 + 0.62 * len(comparisons)))
    axes = figure.add_subplot()
    tolerated = comparisons[0].margin if margin else 0.0
    known = [c for c in comparisons if np.isfinite([c.low, c.high]).all()]
    nearest = min((abs(c.difference) for c in known), default=0.0)
    shown = [c for c in known if abs(c.difference) <= _FAR * nearest] or known
    _regions(axes, shown, tolerated)
    for place, comparison in enumerate(reversed(comparisons)):
        if comparison in known and comparison not in shown:
            _beyond(axes, place, comparison)
        else:
            _interval(axes, place, comparison)
    labels = [
        (f"against {name}", _numbers(made, unit)) for name, made in zip(names, comparisons, strict=True)
    ]
    label_places(axes, labels[::-1])
    axes.set_ylim(-0.5, len(comparisons) - 0.5)
    axes.grid(visible=False)
    difference_axis(axes, comparisons[0].metric, unit, hint="  (left of zero: the candidate is better)")
    return figure


def draw_reliability(reliability: Reliability, unit: str, *, margin: bool) -> Figure:
    """The resampled differences as a histogram, and the same comparison made in other ways."""
    made = reliability.repeats[0].comparison
    tolerated = made.margin if margin else 0.0
    figure = Figure(figsize=(9.2, 3.5))
    left, right = figure.subplots(1, 2, width_ratios=[1.05, 1])
    left.set_title("Resampled differences")
    if len(reliability.differences):
        _draw_histogram(left, reliability.differences, tolerated)
    _lines(left, tolerated)
    left.set_ylabel("resamples")
    difference_axis(left, made.metric, unit)
    right.set_title("The same question, asked again")
    shown = list(reversed(reliability.repeats))
    for place, repeat in enumerate(shown):
        _interval(right, place, repeat.comparison)
    _lines(right, tolerated)
    label_places(right, [(repeat.title, repeat.comparison.verdict.value) for repeat in shown])
    right.set_ylim(-0.6, len(shown) - 0.4)
    right.grid(visible=False)
    difference_axis(right, made.metric, unit)
    return figure


def _draw_histogram(axes: Axes, differences: Vector, margin: float) -> None:
    """Bars that end at zero, so that each lies on one side of it."""
    width = float(np.ptp(differences)) / 40 or 1.0
    edges = np.arange(np.floor(differences.min() / width), np.ceil(differences.max() / width) + 2) * width
    counts, _ = np.histogram(differences, edges)
    middles = edges[:-1] + width / 2
    colors = np.where(middles < 0, BLUE, np.where(middles < margin, MUTED, ORANGE))
    axes.bar(middles, counts, width, color=colors.tolist(), edgecolor="white", linewidth=0.4)


def _numbers(made: Comparison, unit: str) -> str:
    difference = loss_difference(made.metric, made.difference, unit)
    return f"{difference} ({loss_interval(made.metric, made.low, made.high, unit)})"


def _interval(axes: Axes, place: float, comparison: Comparison) -> None:
    if not np.isfinite([comparison.low, comparison.high]).all():
        axes.text(0.5, place, "undefined", ha="center", va="center", transform=axes.get_yaxis_transform())
        return
    color = _COLORS[comparison.verdict]
    axes.plot([comparison.low, comparison.high], [place, place], color=color, lw=3, solid_capstyle="butt")
    for end in (comparison.low, comparison.high):
        axes.plot([end, end], [place - 0.09, place + 0.09], color=color, lw=1.6)
    axes.plot([comparison.difference], [place], "o", color=color, mec="white", mew=1.4, ms=9)


def _beyond(axes: Axes, place: float, comparison: Comparison) -> None:
    """An arrow at the edge, for what is so far off that nothing else would be seen."""
    better = comparison.difference < 0
    axes.plot(
        [0.015 if better else 0.985],
        [place],
        "<" if better else ">",
        color=_COLORS[comparison.verdict],
        ms=9,
        transform=axes.get_yaxis_transform(),
    )


def _regions(axes: Axes, comparisons: Sequence[Comparison], margin: float) -> None:
    ends = [0.0, margin * 1.6, *(c.low for c in comparisons), *(c.high for c in comparisons)]
    pad = 0.12 * (max(ends) - min(ends) or 1.0)
    low, high = min(ends) - pad, max(ends) + pad
    axes.set_xlim(low, high)
    spans = [
        (low, 0.0, BETTER, "better"),
        (0.0, margin, TOLERATED, "not worse"),
        (margin, high, WORSE, "worse"),
    ]
    for start, end, color, name in spans:
        if end > start:
            axes.axvspan(start, end, color=color, lw=0)
            axes.text(
                (start + end) / 2,
                1.03,
                name if (end - start) > 0.05 * (high - low) else "",
                ha="center",
                va="bottom",
                color=MUTED,
                size=9,
                transform=axes.get_xaxis_transform(),
            )
    _lines(axes, margin)


def _lines(axes: Axes, margin: float) -> None:
    axes.axvline(0, color=INK, lw=1.1)
    if margin > 0 and np.isfinite(margin):
        axes.axvline(margin, color=INK, lw=1, ls=(0, (2, 2)))
    axes.spines["bottom"].set_color(HAIRLINE)
