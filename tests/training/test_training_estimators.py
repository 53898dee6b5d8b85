"""Any estimator, any record: what is trained answers in ONNX as in scikit-learn, or is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils import all_estimators

from lifecycle.core.errors import LifecycleError
from lifecycle.core.release import ENGINE, MODEL, REFERENCE, SCHEMA, SKOPS, read_schema
from lifecycle.serving.engine import load_engine
from lifecycle.training.trend import TrendRegressor
from tests.training.training_cases import (
    PARAMS,
    STRICT,
    Gaps,
    House,
    Plain,
    Words,
    make_rows,
    system_of,
    train_model,
)

CATEGORIES = ["wall", "district"]


def one_hot() -> OneHotEncoder:
    return OneHotEncoder(handle_unknown="ignore", sparse_output=False)


def ordinal() -> OrdinalEncoder:
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)


def encoded(last: Any) -> Any:
    """For trees: categories encoded, numbers as they are."""
    return make_pipeline(ColumnTransformer([("c", one_hot(), CATEGORIES)], remainder="passthrough"), last)


def scaled(last: Any) -> Any:
    """For linear models: numbers scaled, categories encoded, the boolean as it is."""
    numbers = ["sold_on", "area", "floors"]
    columns = [
        ("n", StandardScaler(), numbers),
        ("c", one_hot(), CATEGORIES),
        ("b", "passthrough", ["garden"]),
    ]
    return make_pipeline(ColumnTransformer(columns), last)


def by_type(last: Any) -> Any:
    """Columns picked by their type, as scikit-learn's guide does."""
    columns = [
        ("c", ordinal(), make_column_selector(dtype_include=object)),
        ("n", "passthrough", make_column_selector(dtype_include=np.float32)),
    ]
    return make_pipeline(ColumnTransformer(columns), last)


def boosted(**options: Any) -> HistGradientBoostingRegressor:
    return HistGradientBoostingRegressor(max_iter=20, **options)


def logarithm(regressor: Any) -> TransformedTargetRegressor:
    return TransformedTargetRegressor(regressor, func=np.log, inverse_func=np.exp)


Build = Callable[[int], Any]
REGRESSORS: dict[str, Build] = {
    "linear": lambda _: scaled(LinearRegression()),
    "ridge": lambda _: scaled(Ridge()),
    "nearest neighbours": lambda _: scaled(KNeighborsRegressor()),
    "histogram boosting": lambda seed: encoded(boosted(random_state=seed)),
    "histogram boosting, columns by type": lambda seed: by_type(boosted(random_state=seed)),
    "random forest": lambda seed: encoded(RandomForestRegressor(10, random_state=seed)),
    "gradient boosting": lambda seed: encoded(GradientBoostingRegressor(n_estimators=20, random_state=seed)),
    "log target": lambda seed: logarithm(encoded(boosted(random_state=seed))),
    "log target inside": lambda _: scaled(logarithm(Ridge())),
    "log1p target": lambda seed: TransformedTargetRegressor(
        encoded(boosted(random_state=seed)), func=np.log1p, inverse_func=np.expm1
    ),
    "root target": lambda seed: TransformedTargetRegressor(
        encoded(boosted(random_state=seed)), func=np.sqrt, inverse_func=np.square
    ),
    "scaled target": lambda _: TransformedTargetRegressor(scaled(Ridge()), transformer=StandardScaler()),
    "plain target": lambda seed: TransformedTargetRegressor(encoded(boosted(random_state=seed))),
    "trend": lambda seed: TrendRegressor(
        encoded(boosted(random_state=seed)), time="sold_on", periods=(365.25,), random_state=seed
    ),
    "log of trend": lambda seed: logarithm(
        TrendRegressor(encoded(boosted(random_state=seed)), time="sold_on", random_state=seed)
    ),
    "vote of pipelines": lambda seed: VotingRegressor(
        [("linear", scaled(Ridge())), ("trees", encoded(boosted(random_state=seed)))]
    ),
    "search": lambda _: GridSearchCV(scaled(Ridge()), {"ridge__alpha": [0.1, 1.0]}, cv=2),
}
CLASSIFIERS: dict[str, Build] = {
    "logistic": lambda _: scaled(LogisticRegression(max_iter=500)),
    "bayes": lambda _: scaled(GaussianNB()),
    "network": lambda seed: scaled(MLPClassifier((4,), max_iter=1500, random_state=seed)),
    "histogram boosting": lambda seed: encoded(
        HistGradientBoostingClassifier(max_iter=20, random_state=seed)
    ),
    "random forest": lambda seed: encoded(RandomForestClassifier(10, random_state=seed)),
    "gradient boosting": lambda seed: encoded(GradientBoostingClassifier(n_estimators=20, random_state=seed)),
    "calibrated around a pipeline": lambda seed: CalibratedClassifierCV(
        encoded(HistGradientBoostingClassifier(max_iter=10, random_state=seed)), cv=2
    ),
    "calibrated inside": lambda seed: scaled(CalibratedClassifierCV(LinearSVC(random_state=seed), cv=2)),
    "calibrated forest": lambda seed: encoded(
        CalibratedClassifierCV(RandomForestClassifier(5, random_state=seed), cv=2, method="isotonic")
    ),
    "calibrated on all": lambda _: CalibratedClassifierCV(
        scaled(LogisticRegression(max_iter=500)), cv=2, ensemble=False
    ),
}


