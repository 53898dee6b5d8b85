"""How far a verdict can be trusted: would other rows, or another seed, have said the same?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lifecycle.core.params import EvaluationParams
from lifecycle.core.rows import Rows
from lifecycle.core.values import Comparison, Verdict
from lifecycle.evaluation.comparison import block_name, compare, difference_in_loss
from lifecycle.evaluation.scorers import Vector
from lifecycle.evaluation.wording import percent

LATEST = (0.75, 0.5, 0.25)
OTHER_SEEDS = 2
_ROW_BUDGET = 20_000_000
"""Rows times resamples of one bootstrap here: a large test window is resampled less often, 200 at least."""


@dataclass(frozen=True)
class Repeat:
    """The same comparison, made again on fewer rows or with another seed."""

    title: str
    comparison: Comparison


@dataclass(frozen=True)
class Reliability:
    """What was found.

    Attributes:
        differences: Resampled differences in loss ``[resamples]``, undefined ones left out.
        better: Share of them below zero.
        tolerated: Share from zero up to the margin.
        resampled: What was drawn with replacement, such as ``21 whole weeks``.
        repeats: The comparison as it was made, then the repeats.
    """

    differences: Vector
    better: float
    tolerated: float
    resampled: str
    repeats: tuple[Repeat, ...]

    @property
    def agreeing(self) -> int:
        """How many repeats reach the verdict that was made."""
        return sum(
            repeat.comparison.verdict is self.repeats[0].comparison.verdict for repeat in self.repeats[1:]
        )

    @property
    def opposed(self) -> bool:
        """Whether some repeat says better and another worse."""
        verdicts = {repeat.comparison.verdict for repeat in self.repeats}
        return {Verdict.BETTER, Verdict.WORSE} <= verdicts


def assess(
    made: Comparison, rows: Rows, candidate: Vector, other: Vector, *, params: EvaluationParams, seed: int
) -> Reliability:
    """Repeat a comparison and describe the distribution behind it.

    Args:
        made: The comparison.
        rows: The rows compared, in time order.
        candidate: The candidate's answers ``[rows]``.
        other: The other's.
        params: As the comparison was made with.
        seed: As the comparison was made with.
    """
    affordable = max(200, _ROW_BUDGET // max(len(rows), 1))
    params = params.model_copy(update={"resamples": min(params.resamples, affordable)})
    drawn = difference_in_loss(
        made.metric, rows.label, candidate, other, params=params, seed=seed, event_time=rows.event_time
    )
    drawn = drawn[np.isfinite(drawn)]
    share = np.array([(drawn < 0).mean(), (drawn <= made.margin).mean()]) if len(drawn) else np.zeros(2)
    return Reliability(
        differences=drawn,
        better=float(share[0]),
        tolerated=float(share[1] - share[0]),
        resampled=block_name(rows.event_time, len(rows)),
        repeats=(
            Repeat(f"all {len(rows):,} rows", made),
            *_repeats(made, rows, candidate, other, params, seed),
        ),
    )


def _repeats(
    made: Comparison,
    rows: Rows,
    candidate: Vector,
    other: Vector,
    params: EvaluationParams,
    seed: int,
) -> Iterator[Repeat]:
    order = np.argsort(rows.event_time, kind="stable")
    parts = [(f"latest {percent(share)}", order[round(len(order) * (1 - share)) :], seed) for share in LATEST]
    parts += [(f"all rows, seed {seed + i}", order, seed + i) for i in range(1, OTHER_SEEDS + 1)]
    for title, part, drawn_with in parts:
        yield Repeat(
            title,
            compare(
                made.metric,
                rows.label[part],
                candidate[part],
                other[part],
                against=made.against,
                rows_digest=made.rows_digest,
                params=params,
                seed=drawn_with,
                event_time=rows.event_time[part],
            ),
        )
