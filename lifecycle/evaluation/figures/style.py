"""One look for all pictures: colour-blind safe, quiet axes, units on every scale."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lifecycle.evaluation.metrics import find
from lifecycle.evaluation.wording import amount, percent

INK, MUTED, HAIRLINE = "#1f2430", "#6a7180", "#d9dce3"
BLUE, ORANGE = "#0068b3", "#c8570a"
BETTER, TOLERATED, WORSE = "#e3eff9", "#f1f1ee", "#fbe9dc"
"""Backgrounds of the three regions of a difference in loss; each is also named in words."""

_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": HAIRLINE,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9.5,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlepad": 12,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "grid.color": "#eceef2",
    "grid.linewidth": 0.8,
    "legend.borderaxespad": 0.0,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "lifecycle",
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign is money
    "xtick.color": HAIRLINE,
    "xtick.labelcolor": MUTED,
    "ytick.color": "none",
    "ytick.labelcolor": MUTED,
}
_PAGE_FONTS = "-apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, system-ui, sans-serif"


@dataclass(frozen=True)
class Series:
    """How one predictor is drawn: colour, marker and dash differ, so that any one is enough."""

    name: str
    color: str
    marker: str
    dash: str
    layer: int


def candidate_and(rival: str) -> tuple[Series, Series]:
    """The two predictors that most pictures show."""
    return Series("candidate", BLUE, "o", "-", 4), Series(rival, ORANGE, "s", "--", 3)


def legend(axes: Axes) -> None:
    """The names of the series, in one line above the picture."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.02), ncols=4, handlelength=2.2, columnspacing=1.6)


def metric_axis(axes: Axes, metric: str, unit: str, which: str = "y") -> None:
    """Ticks in the metric's unit."""
    kind = find(metric).unit
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator(6))
    if kind == "share":
        axis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
    elif kind == "label":
        axis.set_major_formatter(FuncFormatter(lambda value, _: amount(value, unit)))


def difference_axis(axes: Axes, metric: str, unit: str, *, hint: str = "") -> None:
    """The x axis of a difference in loss, with its unit."""
    kind = find(metric).unit
    scale, name = (100, "percentage points") if kind == "share" else (1, unit if kind == "label" else "")
    axes.xaxis.set_major_locator(MaxNLocator(7))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _signed(value * scale)))
    axes.set_xlabel(f"difference in loss{f', {name}' if name else ''}{hint}")


def _signed(value: float) -> str:
    text = f"{abs(value):,.4g}"
    return text if text == "0" else f"{'−' if value < 0 else '+'}{text}"


def label_places(axes: Axes, labels: Sequence[tuple[str, str]]) -> None:
    """Label the places 0, 1, ... of the y axis with a name and, below it, what was found there.

    These are two texts each: a reader's font may be narrower than ours, and lines of one text would then
    no longer end together.
    """
    axes.set_yticks([])
    for place, (name, found) in enumerate(labels):
        for text, shift, color in ((name, 6.5, INK), (found, -6.5, MUTED)):
            axes.annotate(
                text,
                (0, place),
                (-10, shift),
                xycoords=axes.get_yaxis_transform(),
                textcoords="offset points",
                ha="right",
                va="center",
                color=color,
            )


def svg(draw: Callable[[], Figure]) -> bytes:
    """The picture as SVG: the same bytes for the same numbers, text set in the reader's own font."""
    with mpl.rc_context(_STYLE):
        stream = io.BytesIO()
        draw().savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue().replace(b"'DejaVu Sans'", _PAGE_FONTS.encode())


def png(draw: Callable[[], Figure]) -> bytes:
    """The picture as PNG, for places that show no SVG."""
    with mpl.rc_context(_STYLE):
        stream = io.BytesIO()
        draw().savefig(stream, format="png", dpi=160, metadata={"Software": None})
    return stream.getvalue()
