"""How the answers of a batch are spread, in bands wide enough that nobody stands out. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from lifecycle.core.reference import NumberProfile
from lifecycle.core.scoring import ScoreBand

MANY = 10
"""Bands at most, as alike in size as the reference allows."""


def spread(reference: NumberProfile, counts: Sequence[int], least: int = 1) -> tuple[ScoreBand, ...]:
    """The answers in bands of the reference, lowest first; neighbours are joined until enough are in each.

    Joined, not left out: a cell that is missing could be told from the total.

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
    joined: list[list[int]] = []  # of each band: its last bin, answers, answers of the reference
    rows = expected = 0
    for last, (found, before) in enumerate(zip(counts, reference.counts, strict=True)):
        rows, expected = rows + found, expected + before
        if rows >= least and expected >= max(least, known // MANY):
            joined.append([last, rows, expected])
            rows = expected = 0
    joined = joined or [[0, 0, 0]]
    joined[-1] = [len(counts) - 1, joined[-1][1] + rows, joined[-1][2] + expected]
    ends = [None, *(reference.edges[last] for last, _, _ in joined[:-1]), None]
    return tuple(
        ScoreBand(low=low, high=high, rows=rows, expected=round(expected / known, 4))
        for low, high, (_, rows, expected) in zip(ends[:-1], ends[1:], joined, strict=True)
    )
