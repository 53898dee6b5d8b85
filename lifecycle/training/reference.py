"""Making the drift reference: what the training data looked like, small enough to travel inside a release.

It holds shares and rounded quantiles, never a row. Cut points are rounded to a thousandth of the range, and a
word is listed only if the record type declares it or it is common.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.record import FieldSpec
from lifecycle.core.reference import CategoryProfile, NumberProfile, ReferenceProfile
from lifecycle.core.rows import Rows
from lifecycle.core.system import System

BINS = 20
LISTED = 100
COMMON = 10
"""Fewest rows that share an undeclared word before the profile names it."""
FEW, MANY = 1_000, 100_000
"""Between these lies the number of rows whose answers are profiled: a distribution needs no more."""


def profile(system: System, rows: Rows, prediction: NDArray[np.float64] | None = None) -> ReferenceProfile:
    """Profile the training rows of a system, and what its model answers.

    Args:
        system: Its schema.
        rows: The training rows.
        prediction: Answers of the model on its newest rows, any number of them.
    """
    schema, tensors = system.schema, rows.tensors
    extremes = not schema.is_sealed
    return ReferenceProfile(
        system=system.name,
        record_schema=schema.digest,
        rows=len(rows),
        numbers={
            name: profile_number(
                tensors.numbers[:, i], watched=not schema[name].event_time, extremes=extremes
            )
            for i, name in enumerate(schema.numbers)
        },
        categories={
            name: _profile_category(schema[name], tensors.categories[:, i])
            for i, name in enumerate(schema.categories)
        },
        label=profile_number(rows.label, extremes=extremes),
        prediction=None if prediction is None else profile_number(prediction, extremes=extremes),
    )


def newest(train: Rows, recent: Rows | None) -> Rows:
    """The rows whose answers later ones are compared with: out of sample and recent, as far as there are any.

    Returns:
        ``recent``, after as many of the newest training rows as make up ``FEW``; of too many, an even sample.
    """
    rows = train if recent is None else recent
    if recent is not None and len(recent) < FEW:
        rows = train.take(slice(-(FEW - len(recent)), None)).joined(recent)
    return rows.take(slice(None, None, max(1, -(-len(rows) // MANY))))


def profile_number(
    column: NDArray[np.floating], *, watched: bool = True, extremes: bool = True
) -> NumberProfile:
    """Profile one number; NaN is missing.

    Args:
        column: The values ``[rows]``.
        watched: Whether drift of it is watched.
        extremes: Whether the smallest and the largest value are told, which are somebody's very own.

    Example:
        >>> found = profile_number(np.array([0.0, 1.0, 1.0, np.nan]))
        >>> found.edges, found.counts, found.missing
        ((0.0, 1.0), (0, 1, 2), 1)
    """
    values = np.asarray(column[~np.isnan(column)], dtype=np.float64)
    missing = len(column) - len(values)
    if not len(values):
        return NumberProfile(
            edges=(), counts=(0,), missing=missing, mean=None, std=None, min=None, max=None, watched=watched
        )
    quantiles = np.quantile(values, np.arange(1, BINS) / BINS, method="inverted_cdf")
    decimals = _decimals(float(np.ptp(values)))
    edges = np.unique(np.round(quantiles, decimals))
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    low, high = (
        round(float(bound), decimals) if extremes else None for bound in (values.min(), values.max())
    )
    return NumberProfile(
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
        missing=missing,
        mean=float(values.mean()),
        std=float(values.std()),
        min=low,
        max=high,
        watched=watched,
    )


def _decimals(span: float) -> int:
    """Decimal places that keep a thousandth of a range, by orders of magnitude."""
    return 3 - int(np.floor(np.log10(span))) if span > 0 else 3


def _profile_category(spec: FieldSpec, column: NDArray[np.object_]) -> CategoryProfile:
    found = Counter(column.tolist())
    missing = found.pop("", 0)
    declared = set(spec.choices or ())
    # By count, then by name: the order must not depend on the order of the rows.
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    listed = dict([item for item in ranked if item[0] in declared or item[1] >= COMMON][:LISTED])
    other = found.total() - sum(listed.values())
    return CategoryProfile(
        counts=listed, other=other, missing=missing, watched=not (spec.record_id or spec.subject_id)
    )
