"""The picture of a capacity: latency versus load, with the budget and the rate that was found."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from lifecycle.core.capacity import CapacityReport, LoadPoint
from lifecycle.core.errors import ConfigError
from lifecycle.evaluation.figures.style import BETTER, BLUE, INK, MUTED, ORANGE, png, svg
from lifecycle.evaluation.wording import amount

_RENDERERS = {".png": png, ".svg": svg}


def save_capacity(report: CapacityReport, path: Path) -> None:
    """Write the picture to a file.

    Args:
        report: What was found.
        path: Ends in ``.png`` or ``.svg``.

    Raises:
        ConfigError: It ends otherwise, or cannot be written.
    """
    require_picture(path)
    try:
        path.write_bytes(_RENDERERS[path.suffix](lambda: draw_capacity(report)))
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", hint="name another file") from error


def require_picture(path: Path) -> None:
    """Refuse a file name that is no picture's, before anything is measured.

    Raises:
        ConfigError: It ends neither in ``.png`` nor in ``.svg``, or its folder does not exist.
    """
    if path.suffix not in _RENDERERS:
        raise ConfigError(f"{path} is not the name of a picture", hint="end it in .png or .svg")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"the folder of {path} does not exist", hint="make it, or name another file")


def draw_capacity(report: CapacityReport) -> Figure:
    """Median and 99th percentile of the latency over the load, both axes in their units."""
    figure = Figure(figsize=(9.2, 4.2))
    axes = figure.add_subplot()
    found = report.capacity
    shown = _shown(found.points, found.per_s)
    rates = [point.rate_per_s for point in shown]
    medians, tails = [point.p50_ms for point in shown], [point.p99_ms for point in shown]
    axes.set_yscale("log")
    axes.fill_between(rates, medians, tails, color=BETTER, lw=0, zorder=1)
    axes.plot(rates, medians, ls="--", color=BLUE, lw=2, label="median", zorder=3)
    axes.plot(rates, tails, ls="-", color=BLUE, lw=2, label="99th percentile", zorder=3)
    faults = [bool(point.fault(found.budget_ms)) for point in shown]
    _marks(axes, shown, [not fault for fault in faults], BLUE, "o", "budget met")
    _marks(axes, shown, faults, ORANGE, "X", "budget missed, or not every request answered")
    _scales(axes, [*rates, found.per_s], [*medians, *tails, found.budget_ms])
    _budget(axes, found.budget_ms)
    if found.per_s:
        _capacity(axes, report)
    axes.set_title(_title(report), pad=28)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.015), ncols=4, handlelength=2.2, columnspacing=1.5)
    return figure


def _shown(points: Sequence[LoadPoint], capacity: float) -> list[LoadPoint]:
    """The last load at each rate; those far beyond the capacity would only squeeze the rest."""
    last = {point.rate_per_s: point for point in points}
    return [point for rate, point in sorted(last.items()) if not capacity or rate <= 1.6 * capacity]


def _marks(
    axes: Axes, points: Sequence[LoadPoint], which: Sequence[bool], color: str, marker: str, name: str
) -> None:
    chosen = list(compress(points, which))
    axes.plot(
        [point.rate_per_s for point in chosen],
        [point.p99_ms for point in chosen],
        marker,
        color=color,
        ms=8,
        mec="white",
        mew=1.1,
        label=name,
        zorder=5,
    )


def _budget(axes: Axes, budget_ms: float) -> None:
    axes.axhline(budget_ms, color=ORANGE, lw=1.4, zorder=2)
    axes.annotate(
        f"budget {_milliseconds(budget_ms)}",
        (0, budget_ms),
        (4, 4),
        xycoords=axes.get_yaxis_transform(),
        textcoords="offset points",
        color=ORANGE,
        va="bottom",
    )


def _capacity(axes: Axes, report: CapacityReport) -> None:
    found = report.capacity
    axes.axvline(found.per_s, color=INK, lw=1.4, zorder=2)
    least = "at least " if found.at_least else ""
    axes.annotate(
        f"capacity {least}{found.per_s:,.0f}/s",
        (found.per_s, 1),
        (6, -5),
        xycoords=axes.get_xaxis_transform(),
        textcoords="offset points",
        va="top",
        color=INK,
        weight="bold",
    )
    usable = found.per_s * (1 - report.headroom)
    axes.axvspan(usable, found.per_s, color=MUTED, alpha=0.08, lw=0, zorder=0)
    axes.annotate(
        f"{report.headroom:.0%} kept free",
        (usable, 1),
        (5, -5),
        xycoords=axes.get_xaxis_transform(),
        textcoords="offset points",
        va="top",
        color=MUTED,
    )


def _scales(axes: Axes, rates: Sequence[float], latencies: Sequence[float]) -> None:
    axes.set_xlim(0, max(rates) * 1.04)
    axes.set_ylim(min(latencies) / 2, max(latencies) * 3)  # room for the words
    axes.xaxis.set_major_locator(MaxNLocator(8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 3)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _milliseconds(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("offered requests a second")
    axes.set_ylabel("latency from when a request was due")


def _title(report: CapacityReport) -> str:
    who = "a running service" if report.workers is None else f"{report.workers} serving process"
    who += "es" if report.workers and report.workers > 1 else ""
    return f"{report.system}: latency versus load, {who}, {report.cores} cores shared with the load"


def _milliseconds(value: float) -> str:
    return amount(value / 1e3, "s") if value >= 1000 else amount(value, "ms")
