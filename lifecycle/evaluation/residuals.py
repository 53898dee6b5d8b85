"""How answers differ from the truth, row by row: what the report draws, as plain numbers.

A regression whose labels are all above zero is judged by ratio (10 % too low means the same for a cheap and
a dear house), any other by difference in the label's unit, a classification by probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.system import Task
from lifecycle.evaluation.disclosure import wide_enough
from lifecycle.evaluation.scorers import Vector, mass_bins

Scale = Literal["ratio", "difference", "probability"]


@dataclass(frozen=True)
class Bin:
    """Rows of similar prediction.

    Attributes:
        prediction: Their median prediction (regression) or mean probability.
        low: First quartile of the offset.
        middle: Its median; for classification the share of label 1, and low and high its 95 % interval.
        high: Third quartile of the offset.
        rows: How many there are.
    """

    prediction: float
    low: float
    middle: float
    high: float
    rows: int


def scale_of(task: Task, label: Vector) -> Scale:
    """How answers are set against the truth."""
    if task == "classification":
        return "probability"
    return "ratio" if bool((label > 0).all()) else "difference"


def offsets(scale: Scale, label: Vector, prediction: Vector) -> Vector:
    """Signed distance of each answer from the truth: relative for ``ratio``, else in the label's unit.

    Example:
        >>> offsets("ratio", np.array([100.0]), np.array([90.0])).round(3).tolist()
        [-0.1]
    """
    return prediction / label - 1 if scale == "ratio" else prediction - label


def central_offset(scale: Scale, label: Vector, prediction: Vector) -> float:
    """The bias of a group of rows: the median offset, or mean probability minus share of label 1."""
    away = offsets(scale, label, prediction)
    return float(np.mean(away) if scale == "probability" else np.median(away))


def by_decile(scale: Scale, label: Vector, prediction: Vector, order_by: Vector) -> tuple[Bin, ...]:
    """Offsets within tenths of the rows, sorted by ``order_by`` (a model's predictions ``[rows]``)."""
    found = []
    away = offsets(scale, label, prediction)
    for tenth in np.array_split(np.argsort(order_by, kind="stable"), 10):
        if len(tenth):
            low, middle, high = np.quantile(away[tenth], [0.25, 0.5, 0.75])
            centre = float(np.median(order_by[tenth]))
            found.append(Bin(centre, float(low), float(middle), float(high), len(tenth)))
    return tuple(found)


def calibration(label: Vector, prediction: Vector, *, sealed: bool = False) -> tuple[Bin, ...]:
    """Probability given against share that came true, in the bins of the calibration error.

    Of sealed records neighbouring bins are joined until they may be shown.

    The interval is Wilson's (Journal of the American Statistical Association 22, 1927) at 95 %.
    """
    values, group, mass = np.unique(prediction, return_inverse=True, return_counts=True)
    bin_of = mass_bins(mass.astype(np.float64))[group] if len(values) else group
    found = []
    cells = [np.flatnonzero(bin_of == number) for number in np.unique(bin_of)]
    for here in wide_enough("classification", label, cells) if sealed else cells:
        rows, share = len(here), float(label[here].mean())
        low, high = _wilson(share, rows)
        found.append(Bin(float(prediction[here].mean()), low, share, high, rows))
    return tuple(found)


def within(scale: Scale, label: Vector, prediction: Vector, limits: Vector) -> NDArray[np.float64]:
    """Share of rows whose answer lies within each limit of the truth ``[limits]``."""
    ascending = np.sort(np.abs(offsets(scale, label, prediction)))
    return np.searchsorted(ascending, limits, side="right") / len(ascending)


def _wilson(share: float, rows: int, z: float = 1.96) -> tuple[float, float]:
    centre = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * float(np.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows)))
    return max(0.0, centre - half), min(1.0, centre + half)
