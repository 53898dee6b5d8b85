"""Aggregates over enough records that nobody stands out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def averaged(predicted: Floats, actual: Floats, least: int) -> tuple[Floats, Floats]:
    """Means of neighbours in the order of the prediction, each over at least so many rows.

    Args:
        predicted: float64 ``[rows]``.
        actual: float64 ``[rows]``.
        least: Rows per mean; 1 shows every row as it is.

    Returns:
        Both, ``[rows // least]``; empty where there are fewer rows than ``least``.

    Example:
        >>> averaged(np.array([3.0, 1.0, 2.0, 9.0]), np.array([1.0, 0.0, 1.0, 1.0]), 2)
        (array([1.5, 6. ]), array([0.5, 1. ]))
    """
    if least <= 1:
        return predicted, actual
    groups = len(predicted) // least
    if not groups:
        return np.empty(0), np.empty(0)
    order = np.argsort(predicted, kind="stable")
    parts = np.array_split(order, groups)
    means = [np.array([values[part].mean() for part in parts]) for values in (predicted, actual)]
    return means[0], means[1]
