"""Whether a whole batch of scores may be published: pure checks of counts and of their distribution."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from lifecycle.core.params import BatchParams
from lifecycle.core.reference import NumberProfile
from lifecycle.core.scoring import BatchGate, ScoreCounts

CONFIDENCE = 0.99
"""How sure a check must be that a shift of the allowed size would show in so few rows."""


def judge_batch(
    counts: ScoreCounts,
    promised: int,
    written: int,
    bins: Sequence[int],
    reference: NumberProfile | None,
    params: BatchParams,
) -> tuple[BatchGate, ...]:
    """Check a batch.

    Args:
        counts: What became of the rows, as counted on the way.
        promised: Rows that the input says it has.
        written: Rows that the parts say they have.
        bins: Answers per bin of the reference.
        reference: The answers on the newest rows that training knew; None if the release has none.
        params: The bounds.
    """
    return (
        _complete(counts, promised, written),
        _share("quarantined share", counts.quarantined, counts.read, params.max_bad_share),
        _share("unanswered share", counts.unanswered, counts.scored, params.max_null_share),
        _distribution(bins, reference, params.max_shift),
    )


def _complete(counts: ScoreCounts, promised: int, written: int) -> BatchGate:
    """Every row that came in went out or stands in the quarantine, by three independent counts."""
    detail = ""
    accounted = written + counts.quarantined + counts.left_out
    if not (promised == counts.read == accounted and written == counts.scored):
        detail = f"rows were lost or doubled: {counts.read:,} were read, and {counts.scored:,} of them scored"
    elif not written:
        detail = "no row was scored"
    return BatchGate(
        name="rows",
        verdict="broken" if detail else "kept",
        measured=f"{written:,} scored + {counts.quarantined:,} quarantined"
        + (f" + {counts.left_out:,} left out" if counts.left_out else ""),
        bound=f"{promised:,}",
        detail=detail,
    )


def _share(name: str, part: int, whole: int, most: float) -> BatchGate:
    share = part / whole if whole else 0.0
    return BatchGate(
        name=name,
        verdict="kept" if share <= most else "broken",
        measured=f"{share:.2%}",
        bound=f"at most {most:.2%}",
        detail=f"{part:,} of {whole:,} rows",
    )


def _distribution(bins: Sequence[int], reference: NumberProfile | None, most: float) -> BatchGate:
    bound = f"at most {most:g}"
    if reference is None:
        return BatchGate(
            name="shift of the scores",
            verdict="inconclusive",
            measured="unknown",
            bound=bound,
            detail="the release was made before releases carried a reference of their answers: update it",
        )
    shift, noise = stability(reference.counts, bins), chance(reference.counts, bins)
    rows = f"{sum(bins):,} rows against {sum(reference.counts):,} of the reference"
    detail = f"population stability index, {rows}"
    verdict = "kept" if shift <= most else "broken"
    if noise > most:
        verdict, detail = "inconclusive", f"chance alone can give {noise:.2g} with {rows}"
    return BatchGate.model_validate(
        {
            "name": "shift of the scores",
            "verdict": verdict,
            "measured": f"{shift:.3g}",
            "bound": bound,
            "detail": detail,
        }
    )


def stability(reference: Sequence[int], current: Sequence[int]) -> float:
    """Population stability index of two histograms: 0 where alike, above 0.25 a major shift by custom.

    Each bin counts half a row more than it has, so that an empty one does not make the index infinite.

    Example:
        >>> stability([50, 50], [500, 500]), round(stability([50, 50], [900, 100]), 2)
        (0.0, 0.88)
    """
    expected, found = (np.asarray(counts, dtype=np.float64) + 0.5 for counts in (reference, current))
    expected, found = expected / expected.sum(), found / found.sum()
    return float(((found - expected) * np.log(found / expected)).sum())


def chance(reference: Sequence[int], current: Sequence[int]) -> float:
    """The index that two samples of one distribution keep below with probability ``CONFIDENCE``.

    Without a shift, the index is distributed as ``(1/n + 1/m)`` times chi-squared with one degree of freedom
    less than there are bins (Yurdakul and Naranjo, Statistical Properties of the Population Stability Index,
    2020); the quantile of chi-squared is that of Wilson and Hilferty. Infinite without rows.

    Example:
        >>> round(chance([500] * 20, [5] * 20), 2), round(chance([500] * 20, [500] * 20), 3)
        (0.37, 0.007)
    """
    n, m, freedom = sum(reference), sum(current), max(1, len(reference) - 1)
    if not (n and m):
        return float("inf")
    spread = 2 / (9 * freedom)
    quantile = freedom * (1 - spread + NormalDist().inv_cdf(CONFIDENCE) * spread**0.5) ** 3
    return float((1 / n + 1 / m) * quantile)
