"""The drift reference: what the training data and the model's answers looked like, inside every release.

It holds shares and rounded quantiles, never a row.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.release import REFERENCE
from lifecycle.core.values import Value


class NumberProfile(Value):
    """Distribution of a number.

    Attributes:
        edges: Inner cut points, rising; bin ``i`` holds ``edges[i - 1] <= value < edges[i]``.
        counts: Rows per bin, one more than there are edges.
        missing: Rows without a value.
        mean: Of the values; None without any.
        std: Of the values.
        min: Rounded to a thousandth of the range.
        max: Likewise.
        watched: Whether its drift means anything; that of the event time does not.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    missing: int
    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    watched: bool = True

    def counted(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """How many values fall into each of the profile's bins; NaN falls into none.

        Example:
            >>> bins = NumberProfile(edges=(0.0, 1.0), counts=(0, 1, 2), missing=0,
            ...                      mean=0.7, std=0.5, min=0.0, max=1.0)
            >>> bins.counted(np.array([-5.0, 0.5, 1.0, np.nan])).tolist()
            [1, 1, 1]
        """
        known = values[~np.isnan(values)]
        return np.bincount(np.searchsorted(self.edges, known, side="right"), minlength=len(self.counts))


class CategoryProfile(Value):
    """Distribution of a category.

    Attributes:
        counts: Rows per value, the most frequent first; at most 100.
        other: Rows of all values that are not listed.
        missing: Rows without a value.
        watched: Whether its drift means anything.
    """

    counts: dict[str, int]
    other: int
    missing: int
    watched: bool = True


class ReferenceProfile(Value):
    """What monitoring compares a window of current data with.

    Attributes:
        format: Version of this layout.
        system: Name of the system.
        record_schema: Digest of the record schema.
        rows: Training rows profiled.
        numbers: By feature.
        categories: By feature.
        label: The truth, for label shift.
        prediction: What the model answered on its newest rows; None in a release that was made before this.
    """

    format: int = 1
    system: str
    record_schema: str
    rows: int
    numbers: dict[str, NumberProfile]
    categories: dict[str, CategoryProfile]
    label: NumberProfile
    prediction: NumberProfile | None = None


def read_reference(folder: Path) -> ReferenceProfile | None:
    """The reference inside a (verified) release folder; None where there is none."""
    path = folder / REFERENCE
    return ReferenceProfile.model_validate_json(path.read_bytes()) if path.is_file() else None
