"""Metrics agree with scikit-learn's own, and say NaN where there is nothing to say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as reference

from lifecycle.core.errors import ConfigError, StageError
from lifecycle.core.system import METRICS
from lifecycle.evaluation.metrics import REGISTRY, compute, find, loss, losses, of_task, prepare
from lifecycle.evaluation.scorers import mass_bins

THRESHOLD = 0.5
sizes = st.integers(2, 60)
# A coarse grid makes equal probabilities common: ties are where rank metrics go wrong.
grid = st.integers(0, 8).map(lambda step: step / 8)


@st.composite
def regression(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    size = draw(sizes)
    amounts = st.floats(1, 1e6)
    return draw(hnp.arrays(float, size, elements=amounts)), draw(hnp.arrays(float, size, elements=amounts))


@st.composite
def classification(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    size = draw(sizes)
    label = draw(hnp.arrays(float, size, elements=st.sampled_from([0.0, 1.0])))
    label[:2] = 0, 1
    return label, draw(hnp.arrays(float, size, elements=grid))


def test_registry_holds_just_the_metrics_a_system_may_name() -> None:
    assert {task: of_task(task) for task in METRICS} == METRICS
    assert all(name == metric.name and metric.description for name, metric in REGISTRY.items())


@settings(max_examples=50)
@given(regression())
def test_regression_metrics_agree_with_scikit_learn(rows: tuple[np.ndarray, np.ndarray]) -> None:
    label, prediction = rows
    found = compute("regression", label, prediction, threshold=THRESHOLD)
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(label, prediction), abs=1e-9)
    assert found["rmse"] == pytest.approx(reference.root_mean_squared_error(label, prediction), abs=1e-9)
    assert found["median_ape"] == pytest.approx(np.median(np.abs(prediction - label) / label), abs=1e-12)
    assert found["bias"] == pytest.approx(np.median(prediction / label), rel=1e-12)


@settings(max_examples=50)
@given(classification())
def test_classification_metrics_agree_with_scikit_learn(rows: tuple[np.ndarray, np.ndarray]) -> None:
    label, probability = rows
    found = compute("classification", label, probability, threshold=THRESHOLD)
    decided = (probability >= THRESHOLD).astype(int)
    assert found["auc"] == pytest.approx(reference.roc_auc_score(label, probability), abs=1e-12)
    average = reference.average_precision_score(label, probability)
    assert found["average_precision"] == pytest.approx(average, abs=1e-12)
    assert found["brier"] == pytest.approx(reference.brier_score_loss(label, probability), abs=1e-12)
    # Both clip; ours at 1e-15, scikit-learn's at the machine's epsilon.
    inside = np.clip(probability, 1e-12, 1 - 1e-12)
    assert compute("classification", label, inside, threshold=THRESHOLD)["log_loss"] == pytest.approx(
        reference.log_loss(label, inside), rel=1e-9
    )
    assert found["recall"] == pytest.approx(reference.recall_score(label, decided))
    if decided.any():
        assert found["precision"] == pytest.approx(reference.precision_score(label, decided))
    else:
        assert math.isnan(found["precision"])


@settings(max_examples=50)
@given(classification(), st.data())
def test_a_weighted_row_counts_like_so_many_copies(
    rows: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    label, probability = rows
    times = data.draw(hnp.arrays(int, len(label), elements=st.integers(0, 3)))
    times[:2] = 1
    copied_label, copied = np.repeat(label, times), np.repeat(probability, times)
    for name in of_task("classification"):
        weighed = prepare(name, label, probability, threshold=THRESHOLD)(times[None].astype(float))[0]
        plain = compute("classification", copied_label, copied, threshold=THRESHOLD)[name]
        assert weighed == pytest.approx(plain, abs=1e-9, nan_ok=True), name
    for name in of_task("regression"):
        weighed = prepare(name, label + 1, probability, threshold=THRESHOLD)(times[None].astype(float))[0]
        plain = compute("regression", copied_label + 1, copied, threshold=THRESHOLD)[name]
        assert weighed == pytest.approx(plain, abs=1e-9), name


def test_calibration_error_by_hand() -> None:
    """Ten bins of two rows: each pair is 0.1 too sure."""
    label = np.tile([0.0, 1.0], 10)
    probability = np.linspace(0.4, 0.4 + 1e-6, 20)
    found = compute("classification", label, probability, threshold=THRESHOLD)["calibration_error"]
    assert found == pytest.approx(0.1, abs=1e-5)


@settings(max_examples=50)
@given(classification())
def test_calibration_error_ignores_the_order_of_rows(rows: tuple[np.ndarray, np.ndarray]) -> None:
    label, probability = rows
    values = [
        compute("classification", label[order], probability[order], threshold=THRESHOLD)["calibration_error"]
        for order in (slice(None), np.argsort(label), np.argsort(-label))
    ]
    assert values[0] == pytest.approx(values[2], abs=1e-12)
    assert values[0] == pytest.approx(values[1], abs=1e-12)


def test_bins_hold_equal_mass() -> None:
    assert np.bincount(mass_bins(np.ones(1000))).tolist() == [100] * 10


def test_one_class_leaves_ranking_undefined() -> None:
    probability = np.array([0.2, 0.7, 0.9])
    zeros = compute("classification", np.zeros(3), probability, threshold=THRESHOLD)
    assert {name for name, value in zeros.items() if math.isnan(value)} == {
        "average_precision",
        "auc",
        "recall",
    }
    ones = compute("classification", np.ones(3), probability, threshold=THRESHOLD)
    assert {name for name, value in ones.items() if math.isnan(value)} == {"auc"}
    assert ones["average_precision"] == 1


def test_certain_and_wrong_costs_a_finite_log_loss() -> None:
    found = compute("classification", np.array([1.0, 0.0]), np.array([0.0, 1.0]), threshold=THRESHOLD)
    assert found["log_loss"] == pytest.approx(-math.log(1e-15), rel=1e-3)


def test_zero_labels_are_left_out_of_relative_errors() -> None:
    label, prediction = np.array([0.0, 100.0, 200.0]), np.array([50.0, 90.0, 180.0])
    found = compute("regression", label, prediction, threshold=THRESHOLD)
    assert (found["median_ape"], found["bias"]) == (pytest.approx(0.1), pytest.approx(0.9))
    assert found["mae"] == pytest.approx(80 / 3)
    nothing = compute("regression", np.zeros(2), np.ones(2), threshold=THRESHOLD)
    assert math.isnan(nothing["median_ape"])
    assert math.isnan(nothing["bias"])


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_no_rows_are_undefined_everywhere(task: str) -> None:
    found = compute(task, np.array([]), np.array([]), threshold=THRESHOLD)  # type: ignore[arg-type]
    assert all(math.isnan(value) for value in found.values())


@pytest.mark.parametrize(
    ("task", "label", "prediction", "message"),
    [
        ("regression", [1.0, 2.0], [1.0, math.nan], "1 of 2 predictions are not finite numbers"),
        ("regression", [1.0, math.inf], [1.0, 2.0], "1 of 2 labels are not finite numbers"),
        ("regression", [1.0, 2.0], [1.0], "2 labels against 1 predictions"),
        ("classification", [0.0, 2.0], [0.1, 0.2], "1 of 2 labels are neither 0 nor 1"),
        ("classification", [0.0, 1.0], [0.1, 1.2], "1 of 2 predictions are not probabilities"),
    ],
)
def test_an_answer_that_is_none_is_refused(
    task: str, label: list[float], prediction: list[float], message: str
) -> None:
    with pytest.raises(StageError, match=message):
        compute(task, np.array(label), np.array(prediction), threshold=THRESHOLD)  # type: ignore[arg-type]


def test_losses_are_minimised() -> None:
    assert loss("mae", 3.0) == 3.0
    assert loss("recall", 0.8) == pytest.approx(0.2)
    assert loss("bias", 0.5) == pytest.approx(loss("bias", 2.0))
    assert loss("bias", 1.0) == 0
    assert loss("bias", -0.1) == math.inf
    assert math.isnan(loss("bias", math.nan))
    label, better, worse = np.array([1.0, 2, 3]), np.array([1.0, 2, 2.9]), np.array([2.0, 4, 6])
    for name in of_task("regression"):
        once = np.ones((1, 3))
        assert losses(name, label, better)(once)[0] <= losses(name, label, worse)(once)[0], name


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no metric 'median_apd'; did you mean 'median_ape'"):
        find("median_apd")
