"""When an answer is no ground for a decision: too near the threshold, or about what training never saw.

The band around the threshold is Chow's rule for a calibrated probability (On optimum recognition error and
reject tradeoff, IEEE Transactions on Information Theory 16(1), 1970): where either decision would be wrong
nearly as often, a person decides.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.params import ExplainParams
from lifecycle.core.record import RecordSchema
from lifecycle.core.reference import CategoryProfile, NumberProfile, ReferenceProfile
from lifecycle.core.rows import Tensors

ROUNDED = 1e-3
"""The ends of a profile are rounded to this share of its range."""

FENCE = 1.0
"""How far a profile without ends is taken to reach on, in spans of its inner nine tenths."""


def abstentions(
    schema: RecordSchema,
    profile: ReferenceProfile,
    params: ExplainParams,
    tensors: Tensors,
    answers: NDArray[np.float64],
    threshold: float | None,
) -> NDArray[np.object_]:
    """Why each row gets no decision, or None where it gets one: names of fields, never values.

    Args:
        schema: Names the columns.
        profile: What training saw.
        params: How near is too near, and how many fields may lie outside.
        tensors: The rows.
        answers: Of the model, float64 ``[rows]``.
        threshold: From which the decision is 1; None for a regression.
    """
    reasons = np.full(len(tensors), None, dtype=object)
    if threshold is not None and params.doubt > 0:
        near = np.abs(answers - threshold) < params.doubt
        reasons[near] = f"within {params.doubt:g} of the threshold {threshold:g}"
    if params.max_outside is not None:
        outside = outside_reference(schema, profile, tensors)
        names = np.array([*schema.numbers, *schema.categories], dtype=object)
        for row in np.flatnonzero(outside.sum(axis=1) > params.max_outside):
            reasons[row] = f"training saw nothing like it in {', '.join(names[outside[row]])}"
    return reasons


def outside_reference(schema: RecordSchema, profile: ReferenceProfile, tensors: Tensors) -> NDArray[np.bool_]:
    """Which values lie beyond what training saw, bool ``[rows, numbers + categories]``.

    A number beyond the smallest or greatest, an unknown word, a missing value where none was missing. The
    smallest and greatest of sealed records are somebody's own and not in the profile; a fence far outside the
    bulk stands for them. The event time is not looked at: it always moves on.
    """
    numbers = [_beyond(profile.numbers[name], tensors.numbers[:, i]) for i, name in enumerate(schema.numbers)]
    words = [
        _unknown(profile.categories[name], tensors.categories[:, i])
        for i, name in enumerate(schema.categories)
    ]
    return np.column_stack([*numbers, *words])


def _beyond(profile: NumberProfile, found: NDArray[np.float32]) -> NDArray[np.bool_]:
    if not profile.watched:
        return np.zeros(len(found), dtype=np.bool_)
    missing = np.isnan(found)
    low, high = _ends(profile)
    beyond = ~missing if not sum(profile.counts) else (found < low) | (found > high)
    return beyond | missing if profile.missing == 0 else beyond


def _ends(profile: NumberProfile) -> tuple[float, float]:
    """The range within which a number is one that training knew."""
    if profile.min is not None and profile.max is not None:
        slack = ROUNDED * (profile.max - profile.min)
        return profile.min - slack, profile.max + slack
    if len(profile.edges) < 2:  # nearly all rows have one value: nothing is known of the others
        return -np.inf, np.inf
    first, last = profile.edges[0], profile.edges[-1]
    return first - FENCE * (last - first), last + FENCE * (last - first)


def _unknown(profile: CategoryProfile, found: NDArray[np.object_]) -> NDArray[np.bool_]:
    if not profile.watched or profile.other:  # rare words are not listed: any might be one of them
        return np.zeros(len(found), dtype=np.bool_)
    known = {*profile.counts, *([""] if profile.missing else [])}
    return np.array([word not in known for word in found], dtype=np.bool_)
