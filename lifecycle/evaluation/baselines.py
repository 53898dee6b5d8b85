"""Naive predictors: what a first deployment must beat, and a modest reminder beside every update.

Each answers a row with nothing but labels that were known when the row's event happened: the label of an
event is known from ``event + delay`` on, and never to the event itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.errors import StateError
from lifecycle.core.rows import Rows
from lifecycle.core.system import Task

PERIOD = np.timedelta64(30, "D")


def naive_predictions(
    task: Task, history: Rows, test: Rows, delay: timedelta
) -> dict[str, NDArray[np.float64]]:
    """Answers of every naive predictor for the test rows.

    - ``constant``: the median (regression) or the share of label 1 (classification) of all labels known
      when the first test event happened.
    - ``last known value``: the newest event's label among those known at the row's event.
    - ``last period's median`` (classification: ``last period's rate``): of the labels that became known in
      the 30 days before the row's day; 60, 120, ... days where that is empty.

    Labels of the test rows themselves become known as time passes, just as they would in production.

    Args:
        task: Of the system.
        history: Labelled rows before the test rows.
        test: The rows to answer.
        delay: How long after its event a label is known.

    Returns:
        float64 ``[test rows]`` by name of the predictor.

    Raises:
        StateError: No label was known when the first test event happened.
    """
    known = _Known.of(history, test, np.timedelta64(delay, "us"))
    first = int(known.count(test.event_time.min(keepdims=True))[0])
    if not first:
        raise StateError(
            f"no label of {len(history):,} earlier rows was known when the first test event happened",
            hint="give the split more training data, or shorten the label's delay",
        )
    period = "last period's median" if task == "regression" else "last period's rate"
    return {
        "constant": np.full(len(test), _centre(task, known.label[:first])),
        "last known value": known.label[known.count(test.event_time) - 1],
        period: _last_period(task, known, test.event_time),
    }


@dataclass(frozen=True)
class _Known:
    """All labelled events in time order, and the moment from which each label is known."""

    event: NDArray[np.datetime64]
    since: NDArray[np.datetime64]
    label: NDArray[np.float64]

    @classmethod
    def of(cls, history: Rows, test: Rows, delay: np.timedelta64) -> _Known:
        event = np.concatenate([history.event_time, test.event_time])
        order = np.argsort(event, kind="stable")
        label = np.concatenate([history.label, test.label])
        return cls(event[order], np.add(event, delay)[order], label[order])

    def count(self, moments: NDArray[np.datetime64]) -> NDArray[np.intp]:
        """How many labels are known at each moment to an event that happens then."""
        mature = np.searchsorted(self.since, moments, side="right")
        return np.minimum(mature, np.searchsorted(self.event, moments, side="left"))


def _last_period(task: Task, known: _Known, events: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """Answers are shared by all rows of a day, so that windows are few however many rows there are."""
    days = events.astype("datetime64[D]").astype(events.dtype)
    moments, row_of = np.unique(np.where(known.count(days) > 0, days, events), return_inverse=True)
    answers = np.array([_centre(task, known.label[window]) for window in _windows(known, moments)])
    return answers[row_of]


def _windows(known: _Known, moments: NDArray[np.datetime64]) -> Iterator[slice]:
    for moment, end in zip(moments, known.count(moments), strict=True):
        length, start = PERIOD, end
        while start >= end:
            start = np.searchsorted(known.since, moment - length, side="right")
            length = length * 2
        yield slice(int(start), int(end))


def _centre(task: Task, labels: NDArray[np.float64]) -> float:
    return float(np.median(labels) if task == "regression" else np.mean(labels))
