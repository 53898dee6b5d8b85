"""Naive predictors know no more than production would have known."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.errors import StateError
from lifecycle.core.rows import Rows
from lifecycle.evaluation.baselines import naive_predictions

PERIOD = {"regression": "last period's median", "classification": "last period's rate"}


def test_values_by_hand(rows_of: Callable[..., Rows]) -> None:
    history = rows_of(np.array([0, 1, 2, 40]), np.array([10.0, 30.0, 20.0, 99.0]))
    test = rows_of(np.array([41, 75]), np.array([5.0, 6.0]))
    found = naive_predictions("regression", history, test, timedelta(days=30))
    # On day 41 the labels of days 0, 1 and 2 are known. The one of day 40 is known on day 70.
    assert found["constant"].tolist() == [20.0, 20.0]
    assert found["last known value"].tolist() == [20.0, 5.0]
    # In the 30 days before day 75 the labels of days 40 and 41 became known.
    assert found["last period's median"].tolist() == [20.0, (99.0 + 5.0) / 2]


def test_an_empty_period_looks_further_back(rows_of: Callable[..., Rows]) -> None:
    history = rows_of(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    found = naive_predictions(
        "classification", history, rows_of(np.array([400.0]), np.array([1.0])), timedelta(days=7)
    )
    assert found["last period's rate"].tolist() == [0.5]


def test_an_event_never_knows_its_own_label(rows_of: Callable[..., Rows]) -> None:
    """Without a delay, the labels of the same moment are still unknown to each other."""
    history, test = rows_of(np.array([0]), np.array([7.0])), rows_of(np.array([1, 1]), np.array([1.0, 2.0]))
    found = naive_predictions("regression", history, test, timedelta(0))
    assert all(values.tolist() == [7.0, 7.0] for values in found.values())


def test_nothing_known_is_an_error(rows_of: Callable[..., Rows]) -> None:
    history, test = rows_of(np.array([0]), np.array([7.0])), rows_of(np.array([1]), np.array([1.0]))
    with pytest.raises(StateError, match="no label of 1 earlier rows was known"):
        naive_predictions("regression", history, test, timedelta(days=30))


@given(
    task=st.sampled_from(["regression", "classification"]),
    before=st.lists(st.floats(0, 60), min_size=1, max_size=15),
    during=st.lists(st.floats(60, 160), min_size=1, max_size=15),
    delay=st.integers(0, 50),
    data=st.data(),
)
def test_labels_not_known_yet_change_nothing(
    rows_of: Callable[..., Rows],
    task: str,
    before: list[float],
    during: list[float],
    delay: int,
    data: st.DataObject,
) -> None:
    before, during = [0.0, *sorted(before)], sorted(during)
    delay_days = timedelta(days=delay)
    labels = data.draw(st.lists(st.integers(0, 1), min_size=100, max_size=100))
    history = rows_of(np.array(before), np.array(labels[: len(before)]))
    test = rows_of(np.array(during), np.array(labels[50 : 50 + len(during)]))
    watched = data.draw(st.integers(0, len(test) - 1))
    moment = test.event_time[watched]

    def rewritten(rows: Rows) -> Rows:
        unknown = (rows.event_time + np.timedelta64(delay_days, "us") > moment) | (rows.event_time >= moment)
        return Rows(
            rows.ids,
            rows.event_time,
            rows.tensors,
            np.where(unknown, 1 - rows.label, rows.label),
            rows.weight,
        )

    told = naive_predictions(task, history, test, delay_days)  # type: ignore[arg-type]
    untold = naive_predictions(task, rewritten(history), rewritten(test), delay_days)  # type: ignore[arg-type]
    assert set(told) == {"constant", "last known value", PERIOD[task]}
    for name, values in told.items():
        assert values[watched] == untold[name][watched], name


def test_real_sales(houses: Rows) -> None:
    start = np.datetime64("1997-08-01")
    history, test = houses.take(houses.event_time < start), houses.take(houses.event_time >= start)
    found = naive_predictions("regression", history, test, timedelta(days=30))
    assert all(len(values) == len(test) and np.isfinite(values).all() for values in found.values())
    # Prices rise: the last period's median follows them, the constant of 1993-97 lags behind.
    assert np.median(found["last period's median"] / test.label) > np.median(found["constant"] / test.label)
