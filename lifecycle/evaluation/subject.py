"""What a report is about: the candidate, its rivals, and the evidence between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.errors import StageError
from lifecycle.core.params import SystemParams
from lifecycle.core.rows import Rows
from lifecycle.core.system import System
from lifecycle.core.values import Comparison, Evaluation, Lineage
from lifecycle.evaluation import metrics
from lifecycle.evaluation.reliability import Reliability, assess


@dataclass(frozen=True)
class ReportInput:
    """Everything the report shows.

    Attributes:
        system: The system.
        params: Its parameters.
        as_of: The moment whose knowledge was used.
        evaluation: What was decided on, with every gate.
        lineage: Where the candidate comes from.
        rows: The test rows.
        candidate: The candidate's answers ``[rows]``.
        others: Answers of those it was compared with, by ``Comparison.against``.
        champion_lineage: Where the champion comes from, at an update.
    """

    system: System
    params: SystemParams
    as_of: datetime
    evaluation: Evaluation
    lineage: Lineage
    rows: Rows
    candidate: NDArray[np.float64]
    others: Mapping[str, NDArray[np.float64]]
    champion_lineage: Lineage | None = None

    def __post_init__(self) -> None:
        compared = {comparison.against for comparison in self.evaluation.comparisons}
        if not compared or compared - set(self.others):
            missing = ", ".join(sorted(compared - set(self.others))) or "no comparison at all"
            raise StageError(
                f"the report lacks the answers of: {missing}",
                hint="give ReportInput.others one array of answers for every comparison",
            )

    @property
    def first(self) -> bool:
        """Whether nothing is deployed yet."""
        return self.evaluation.champion is None

    @property
    def unit(self) -> str:
        """Of the label."""
        return self.system.schema.label.unit

    @cached_property
    def against(self) -> Comparison:
        """The comparison that matters most: with the champion, or with the strongest naive baseline."""
        return min(
            self.evaluation.comparisons,
            key=lambda made: np.nan_to_num(metrics.loss(made.metric, made.other), nan=np.inf),
        )

    @property
    def rival(self) -> str:
        """How the other side of ``against`` is called in pictures and tables."""
        return self.against.against if self.first else "champion"

    @cached_property
    def answers(self) -> dict[str, NDArray[np.float64]]:
        """The answers that most pictures show: the candidate's and the rival's."""
        return {"candidate": self.candidate, self.rival: self.others[self.against.against]}

    @cached_property
    def reliability(self) -> Reliability:
        """How far the verdict can be trusted."""
        return assess(
            self.against,
            self.rows,
            self.candidate,
            self.others[self.against.against],
            params=self.params.evaluation,
            seed=self.params.seed,
        )
