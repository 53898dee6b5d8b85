"""Scalers in front of trees: folded into the thresholds, every row is decided as scikit-learn decides it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, OneHotEncoder, RobustScaler, StandardScaler
from sklearn.tree import DecisionTreeRegressor

from lifecycle.core.rows import Tensors
from lifecycle.serving.engine import load_engine
from lifecycle.training.fold import fold_scalers
from tests.training.training_cases import STRICT, Gaps, House, Plain, make_rows, system_of, train_model


def boosted():
    return HistGradientBoostingRegressor(max_iter=50, random_state=0)


def by_column(last, scaled):
    columns = [
        ("b", "passthrough", ["garden"]),
        ("n", scaled, ["sold_on", "area", "floors"]),
        ("c", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["wall"]),
    ]
    return make_pipeline(ColumnTransformer(columns), last)


CASES = {
    "boosting": (Plain, lambda: make_pipeline(StandardScaler(), boosted())),
    "two scalers": (Plain, lambda: make_pipeline(MinMaxScaler((-5, 3)), RobustScaler(), boosted())),
    "forest": (Plain, lambda: make_pipeline(RobustScaler(), RandomForestRegressor(10, random_state=0))),
    "one tree": (Plain, lambda: make_pipeline(MaxAbsScaler(), DecisionTreeRegressor(random_state=0))),
    "gradient boosting": (
        Plain,
        lambda: make_pipeline(StandardScaler(), GradientBoostingRegressor(n_estimators=20, random_state=0)),
    ),
    "some columns": (House, lambda: by_column(boosted(), StandardScaler())),
    "behind an imputer": (
        Gaps,
        lambda: make_pipeline(
            ColumnTransformer([("n", make_pipeline(SimpleImputer(), StandardScaler()), ["area", "floors"])]),
            boosted(),
        ),
    ),
    "log target": (
        House,
        lambda: TransformedTargetRegressor(
            by_column(boosted(), StandardScaler()), func=np.log, inverse_func=np.exp
        ),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_scaled_trees_answer_alike(case, tmp_path):
    record, build = CASES[case]
    rows = make_rows(record, count=3000)
    choice = train_model(
        system_of(record, "regression", lambda _: build()), STRICT, rows, tmp_path, load_engine
    )
    assert choice.parity.worst_relative < 1e-5


def test_a_missing_value_goes_where_it_went():
    rows = make_rows(Plain, "classification", count=2000)
    numbers = rows.tensors.numbers.copy()
    numbers[::7, 1] = np.nan
    rows = replace(rows, tensors=Tensors(numbers, rows.tensors.categories))
    model = make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=20, random_state=0))
    model.fit(numbers, rows.label)
    folded = fold_scalers(model)
    assert [name for name, _ in folded.steps] == ["histgradientboostingclassifier"]
    assert np.array_equal(folded.predict_proba(numbers), model.predict_proba(numbers))
    assert len(model.steps) == 2, "the model itself is left as it is"


SCALERS = [StandardScaler(), MinMaxScaler(clip=True), RobustScaler(), MaxAbsScaler()]


@pytest.mark.parametrize("scaler", SCALERS)
def test_every_float32_around_a_threshold_is_decided_as_before(scaler):
    """Where it lies among values that are not scaled, and three steps on either side."""
    random = np.random.default_rng(0)
    column = random.gamma(2, 1e3, 500).astype(np.float32)[:, np.newaxis]
    model = make_pipeline(scaler, DecisionTreeRegressor(random_state=0)).fit(column, random.random(500))
    folded = fold_scalers(model)
    tree = folded.steps[-1][1].tree_
    at = tree.threshold[tree.feature >= 0].astype(np.float32)
    for step in range(-3, 4):
        asked = at.copy()
        for _ in range(abs(step)):
            asked = np.nextafter(asked, np.float32(np.sign(step) * np.inf))
        assert np.array_equal(folded.predict(asked[:, np.newaxis]), model.predict(asked[:, np.newaxis]))


def test_what_reads_scaled_values_beside_the_trees_keeps_its_scaler():
    """Gradient boosting that begins with a linear model."""
    rows = make_rows(Plain)
    trees = GradientBoostingRegressor(init=LinearRegression(), n_estimators=5, random_state=0)
    model = make_pipeline(StandardScaler(), trees).fit(rows.tensors.numbers, rows.label)
    assert len(fold_scalers(model).steps) == 2
