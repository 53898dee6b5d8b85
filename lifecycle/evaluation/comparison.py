"""Is the candidate better? A paired bootstrap on identical rows, and the rule that turns it into a verdict.

Both predictors are scored on every resample of the same rows, and the interval is that of the difference
in loss, candidate minus other, so that what makes a row hard for both cancels out.

Rows near in time are alike (a market, a season, one batch of entries), so whole blocks of time are
resampled rather than rows: weeks if the rows fall in at least ten, else days if they fall in at least ten,
else single rows. Measured on equal models that each have their own bad weeks, 95 % intervals missed zero in
45 % of comparisons by rows, in 9 % by weeks (17 % when a bad spell straddles two weeks). The method is the
non-overlapping block bootstrap (Carlstein, Annals of Statistics 14, 1986); the interval takes percentiles.

The verdict follows the interval ``[low, high]`` and the margin, as in a trial of non-inferiority (CONSORT
extension, JAMA 308, 2012). Loss is minimised, so below zero is better:

    ======================================  ============  =================================================
    interval                                verdict       in words
    ======================================  ============  =================================================
    high < 0                                better        an improvement, whatever its size
    high <= margin                          not worse     at most worse by what was declared not to matter
    low > 0 (and high > margin)             worse         worse for certain, and perhaps by more than that
    otherwise                               inconclusive  both are possible: more rows are needed
    fewer than 30 rows, or an undefined     inconclusive  nothing can be said
    metric
    ======================================  ============  =================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.errors import IntegrityError, StateError
from lifecycle.core.params import EvaluationParams
from lifecycle.core.values import Comparison, Verdict
from lifecycle.evaluation.metrics import find, losses, prepare
from lifecycle.evaluation.monthly import Unit, starts_of
from lifecycle.evaluation.scorers import Scorer, Vector, Weights

MIN_ROWS = 30
MIN_BLOCKS = 10
MAX_UNDEFINED = 0.05
"""Share of resamples in which the metric may be undefined (no label 1 drawn) before nothing is said."""

_CELLS = 100_000
"""Weights held at once: 0.8 MB, so that they stay in the processor's cache however many are resampled."""


@dataclass(frozen=True)
class Scored:
    """The answers of one release on the test rows.

    Attributes:
        digest: Of the release.
        rows_digest: Of the rows it answered.
        prediction: float64 ``[rows]``.
    """

    digest: str
    rows_digest: str
    prediction: NDArray[np.float64]


def compare_releases(
    metric: str,
    label: NDArray[np.float64],
    candidate: Scored,
    champion: Scored,
    *,
    params: EvaluationParams,
    seed: int,
    event_time: NDArray[np.datetime64] | None = None,
) -> Comparison:
    """Compare a candidate with the champion; arguments as in ``compare``.

    Raises:
        StateError: Both are the same release.
        IntegrityError: They answered different rows.
    """
    if candidate.digest == champion.digest:
        raise StateError(
            f"release {candidate.digest[:12]} was compared with itself",
            hint="there is no new candidate: see `lifecycle history` for what is live",
        )
    if candidate.rows_digest != champion.rows_digest:
        raise IntegrityError(
            f"candidate and champion answered different rows: digest {candidate.rows_digest[:12]} "
            f"against {champion.rows_digest[:12]}",
            hint="score both on the same test rows, in the same order, and compare again",
        )
    return compare(
        metric,
        label,
        candidate.prediction,
        champion.prediction,
        against=champion.digest,
        rows_digest=candidate.rows_digest,
        params=params,
        seed=seed,
        event_time=event_time,
    )


def compare_baselines(
    metric: str,
    label: NDArray[np.float64],
    candidate: NDArray[np.float64],
    baselines: Mapping[str, NDArray[np.float64]],
    *,
    rows_digest: str,
    params: EvaluationParams,
    seed: int,
    event_time: NDArray[np.datetime64] | None = None,
) -> tuple[Comparison, ...]:
    """Compare a candidate with every naive baseline; arguments as in ``compare``."""
    return tuple(
        compare(
            metric,
            label,
            candidate,
            prediction,
            against=name,
            rows_digest=rows_digest,
            params=params,
            seed=seed,
            event_time=event_time,
        )
        for name, prediction in baselines.items()
    )


def compare(
    metric: str,
    label: NDArray[np.float64],
    candidate: NDArray[np.float64],
    other: NDArray[np.float64],
    *,
    against: str,
    rows_digest: str,
    params: EvaluationParams,
    seed: int,
    event_time: NDArray[np.datetime64] | None = None,
) -> Comparison:
    """Compare a candidate with another predictor on identical rows.

    Args:
        metric: The primary metric.
        label: The truth ``[rows]``.
        candidate: Its answers ``[rows]``.
        other: The other's answers ``[rows]``.
        against: The champion's digest, or the name of a naive baseline.
        rows_digest: Digest of the rows both answered.
        params: Resamples, confidence, margin (relative to the other's loss) and decision threshold.
        seed: Of the resampling; one seed gives one answer.
        event_time: When each row happened ``[rows]``; without it single rows are resampled.

    Returns:
        The comparison; ``margin`` is absolute, in the unit of the loss.

    Raises:
        StageError: A label or answer is not finite, or outside what the task allows.
    """
    once = np.ones((1, len(label)))
    values, lost = [], []
    for prediction in (candidate, other):
        value = prepare(metric, label, prediction, threshold=params.threshold)(once)
        values.append(float(value[0]))
        lost.append(float(find(metric).loss(value)[0]))
    differences = difference_in_loss(
        metric, label, candidate, other, params=params, seed=seed, event_time=event_time
    )
    blocks = int(block_of(event_time, len(label)).max(initial=-1)) + 1
    low, high = interval(differences, params.confidence, blocks)
    difference = lost[0] - lost[1] if np.isfinite(lost).all() else float("nan")
    margin = params.margin * lost[1]
    return Comparison(
        against=against,
        metric=metric,
        candidate=values[0],
        other=values[1],
        difference=difference,
        low=low,
        high=high,
        confidence=params.confidence,
        margin=margin,
        rows=len(label),
        rows_digest=rows_digest,
        verdict=decide(difference, low, high, margin=margin, rows=len(label)),
    )


