"""What changes with event time: whether a model holds, or grows stale within the window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.rows import Rows
from lifecycle.core.system import Task
from lifecycle.evaluation.disclosure import wide_enough
from lifecycle.evaluation.metrics import compute

Unit = Literal["M", "W", "D"]
"""Months, weeks (from Monday on) or days, in UTC."""

_THURSDAY = np.timedelta64(3, "D")


@dataclass(frozen=True)
class Month:
    """One month of event time.

    Attributes:
        month: As ``1998-05``.
        rows: Rows of the window in it.
        metrics: Value by metric, on those rows.
    """

    month: str
    rows: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class Stretch:
    """The rows of one month, week or day.

    Attributes:
        start: Its first day.
        middle: The middle of the events in it, for placing it on a time axis.
        index: Positions of its rows.
    """

    start: np.datetime64
    middle: np.datetime64
    index: NDArray[np.intp]


def by_month(
    task: Task, rows: Rows, prediction: NDArray[np.float64], *, threshold: float, sealed: bool = False
) -> tuple[Month, ...]:
    """Metrics by month of event time, oldest first; months without rows are left out.

    Of sealed records months are joined, under the first of them, until they may be shown.

    Args:
        task: Of the system.
        rows: The rows that were answered.
        prediction: The answers ``[rows]``.
        threshold: Decision threshold (classification).
        sealed: Whether the records are.
    """
    found = []
    months = stretches("M", rows.event_time)
    for stretch in shown(task, rows, months) if sealed else months:
        here = stretch.index
        metrics = compute(task, rows.label[here], prediction[here], threshold=threshold)
        found.append(Month(str(stretch.start.astype("datetime64[M]")), len(here), metrics))
    return tuple(found)


def stretches(unit: Unit, event_time: NDArray[np.datetime64]) -> tuple[Stretch, ...]:
    """Cut rows into months, weeks or days that have rows, oldest first."""
    starts, unit_of = np.unique(starts_of(unit, event_time), return_inverse=True)
    order = np.argsort(unit_of, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(unit_of))[:-1]) if len(starts) else []
    return tuple(
        Stretch(start, _middle(event_time[part]), part) for start, part in zip(starts, parts, strict=True)
    )


def shown(task: Task, rows: Rows, parts: Sequence[Stretch]) -> tuple[Stretch, ...]:
    """Stretches of sealed records, joined until they may be shown; none where all rows are too few."""
    starts = {int(part.index[0]): part.start for part in parts}
    cells = wide_enough(task, rows.label, [part.index for part in parts])
    return tuple(Stretch(starts[int(cell[0])], _middle(rows.event_time[cell]), cell) for cell in cells)


def whole(event_time: NDArray[np.datetime64]) -> Stretch:
    """All rows as one stretch."""
    first = event_time.min().astype("datetime64[D]")
    return Stretch(first, _middle(event_time), np.arange(len(event_time)))


def starts_of(unit: Unit, event_time: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """The first day of the month, week or day of each moment ``[rows]``.

    Example:
        >>> starts_of("W", np.array(["1998-05-06T12:00"], dtype="datetime64[us]")).astype(str).tolist()
        ['1998-05-04']
    """
    if unit == "W":  # numpy's weeks begin on Thursdays, as the epoch did
        weeks = np.add(event_time, _THURSDAY).astype("datetime64[W]").astype("datetime64[D]")
        return np.subtract(weeks, _THURSDAY)  # type: ignore[no-any-return]
    return event_time.astype(f"datetime64[{unit}]").astype("datetime64[D]")


def _middle(moments: NDArray[np.datetime64]) -> np.datetime64:
    first, last = moments.min(), moments.max()
    middle: np.datetime64 = first + (last - first) // 2
    return middle
