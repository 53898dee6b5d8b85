"""Pictures over event time: does the error hold, does the bias creep?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lifecycle.core.rows import MICROSECONDS_A_DAY
from lifecycle.evaluation.figures.style import INK, Series, legend
from lifecycle.evaluation.monthly import Stretch
from lifecycle.evaluation.views import OverTime

_MOST_TICKS = 9


def draw_over_time(
    series: Sequence[Series],
    over_time: OverTime,
    *,
    label: str,
    axis: Callable[[Axes], None],
    reference: float | None = None,
    from_zero: bool = False,
) -> Figure:
    """A line and faint dots per predictor.

    Args:
        series: How each predictor is drawn.
        over_time: The numbers.
        label: Of the y axis.
        axis: Sets the y axis' ticks in their unit.
        reference: A value to draw as a horizontal line.
        from_zero: Whether the y axis starts at zero.
    """
    figure = Figure(figsize=(9.2, 3.3))
    axes = figure.add_subplot()
    if reference is not None:
        axes.axhline(reference, color=INK, lw=1)
    for one in series:
        axes.plot(
            _moments(over_time.shorter),
            over_time.dots[one.name],
            one.marker,
            color=one.color,
            ms=4.5,
            mew=0,
            alpha=0.25,
        )
        axes.plot(
            _moments(over_time.stretches),
            over_time.lines[one.name],
            one.marker,
            ls=one.dash,
            color=one.color,
            lw=2,
            ms=7.5,
            mec="white",
            mew=1.2,
            label=one.name,
            zorder=one.layer,
        )
    ticked = over_time.stretches[:: -(-len(over_time.stretches) // _MOST_TICKS)]
    axes.set_xticks(_moments(ticked), _tick_labels(ticked))
    axes.set_xlim(_span(over_time.stretches))
    axes.set_ylabel(label)
    axis(axes)
    if from_zero:
        axes.set_ylim(bottom=0)
    legend(axes)
    return figure


def _span(stretches: Sequence[Stretch]) -> tuple[float, float]:
    """The ends of the time axis: half a stretch, or an hour, beyond the first and last."""
    days = _moments(stretches)
    beyond = max((days[-1] - days[0]) / (2 * max(len(days) - 1, 1)), 1 / 24)
    return float(days[0] - beyond), float(days[-1] + beyond)


def _moments(stretches: Sequence[Stretch]) -> NDArray[np.float64]:
    """Where each stretch stands on the time axis, in days since 1970-01-01."""
    moments = np.array([stretch.middle for stretch in stretches], dtype="datetime64[us]")
    return moments.astype(np.int64) / MICROSECONDS_A_DAY


def _tick_labels(stretches: Sequence[Stretch]) -> list[str]:
    monthly = all(str(stretch.start).endswith("-01") for stretch in stretches)
    form = "%b %Y" if monthly else "%-d %b %Y"
    return [f"{stretch.start.item():{form}}\n{len(stretch.index):,} rows" for stretch in stretches]
