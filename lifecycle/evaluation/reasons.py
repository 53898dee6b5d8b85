"""Why an answer is what it is: how much it would move if one thing about the record were as is typical.

Each feature in turn is set to its typical value, and the model asked again (occlusion; Robnik-Šikonja and
Kononenko, Explaining classifications for individual instances, IEEE TKDE 20(5), 2008). It needs nothing but
the model that answers and the profile in its release, and costs one answer per feature that is not typical
already. What it does not say: features that tell the same story (weight and body mass) each move the answer
little while the other stands, and none of it is about causes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.record import RecordSchema
from lifecycle.core.reference import CategoryProfile, NumberProfile, ReferenceProfile
from lifecycle.core.rows import Tensors

Answers = NDArray[np.float64]


@dataclass(frozen=True)
class Reasons:
    """The features that move each answer most, the strongest first.

    Attributes:
        features: Names, text or None ``[rows, count]``; None where fewer features move the answer.
        effects: The answer less what it would be with a typical value, float64 ``[rows, count]``; NaN where
            there is no feature.
    """

    features: NDArray[np.object_]
    effects: Answers


def typical_row(schema: RecordSchema, profile: ReferenceProfile) -> Tensors:
    """One row of typical values: median and most frequent word, or missing where most rows have none.

    Args:
        schema: Names the columns.
        profile: What training saw; it has twenty bins, so the median is that of a bin's edge.
    """
    numbers = [_median(profile.numbers[name]) for name in schema.numbers]
    categories = [_commonest(profile.categories[name]) for name in schema.categories]
    return Tensors(np.array([numbers], dtype=np.float32), np.array([categories], dtype=object))


def top_reasons(
    schema: RecordSchema,
    profile: ReferenceProfile,
    tensors: Tensors,
    answers: Answers,
    predict: Callable[[Tensors], Answers],
    count: int,
) -> Reasons:
    """The ``count`` features that move each answer most.

    Args:
        schema: Names the columns.
        profile: What training saw.
        tensors: The rows.
        answers: What the model answered on them, float64 ``[rows]``.
        predict: The model.
        count: How many are told.
    """
    names = np.array([*schema.numbers, *schema.categories, *[None] * count], dtype=object)
    effects = np.zeros((len(tensors), len(names)))
    usual = typical_row(schema, profile)
    for i in range(len(schema.numbers)):
        value = usual.numbers[0, i]
        found = tensors.numbers[:, i]
        at = np.flatnonzero(~((found == value) | (np.isnan(found) & np.isnan(value))))
        changed = tensors.take(at)  # a copy: positions, not a slice
        changed.numbers[:, i] = value
        effects[at, i] = _moved(answers[at], changed, predict)
    for i in range(len(schema.categories)):
        at = np.flatnonzero(tensors.categories[:, i] != usual.categories[0, i])
        changed = tensors.take(at)
        changed.categories[:, i] = usual.categories[0, i]
        effects[at, len(schema.numbers) + i] = _moved(answers[at], changed, predict)
    order = np.argsort(-np.abs(effects), axis=1, kind="stable")[:, :count]
    strongest = np.take_along_axis(effects, order, axis=1)
    idle = strongest == 0
    return Reasons(
        features=np.where(idle, None, names[order]),  # type: ignore[call-overload]
        effects=np.where(idle, np.nan, strongest),
    )


def _moved(answers: Answers, changed: Tensors, predict: Callable[[Tensors], Answers]) -> Answers:
    """By how much; not at all where either answer is not finite."""
    if not len(changed):
        return np.empty(0)
    with np.errstate(invalid="ignore"):  # two answers beyond float32 have no difference
        moved = answers - predict(changed)
    return np.where(np.isfinite(moved), moved, 0.0)


def _median(profile: NumberProfile) -> float:
    known = sum(profile.counts)
    if not known or profile.missing > known:
        return float("nan")
    position = int(np.searchsorted(np.cumsum(profile.counts), known / 2, side="right"))
    return profile.edges[max(position - 1, 0)]


def _commonest(profile: CategoryProfile) -> str:
    word, count = next(iter(profile.counts.items()), ("", 0))
    return word if count >= profile.missing else ""
