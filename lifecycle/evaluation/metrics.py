"""The registry of metrics: what each is called, means and is measured in, and its loss.

To add one: write its scorer in ``scorers.py``, add one ``Metric`` to ``REGISTRY`` here and its name to
``lifecycle.core.system.METRICS``. Gates, comparison, slices and the report then know it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.errors import ConfigError, StageError
from lifecycle.core.suggest import nearest
from lifecycle.core.system import Task
from lifecycle.evaluation import scorers
from lifecycle.evaluation.scorers import Prepare, Scorer, Vector

Unit = Literal["share", "label", "ratio", "score"]
"""``share``: shown in percent. ``label``: in the label's own unit. ``ratio``, ``score``: plain numbers."""


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: As written in a ``System`` and in ``params.yaml``.
        title: As people read it.
        task: The task it belongs to.
        unit: What its value is measured in.
        best: Where the best value lies.
        description: What it says, in a sentence.
        prepare: Its scorer, made from labels and predictions.
        of_decisions: Whether it judges decisions (0 or 1, by the threshold) instead of probabilities.
    """

    name: str
    title: str
    task: Task
    unit: Unit
    best: Literal["low", "high", "one"]
    description: str
    prepare: Prepare
    of_decisions: bool = False

    def loss(self, value: Vector) -> Vector:
        """What is to be minimised: the value, ``1 - value``, or ``|log value|`` where 1 is best.

        The logarithm makes predictions of half and of double the truth equally bad. A ratio of 0 or below
        (predictions of the wrong sign) loses infinitely.
        """
        if self.best == "low":
            return value
        if self.best == "high":
            return 1 - value
        logarithm = np.log(value, out=np.full_like(value, np.inf), where=value > 0)
        return np.where(np.isnan(value), np.nan, np.abs(logarithm))


def _by_name(*metrics: Metric) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


REGISTRY: dict[str, Metric] = _by_name(
    Metric(
        "median_ape",
        "Median absolute percentage error",
        "regression",
        "share",
        "low",
        "Half of the answers are closer to the truth than this share of it",
        scorers.median_ape,
    ),
    Metric(
        "mae",
        "Mean absolute error",
        "regression",
        "label",
        "low",
        "Average distance from the truth",
        scorers.mae,
    ),
    Metric(
        "rmse",
        "Root mean squared error",
        "regression",
        "label",
        "low",
        "Like the mean absolute error, but large misses weigh more",
        scorers.rmse,
    ),
    Metric(
        "bias",
        "Bias",
        "regression",
        "ratio",
        "one",
        "Median of predicted / true: 1 is unbiased, 0.90 is 10 % too low",
        scorers.bias,
    ),
    Metric(
        "average_precision",
        "Average precision",
        "classification",
        "score",
        "high",
        "Precision averaged over the gains in recall; by chance, the share of label 1",
        scorers.average_precision,
    ),
    Metric(
        "auc",
        "Area under the ROC curve",
        "classification",
        "score",
        "high",
        "Chance that a row of label 1 is ranked above one of label 0; by chance, 0.5",
        scorers.auc,
    ),
    Metric(
        "log_loss",
        "Log loss",
        "classification",
        "score",
        "low",
        "Average surprise at what happened, in nats",
        scorers.log_loss,
    ),
    Metric(
        "brier",
        "Brier score",
        "classification",
        "score",
        "low",
        "Average squared distance of the probability from what happened",
        scorers.brier,
    ),
    Metric(
        "calibration_error",
        "Calibration error",
        "classification",
        "share",
        "low",
        "Average gap between the probability given and the share that came true, over 10 equal bins",
        scorers.calibration_error,
    ),
    Metric(
        "precision",
        "Precision at the threshold",
        "classification",
        "share",
        "high",
        "Of the rows decided 1, the share that were 1",
        scorers.precision,
        of_decisions=True,
    ),
    Metric(
        "recall",
        "Recall at the threshold",
        "classification",
        "share",
        "high",
        "Of the rows that were 1, the share decided 1",
        scorers.recall,
        of_decisions=True,
    ),
)


def find(name: str) -> Metric:
    """The metric of this name.

    Raises:
        ConfigError: There is none; the nearest is offered.
    """
    if name not in REGISTRY:
        raise ConfigError(
            f"no metric {name!r}{nearest(name, REGISTRY)}", hint=f"known: {', '.join(REGISTRY)}"
        )
    return REGISTRY[name]


def of_task(task: Task) -> tuple[str, ...]:
    """Names of all metrics of a task, in the order they are shown."""
    return tuple(name for name, metric in REGISTRY.items() if metric.task == task)


def compute(
    task: Task,
    label: NDArray[np.float64],
    prediction: NDArray[np.float64],
    *,
    threshold: float,
    names: Iterable[str] | None = None,
) -> dict[str, float]:
    """Every metric of a task.

    Args:
        task: Of the system.
        label: The truth ``[rows]``, in the label's unit; 0 or 1 for classification.
        prediction: The answers ``[rows]``; the probability of 1 for classification.
        threshold: Probabilities at or above it are decided 1; regression ignores it.
        names: Only these metrics.

    Returns:
        Value by name. NaN says the metric is not defined on these rows: no rows at all, only one class
        (AUC), no label 1 (average precision, recall), nothing decided 1 (precision), or no label other
        than 0 (median_ape, bias).

    Raises:
        StageError: An answer or label is not finite, or outside what the task allows.

    Example:
        >>> compute("regression", np.array([100.0, 200.0]), np.array([90.0, 220.0]), threshold=0.5)
        {'median_ape': 0.1, 'mae': 15.0, 'rmse': 15.811388300841896, 'bias': 1.0}
    """
    once = np.ones((1, len(label)))
    chosen = of_task(task) if names is None else tuple(names)
    return {name: float(prepare(name, label, prediction, threshold=threshold)(once)[0]) for name in chosen}


def loss(name: str, value: float) -> float:
    """A metric's value as a loss: to be minimised, 0 is best.

    Example:
        >>> loss("auc", 0.75), loss("mae", 12.5), round(loss("bias", 0.9), 4)
        (0.25, 12.5, 0.1054)
    """
    return float(find(name).loss(np.array([value]))[0])


def losses(
    name: str, label: NDArray[np.float64], prediction: NDArray[np.float64], *, threshold: float = 0.5
) -> Scorer:
    """The loss of a metric under any weighting of the rows: ``[resamples, rows] -> [resamples]``."""
    metric = find(name)
    score = prepare(name, label, prediction, threshold=threshold)
    return lambda weights: metric.loss(score(weights))


def prepare(
    name: str, label: NDArray[np.float64], prediction: NDArray[np.float64], *, threshold: float
) -> Scorer:
    """The checked scorer of a metric; see ``scorers``.

    Raises:
        StageError: An answer or label is not finite, or outside what the task allows.
    """
    metric = find(name)
    if label.shape != prediction.shape:
        raise StageError(
            f"{len(label):,} labels against {len(prediction):,} predictions",
            hint="score the very rows whose labels are given",
        )
    for what, values in (("labels", label), ("predictions", prediction)):
        _check(what, values, ~np.isfinite(values), "not finite numbers")
    if metric.task == "classification":
        _check("labels", label, (label != 0) & (label != 1), "neither 0 nor 1")
        _check("predictions", prediction, (prediction < 0) | (prediction > 1), "not probabilities")
    if metric.of_decisions:
        prediction = (prediction >= threshold).astype(np.float64)
    return metric.prepare(label, prediction)


def _check(what: str, values: NDArray[np.float64], bad: NDArray[np.bool_], why: str) -> None:
    if bad.any():
        raise StageError(
            f"{int(bad.sum()):,} of {len(values):,} {what} are {why} (first at position {int(bad.argmax())})",
            hint="a model is only judged when it answers every row; look at that row and at the estimator",
        )
