"""The metrics of each value of a category, so that a good average hides no group that is served badly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.disclosure import SMALLEST_CELL
from lifecycle.core.errors import ConfigError
from lifecycle.core.record import RecordSchema
from lifecycle.core.rows import Rows
from lifecycle.core.suggest import nearest
from lifecycle.core.system import Task
from lifecycle.evaluation.disclosure import kinds
from lifecycle.evaluation.metrics import compute

MIN_ROWS = 30
MISSING = "(missing)"


@dataclass(frozen=True)
class Slice:
    """One value of one category.

    Attributes:
        feature: The category's name.
        value: Its value; ``(missing)`` where a row has none.
        rows: Rows of the test window in it.
        metrics: Value by metric, on those rows.
    """

    feature: str
    value: str
    rows: int
    metrics: dict[str, float]

    @property
    def too_few(self) -> bool:
        """Whether there are fewer than 30 rows, so that the metrics say little."""
        return self.rows < MIN_ROWS


def by_slice(
    task: Task,
    schema: RecordSchema,
    features: Iterable[str],
    rows: Rows,
    prediction: NDArray[np.float64],
    *,
    threshold: float,
) -> tuple[Slice, ...]:
    """Metrics by value of each category, the largest slice of a category first.

    Of sealed records, slices with fewer than ``SMALLEST_CELL`` rows (of a class, if there are classes) are
    left out; if that is only one, the next smallest as well, for the total would give it away.

    Args:
        task: Of the system.
        schema: Of the record; says where each category stands in the rows.
        features: Names of categories, as under ``evaluation.slices`` in ``params.yaml``.
        rows: The test rows.
        prediction: The answers ``[rows]``.
        threshold: Decision threshold (classification).

    Raises:
        ConfigError: A name is not a category feature of the record; the nearest is offered.
    """
    found, each = [], kinds(task, rows.label)
    for feature in features:
        if feature not in schema.categories:
            raise ConfigError(
                f"cannot slice by {feature!r}: not a category feature{nearest(feature, schema.categories)}",
                hint=f"under evaluation.slices name some of: {', '.join(schema.categories) or '(none)'}",
            )
        column = rows.tensors.categories[:, schema.categories.index(feature)].astype(str)
        values, place, counts = np.unique(column, return_inverse=True, return_counts=True)
        if schema.is_sealed:
            fewest = np.array([each[place == i].sum(axis=0).min() for i in range(len(values))])
            kept = fewest >= SMALLEST_CELL
            if len(values) - kept.sum() == 1:
                kept[np.argmin(np.where(kept, counts, counts.max() + 1))] = False
            values, counts = values[kept], counts[kept]
        for value in values[np.argsort(-counts, kind="stable")]:
            here = column == value
            metrics = compute(task, rows.label[here], prediction[here], threshold=threshold)
            found.append(Slice(feature, str(value) or MISSING, int(here.sum()), metrics))
    return tuple(found)
