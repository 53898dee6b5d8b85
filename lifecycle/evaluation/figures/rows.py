"""Pictures of rows: slices, residuals and calibration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lifecycle.evaluation.figures.style import (
    BLUE,
    HAIRLINE,
    INK,
    MUTED,
    ORANGE,
    Series,
    legend,
    metric_axis,
)
from lifecycle.evaluation.metrics import find
from lifecycle.evaluation.residuals import Bin, Scale
from lifecycle.evaluation.scorers import Vector
from lifecycle.evaluation.slices import Slice
from lifecycle.evaluation.wording import NARROW, amount, inside

_PERCENT = FuncFormatter(lambda value, _: f"{value * 100:.0f}{NARROW}%")


def draw_slices(
    series: Sequence[Series], slices: Mapping[str, Sequence[Slice]], metric: str, unit: str
) -> Figure:
    """A dumbbell per slice: both predictors on the primary metric, and how many rows stand behind it.

    Args:
        series: How each predictor is drawn; the candidate first.
        slices: By name of predictor, the same slices in the same order.
        metric: The primary metric.
        unit: Of the label.
    """
    shown = slices[series[0].name]
    places = np.cumsum([0.0] + [1.6 if a.feature != b.feature else 1.0 for a, b in pairwise(shown)])
    few = np.array([cell.too_few for cell in shown])
    values = [np.array([cell.metrics[metric] for cell in slices[one.name]]) for one in series]
    figure = Figure(figsize=(9.2, 1.3 + 0.28 * float(places[-1])))
    axes = figure.add_subplot()
    axes.hlines(places, np.fmin.reduce(values), np.fmax.reduce(values), color=HAIRLINE, lw=3, zorder=1)
    for one, found in zip(series, values, strict=True):
        look: dict[str, Any] = {"color": one.color, "ms": 7.5, "zorder": one.layer}
        axes.plot(found[~few], places[~few], one.marker, label=one.name, **look)
        axes.plot(found[few], places[few], one.marker, mfc="white", **look)
    beside: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center", "color": MUTED}
    axes.text(1.02, -1, "rows", **beside)
    for cell, place in zip(shown, places, strict=True):
        axes.text(1.02, place, f"{cell.rows:,}", **beside)
    axes.set_yticks(places, [f"{one.feature}: {one.value}" for one in shown])
    axes.set_ylim(places[-1] + 0.6, -0.8)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    axes.set_xlabel(inside(find(metric).title))
    metric_axis(axes, metric, unit, which="x")
    legend(axes)
    return figure


def draw_residuals(
    series: Sequence[Series],
    deciles: Mapping[str, Sequence[Bin]],
    limits: Vector,
    within: Mapping[str, Vector],
    scale: Scale,
    unit: str,
) -> Figure:
    """Offset by tenth of the candidate's predictions, and the share of rows within each distance.

    Args:
        series: How each predictor is drawn.
        deciles: By name of predictor.
        limits: Distances from the truth ``[limits]``.
        within: Share of rows within each of them, by name of predictor.
        scale: ``ratio`` or ``difference``.
        unit: Of the label.
    """
    form = _offset_formatter(scale, unit)
    figure = Figure(figsize=(9.2, 3.5))
    left, right = figure.subplots(1, 2, width_ratios=[1.25, 1])
    _draw_deciles(left, series, deciles, unit)
    left.yaxis.set_major_formatter(FuncFormatter(form))
    for one in series:
        right.plot(limits, within[one.name], color=one.color, ls=one.dash, lw=2, zorder=one.layer)
    right.set_title("How often close enough?", pad=26)
    right.set_xlabel("distance from the truth, at most")
    right.set_ylabel("share of rows")
    right.xaxis.set_major_formatter(FuncFormatter(lambda value, _: form(value, None).lstrip("+")))
    right.yaxis.set_major_formatter(_PERCENT)
    right.set_xlim(0, float(limits[-1]))
    right.set_ylim(0, 1)
    return figure


def _draw_deciles(
    axes: Axes, series: Sequence[Series], deciles: Mapping[str, Sequence[Bin]], unit: str
) -> None:
    axes.axhline(0, color=INK, lw=1)
    reach = 2 * max(abs(end) for one in deciles[series[0].name] for end in (one.low, one.high))
    for one, nudge in zip(series, (-0.13, 0.13), strict=True):
        bins = deciles[one.name]
        places = np.arange(len(bins)) + nudge
        axes.vlines(
            places, [b.low for b in bins], [b.high for b in bins], color=one.color, lw=2.5, alpha=0.35
        )
        middles = np.array([b.middle for b in bins])
        look: dict[str, Any] = {"color": one.color, "ms": 6.5, "mec": "white"}
        axes.plot(places, middles, one.marker, label=one.name, **look)
        if reach > 0 and (np.abs(middles) > reach).any():
            # A naive baseline may be off by so much that nothing else would be seen: arrows at the edge.
            axes.set_ylim(-reach, reach)
            for way, marker in ((1, "^"), (-1, "v")):
                beyond = way * middles > reach
                axes.plot(places[beyond], np.full(beyond.sum(), way * reach * 0.96), marker, **look)
    ticks = deciles[series[0].name]
    axes.set_xticks(range(len(ticks)), [_short(b.prediction, unit) for b in ticks], size=8.5)
    axes.set_xlabel("tenths of the rows, by the candidate's prediction (its median)")
    axes.set_ylabel("predicted against true")
    axes.set_title("Too high or too low?", pad=26)
    legend(axes)


def draw_calibration(
    series: Sequence[Series],
    bins: Mapping[str, Sequence[Bin]],
    edges: Vector,
    heights: Mapping[str, Vector],
    measure: str,
    threshold: float,
) -> Figure:
    """Probability given against share that came true, and the candidate's probabilities by class.

    Args:
        series: How each predictor is drawn.
        bins: Calibration by name of predictor.
        edges: Ends of the bins of the candidate's probabilities ``[bins + 1]``.
        heights: By class ``[bins]``.
        measure: What they are.
        threshold: The decision threshold.
    """
    figure = Figure(figsize=(9.2, 3.9))
    left, right = figure.subplots(1, 2)
    _draw_calibration_curves(left, series, bins)
    for (name, found), color, alpha in zip(heights.items(), (MUTED, BLUE), (0.5, 0.6), strict=True):
        right.stairs(found, edges, fill=True, color=color, alpha=alpha, label=name)
    right.axvline(threshold, color=ORANGE, lw=1.4, ls="--", label="threshold")
    right.set_title("The candidate's probabilities", pad=26)
    right.set_xlabel("probability of label 1")
    right.set_ylabel(measure)
    right.set_ylim(bottom=0)
    right.xaxis.set_major_formatter(_PERCENT)
    whole = FuncFormatter(lambda value, _: f"{value:,.0f}")
    right.yaxis.set_major_formatter(whole if measure == "rows" else _PERCENT)
    legend(right)
    return figure


def _draw_calibration_curves(axes: Axes, series: Sequence[Series], bins: Mapping[str, Sequence[Bin]]) -> None:
    # As far as there is anything: a rare label leaves most of the square empty.
    reach = min(
        1.0, 1.1 * max((max(b.prediction, b.high) for drawn in bins.values() for b in drawn), default=1.0)
    )
    axes.plot([0, reach], [0, reach], color=INK, lw=1)
    for one in series:
        drawn = bins[one.name]
        given = [b.prediction for b in drawn]
        axes.vlines(
            given, [b.low for b in drawn], [b.high for b in drawn], color=one.color, alpha=0.35, lw=2.5
        )
        axes.plot(
            given,
            [b.middle for b in drawn],
            one.marker,
            ls=one.dash,
            lw=1.6,
            color=one.color,
            ms=6.5,
            mec="white",
            label=one.name,
            zorder=one.layer,
        )
    axes.set_title("Does a probability mean what it says?", pad=26)
    axes.set_xlabel("probability given (mean of rows alike)")
    axes.set_ylabel("share that came true")
    axes.xaxis.set_major_formatter(_PERCENT)
    axes.yaxis.set_major_formatter(_PERCENT)
    legend(axes)


def offset_axis(axes: Axes, scale: Scale, unit: str) -> None:
    """Y ticks of a signed distance from the truth."""
    axes.yaxis.set_major_formatter(FuncFormatter(_offset_formatter(scale, unit)))


def _offset_formatter(scale: Scale, unit: str) -> Callable[[float, int | None], str]:
    def form(value: float, _: int | None) -> str:
        sign = "" if abs(value) < 1e-12 else ("−" if value < 0 else "+")
        if scale == "difference":
            return f"{sign}{amount(abs(value), unit)}"
        return f"{sign}{abs(value) * 100:.3g}{NARROW}%"

    return form


def _short(value: float, unit: str) -> str:
    """An amount short enough for a tick: ``$85k``; a unit that is no currency stands in the axis' label."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            scaled = amount(round(value / size, 1 if abs(value) < 10 * size else 0), unit)
            return f"{scaled.removesuffix(NARROW + unit)}{letter}"
    return amount(value, unit).removesuffix(NARROW + unit)