def decide(difference: float, low: float, high: float, *, margin: float, rows: int) -> Verdict:
    """The verdict of an interval; the rule is the table at the top of this module.

    Example:
        >>> decide(-2.0, -3.0, -1.0, margin=0.5, rows=1000).value
        'better'
        >>> decide(0.5, -1.0, 2.0, margin=0.5, rows=1000).value
        'inconclusive'
    """
    if rows < MIN_ROWS or not np.isfinite([difference, low, high, margin]).all():
        return Verdict.INCONCLUSIVE
    if high < 0:
        return Verdict.BETTER
    if high <= margin:
        return Verdict.NOT_WORSE
    return Verdict.WORSE if low > 0 else Verdict.INCONCLUSIVE


def interval(differences: Vector, confidence: float, blocks: int) -> tuple[float, float]:
    """Expanded percentile interval of the resampled differences; NaN when too many are undefined.

    The plain one is too narrow when few blocks are resampled: as a normal quantile is where Student's is
    due, and as a resample varies less than a sample. The tails are shrunk to make up for both (Hesterberg,
    The American Statistician 69, 2015, section 3.4).

    Example:
        >>> low, high = interval(np.linspace(-1, 1, 100_001), 0.95, blocks=10_000)
        >>> round(low, 2), round(high, 2)
        (-0.95, 0.95)
    """
    defined = differences[np.isfinite(differences)]
    if blocks < 2 or len(defined) < (1 - MAX_UNDEFINED) * len(differences):
        return float("nan"), float("nan")
    tail = NormalDist().cdf(-math.sqrt(blocks / (blocks - 1)) * _student(confidence, blocks - 1))
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)


def _student(confidence: float, freedom: int) -> float:
    """Two-sided quantile of Student's t, by its expansion around the normal (Abramowitz, Stegun, 26.7.5)."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / freedom + second / freedom**2


def difference_in_loss(
    metric: str,
    label: NDArray[np.float64],
    candidate: NDArray[np.float64],
    other: NDArray[np.float64],
    *,
    params: EvaluationParams,
    seed: int,
    event_time: NDArray[np.datetime64] | None = None,
) -> Vector:
    """The resampled differences, candidate minus other ``[params.resamples]``; the bootstrap itself."""
    scorers: list[Scorer] = [
        losses(metric, label, prediction, threshold=params.threshold) for prediction in (candidate, other)
    ]

    def paired(weights: Weights) -> Vector:
        mine, theirs = (scorer(weights) for scorer in scorers)
        return np.where(np.isfinite(mine) & np.isfinite(theirs), mine, np.nan) - theirs

    return _resample(paired, block_of(event_time, len(label)), params.resamples, seed)


def block_of(event_time: NDArray[np.datetime64] | None, rows: int) -> NDArray[np.intp]:
    """The block each row belongs to, counted from 0: its week, its day or itself."""
    return _blocks(event_time, rows)[1]


def block_name(event_time: NDArray[np.datetime64] | None, rows: int) -> str:
    """What is resampled, in words, such as ``22 whole weeks``."""
    name, block = _blocks(event_time, rows)
    return f"{int(block.max(initial=-1)) + 1:,} {name}"


def _blocks(event_time: NDArray[np.datetime64] | None, rows: int) -> tuple[str, NDArray[np.intp]]:
    units: tuple[tuple[Unit, str], ...] = (("W", "whole weeks"), ("D", "whole days"))
    for unit, name in units:
        if event_time is not None:
            starts, block = np.unique(starts_of(unit, event_time), return_inverse=True)
            if len(starts) >= MIN_BLOCKS:
                return name, block
    return "single rows", np.arange(rows)


def _resample(
    score: Callable[[Weights], Vector], block: NDArray[np.intp], resamples: int, seed: int
) -> Vector:
    """Draw blocks with replacement, in chunks of bounded memory; a row weighs as often as its block."""
    rng = np.random.default_rng(seed)
    blocks = int(block.max(initial=-1)) + 1
    step = max(1, _CELLS // max(len(block), 1))
    answers = np.empty(resamples)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = rng.integers(0, blocks, (size, blocks)) + blocks * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * blocks).reshape(size, blocks)
        answers[start : start + size] = score(np.take(counts.astype(np.float64), block, axis=1))
    return answers
