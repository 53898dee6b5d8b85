"""How each metric is calculated: once, for weighted rows, so that a bootstrap resample is only weights.

A scorer is prepared for one pair of labels and predictions (sorting them, where the metric needs it) and
then answers for any number of weightings at once. A weight says how often a row counts: all ones give the
plain metric, a resample gives each row the number of times it was drawn. Nothing is copied or sorted again.

Shapes: ``label`` and ``prediction`` are float64 ``[rows]``; ``Weights`` are float64 ``[resamples, rows]``.
Every scorer returns float64 ``[resamples]`` and answers NaN where the metric is not defined.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Weights = NDArray[np.float64]
Scorer = Callable[[Weights], Vector]
Prepare = Callable[[Vector, Vector], Scorer]

CALIBRATION_BINS = 10
CLIP = 1e-15
"""Probabilities are kept this far from 0 and 1 in the log loss: a certain and wrong answer costs 34.5."""


def median_ape(label: Vector, prediction: Vector) -> Scorer:
    """Median of ``|prediction - label| / |label|``; rows with label 0, where it is infinite, are left out."""
    kept = np.flatnonzero(label != 0)
    return _median(np.abs(prediction[kept] - label[kept]) / np.abs(label[kept]), kept)


def bias(label: Vector, prediction: Vector) -> Scorer:
    """Median of ``prediction / label``: 1 is unbiased, 0.9 is 10 % too low; rows with label 0 left out."""
    kept = np.flatnonzero(label != 0)
    return _median(prediction[kept] / label[kept], kept)


def mae(label: Vector, prediction: Vector) -> Scorer:
    """Mean of ``|prediction - label|``."""
    return _mean(np.abs(prediction - label))


def rmse(label: Vector, prediction: Vector) -> Scorer:
    """Square root of the mean of ``(prediction - label)^2``."""
    mean = _mean(np.square(prediction - label))
    return lambda weights: np.sqrt(mean(weights))


def log_loss(label: Vector, prediction: Vector) -> Scorer:
    """Mean of ``-log(probability given to what happened)``, natural logarithm, clipped by ``CLIP``."""
    given = np.where(label == 1, prediction, 1 - prediction)
    return _mean(-np.log(np.clip(given, CLIP, 1 - CLIP)))


def brier(label: Vector, prediction: Vector) -> Scorer:
    """Mean of ``(probability - label)^2``."""
    return _mean(np.square(prediction - label))


def precision(label: Vector, decision: Vector) -> Scorer:
    """Share of label 1 among rows decided 1; NaN when there is no such row."""
    return _share(of=label, among=decision)


def recall(label: Vector, decision: Vector) -> Scorer:
    """Share of rows decided 1 among label 1; NaN when there is no label 1."""
    return _share(of=decision, among=label)


def auc(label: Vector, prediction: Vector) -> Scorer:
    """Chance that a row of label 1 is ranked above one of label 0, ties counting half; NaN for one class."""
    order, starts = _ranked(prediction)
    ones = label[order]

    def score(weights: Weights) -> Vector:
        drawn = np.take(weights, order, axis=1)
        positive = _grouped(drawn * ones, starts)
        negative = _grouped(drawn, starts) - positive
        below = np.cumsum(negative, axis=1) - negative / 2
        wins = np.einsum("rg,rg->r", positive, below)
        return _ratio(wins, positive.sum(axis=1) * negative.sum(axis=1))

    return score


def average_precision(label: Vector, prediction: Vector) -> Scorer:
    """Precision averaged over the gains in recall, without interpolation; NaN when there is no label 1."""
    order, starts = _ranked(-prediction)
    ones = label[order]

    def score(weights: Weights) -> Vector:
        drawn = np.take(weights, order, axis=1)
        positive = _grouped(drawn * ones, starts)
        found = np.cumsum(positive, axis=1)
        shown = np.cumsum(_grouped(drawn, starts), axis=1)
        at = np.divide(found, shown, out=np.zeros_like(found), where=shown > 0)
        return _ratio(np.einsum("rg,rg->r", positive, at), positive.sum(axis=1))

    return score


def calibration_error(label: Vector, prediction: Vector) -> Scorer:
    """Expected calibration error over ``CALIBRATION_BINS`` bins of equal mass.

    Rows are sorted by probability and cut into bins that hold equally many (equal probabilities stay in
    one bin); the answer is the mean over rows of ``|mean probability - share of label 1|`` of their bin.
    Equal mass, unlike equal width, leaves no bin with a handful of rows: Nixon et al., "Measuring
    Calibration in Deep Learning", 2019.
    """
    order, starts = _ranked(prediction)
    excess = (prediction - label)[order]

    def score(weights: Weights) -> Vector:
        drawn = np.take(weights, order, axis=1)
        bins = mass_bins(_grouped(drawn, starts))
        cells = bins + CALIBRATION_BINS * np.arange(len(weights))[:, None]
        sums = np.bincount(
            cells.ravel(), _grouped(drawn * excess, starts).ravel(), CALIBRATION_BINS * len(weights)
        )
        off = np.abs(sums.reshape(len(weights), CALIBRATION_BINS)).sum(axis=1)
        return _ratio(off, drawn.sum(axis=1))

    return score


def mass_bins(mass: Weights, bins: int = CALIBRATION_BINS) -> NDArray[np.intp]:
    """The bin of equal mass in which the middle of each sorted group falls: ``[..., groups]``.

    Example:
        >>> mass_bins(np.array([[1.0, 1.0, 1.0, 1.0]]), bins=2).tolist()
        [[0, 0, 1, 1]]
    """
    reached = np.cumsum(mass, axis=-1)
    middle = (reached - mass / 2) / np.maximum(reached[..., -1:], np.finfo(float).tiny)
    return np.minimum((middle * bins).astype(np.intp), bins - 1)


def _median(values: Vector, rows: NDArray[np.intp]) -> Scorer:
    """Median of ``values``, which stand for ``rows``; of an even number, the mean of the middle two."""
    ascending = np.argsort(values, kind="stable")
    ordered, order = values[ascending], rows[ascending]

    def score(weights: Weights) -> Vector:
        answers = np.full(len(weights), np.nan)
        for i, reached in enumerate(np.cumsum(np.take(weights, order, axis=1), axis=1)):
            total = reached[-1] if len(reached) else 0.0
            if total > 0:
                middle = np.searchsorted(reached, ((total - 1) // 2, total // 2), side="right")
                answers[i] = ordered[middle].mean()
        return answers

    return score


def _mean(values: Vector) -> Scorer:
    return lambda weights: _ratio(weights @ values, weights.sum(axis=1))


def _share(*, of: Vector, among: Vector) -> Scorer:
    both = of * among
    return lambda weights: _ratio(weights @ both, weights @ among)


def _ranked(values: Vector) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The ascending order of values, and where in it each group of equal values starts."""
    order = np.argsort(values, kind="stable")
    return order, np.flatnonzero(np.diff(values[order], prepend=-np.inf) > 0)


def _grouped(weights: Weights, starts: NDArray[np.intp]) -> Weights:
    if len(starts) == weights.shape[1]:
        return weights
    return np.add.reduceat(weights, starts, axis=1)


def _ratio(part: Vector, whole: Vector) -> Vector:
    answers = np.full(len(part), np.nan)
    np.divide(part, whole, out=answers, where=whole > 0)
    return answers
