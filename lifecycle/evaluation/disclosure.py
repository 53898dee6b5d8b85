"""Cells of sealed records that are wide enough to be shown: in each, nobody stands out.

A cell that is too small is joined with its neighbour, never left out: what is missing could be told from the
total. Of a classification a cell needs enough records of either class, for a share of eleven tells a count.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.disclosure import SMALLEST_CELL
from lifecycle.core.system import Task

Floats = NDArray[np.float64]


def joined(counts: NDArray[np.integer], least: Sequence[int]) -> list[slice]:
    """Neighbouring cells, joined until each holds enough of every kind.

    Args:
        counts: How many of each kind every cell holds, in order ``[cells, kinds]``.
        least: How many of each kind are enough ``[kinds]``.

    Returns:
        Which cells make up each joined one; none where all together do not hold enough.

    Example:
        >>> joined(np.array([[5, 9], [6, 3], [20, 12], [1, 0]]), [11, 11])
        [slice(0, 2, None), slice(2, 4, None)]
    """
    found, start, held = [], 0, np.zeros(len(least), dtype=np.int64)
    for end, cell in enumerate(counts, 1):
        held = held + cell
        if (held >= least).all():
            found.append(slice(start, end))
            start, held = end, np.zeros_like(held)
    if found:
        found[-1] = slice(found[-1].start, len(counts))
    return found


def kinds(task: Task, label: Floats) -> NDArray[np.int64]:
    """What is told apart when rows are counted, 0 or 1 ``[rows, kinds]``: rows, or those of each class."""
    if task == "classification":
        return np.column_stack([label == 0, label == 1]).astype(np.int64)
    return np.ones((len(label), 1), dtype=np.int64)


def wide_enough(task: Task, label: Floats, cells: Sequence[NDArray[np.intp]]) -> list[NDArray[np.intp]]:
    """Cells of rows, joined until they may be shown.

    Args:
        task: Of the system.
        label: The truth ``[rows]``.
        cells: Positions of the rows of each, in order.
    """
    each = kinds(task, label)
    counts = np.array([each[cell].sum(axis=0) for cell in cells]).reshape(len(cells), each.shape[1])
    parts = joined(counts, [SMALLEST_CELL] * each.shape[1])
    return [np.concatenate(cells[part]) for part in parts]


def averaged(task: Task, predicted: Floats, actual: Floats) -> tuple[Floats, Floats]:
    """Means of neighbours in the order of the prediction, each over enough rows to be shown.

    Args:
        task: Of the system.
        predicted: float64 ``[rows]``.
        actual: float64 ``[rows]``.

    Example:
        >>> averaged("regression", np.arange(25.0), np.arange(25.0) + 1)
        (array([ 5. , 17.5]), array([ 6. , 18.5]))
    """
    order = np.argsort(predicted, kind="stable")
    cells = wide_enough(task, actual, list(order[:, None]))
    means = [np.array([values[cell].mean() for cell in cells]) for values in (predicted, actual)]
    return means[0], means[1]
