"""How the answers of a batch are spread, in bands wide enough that nobody stands out. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lifecycle.core.reference import NumberProfile
from lifecycle.core.scoring import ScoreBand
from lifecycle.evaluation.disclosure import joined

MANY = 10
"""Bands at most, as alike in size as the reference allows."""


def spread(reference: NumberProfile, counts: Sequence[int], least: int = 1) -> tuple[ScoreBand, ...]:
    """The answers in bands of the reference, lowest first; neighbours are joined until enough are in each.

    Args:
        reference: The answers on the newest rows that training knew.
        counts: Answers of the batch per bin of the reference.
        least: Answers that a band must hold, of the batch and of the reference.

    Returns:
        The bands, whose rows add up to all answers; none where all together are fewer than ``least``.

    Example:
        >>> profile = NumberProfile(edges=(0.1, 0.5), counts=(40, 40, 20), missing=0,
        ...                         mean=0.2, std=0.2, min=None, max=None)
        >>> [(it.low, it.high, it.rows) for it in spread(profile, [30, 12, 3], least=11)]
        [(None, 0.1, 30), (0.1, None, 15)]
    """
    known = sum(reference.counts)
    if sum(counts) < least or known < least:
        return ()
    cells = np.column_stack([counts, reference.counts])
    parts = joined(cells, [least, max(least, known // MANY)])
    ends = [None, *(reference.edges[part.stop - 1] for part in parts[:-1]), None]
    sums = (cells[part].sum(axis=0).tolist() for part in parts)
    return tuple(
        ScoreBand(low=low, high=high, rows=rows, expected=round(expected / known, 4))
        for low, high, (rows, expected) in zip(ends[:-1], ends[1:], sums, strict=True)
    )