MUST_AGREE = {
    "regressor": {"ExtraTreesRegressor", "HuberRegressor", "LinearRegression", "MLPRegressor", "SVR"},
    "classifier": {"AdaBoostClassifier", "GaussianNB", "LogisticRegression", "QuadraticDiscriminantAnalysis"},
}
"""Of those that scikit-learn lists; what else agrees depends on its version and on that of skl2onnx."""


@pytest.mark.parametrize("name", REGRESSORS)
def test_regressors_answer_alike(name, tmp_path):
    rows = make_rows(House)
    system = system_of(House, "regression", REGRESSORS[name])

    parity = train_model(system, STRICT, rows, tmp_path, load_engine).parity

    assert parity.ok
    assert parity.worst_relative < 1e-4
    assert parity.rows > 3 * len(rows), "the real rows, those beside them, and those mixed"
    answers = load_engine(tmp_path).predict(rows.tensors)
    assert np.median(np.abs(answers / rows.label - 1)) < 0.5, "and it learned something"
    assert read_schema(tmp_path) == system.schema


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_answer_the_probability_of_one(name, tmp_path):
    rows = make_rows(House, "classification")
    system = system_of(House, "classification", CLASSIFIERS[name])

    parity = train_model(system, STRICT, rows, tmp_path, load_engine).parity

    assert parity.ok
    answers = load_engine(tmp_path).predict(rows.tensors)
    assert answers.min() >= 0
    assert answers.max() <= 1
    assert answers[rows.label == 1].mean() > answers[rows.label == 0].mean() + 0.3


@pytest.mark.parametrize(
    ("record", "build"),
    [
        (Plain, lambda _: make_pipeline(StandardScaler(), Ridge())),
        (Plain, lambda seed: boosted(random_state=seed)),
        (Plain, lambda seed: TrendRegressor(boosted(random_state=seed), time="sold_on", random_state=seed)),
        (Words, lambda _: make_pipeline(one_hot(), Ridge())),
        (Words, lambda _: make_pipeline(ColumnTransformer([("wall", ordinal(), ["wall"])]), boosted())),
        (
            Gaps,
            lambda _: make_pipeline(
                ColumnTransformer([("c", one_hot(), ["wall"])], remainder="passthrough"), boosted()
            ),
        ),
        (
            Gaps,
            lambda _: make_pipeline(
                ColumnTransformer([("c", one_hot(), ["wall"])], remainder=SimpleImputer()), Ridge()
            ),
        ),
    ],
    ids=["numbers", "numbers, bare", "numbers, trend", "words", "one word", "gaps", "gaps imputed"],
)
def test_records_of_every_shape(record, build, tmp_path):
    rows = make_rows(record)
    parity = train_model(system_of(record, "regression", build), STRICT, rows, tmp_path, load_engine).parity
    assert parity.ok


@pytest.mark.parametrize("build", [REGRESSORS["log of trend"], REGRESSORS["nearest neighbours"]])
def test_training_again_gives_the_same_bytes(build, tmp_path):
    rows = make_rows(House)
    system = system_of(House, "regression", build)
    for folder in ("first", "second"):
        train_model(system, STRICT, rows, tmp_path / folder, load_engine)
    names = {path.name for path in (tmp_path / "first").iterdir()}
    assert names == {ENGINE, MODEL, SKOPS, SCHEMA, REFERENCE}
    for name in names:
        first, second = (_sha(tmp_path / folder / name) for folder in ("first", "second"))
        assert first == second, name


def test_another_seed_gives_another_model(tmp_path):
    rows = make_rows(House)
    system = system_of(House, "regression", REGRESSORS["random forest"])
    for seed in (1, 2):
        params = PARAMS.model_copy(update={"seed": seed})
        train_model(system, params, rows, tmp_path / str(seed), load_engine)
    assert _sha(tmp_path / "1" / MODEL) != _sha(tmp_path / "2" / MODEL)


@pytest.mark.parametrize("kind", ["regressor", "classifier"])
@pytest.mark.filterwarnings("ignore")  # of estimators fitted on data that does not suit them
def test_no_estimator_of_scikit_learn_goes_wrong_silently(kind, tmp_path):
    """Every one that the installed version has: it agrees, or is refused with an error of ours."""
    task = "regression" if kind == "regressor" else "classification"
    rows = make_rows(Plain, task, count=120)
    rows = replace(rows, label=rows.label / rows.label.max())
    agreed, refused = set(), set()
    for name, make in all_estimators(kind):
        if any(parameter.default is parameter.empty for parameter in signature(make).parameters.values()):
            continue  # wraps another estimator and has no default for it
        options = {"n_estimators": 5} if hasattr(make(), "n_estimators") else {}
        trees = any(word in name for word in ("Tree", "Forest", "Boost", "Bagging"))
        estimator = make(**options) if trees else make_pipeline(StandardScaler(), make(**options))
        system = system_of(Plain, task, lambda _, estimator=estimator: estimator)
        try:
            train_model(system, STRICT, rows, tmp_path, load_engine)
            agreed.add(name)
        except LifecycleError:
            refused.add(name)
    assert agreed >= MUST_AGREE[kind]
    assert len(agreed | refused) >= 35


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
