"""Fitting: weights reach the estimator, and whatever goes wrong is told without telling a record's values."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import BaggingRegressor, HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from lifecycle.core.errors import ConfigError, ParityError, StageError, StorageError
from lifecycle.core.record import schema_of
from lifecycle.core.release import MODEL
from lifecycle.serving.engine import load_engine
from lifecycle.training.convert import TARGET_OPSET
from lifecycle.training.fit import fit
from lifecycle.training.frame import to_frame
from lifecycle.training.parity import predict
from lifecycle.training.trend import TrendRegressor
from lifecycle.training.weights import weight_parameter
from tests.training.training_cases import (
    PARAMS,
    STRICT,
    House,
    Plain,
    make_rows,
    system_of,
    train_model,
    weighted,
)


class Spy(RegressorMixin, BaseEstimator):
    """Keeps what its fit was given."""

    seen: ClassVar[dict[str, Any]] = {}

    def fit(self, X, y, sample_weight=None):
        Spy.seen = {"X": X, "y": y, "sample_weight": sample_weight, "draw": np.random.random()}
        self.mean_ = float(np.mean(y))
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


def pipeline(last: Any) -> Any:
    encode = ColumnTransformer(
        [("c", OneHotEncoder(handle_unknown="ignore"), ["wall", "district"])], remainder="passthrough"
    )
    return make_pipeline(encode, last)


def test_the_estimator_sees_what_the_engine_will_see():
    rows = make_rows(House)
    system = system_of(House, "regression", lambda _: Spy())
    fit(system, PARAMS, rows)
    frame = Spy.seen["X"]
    assert list(frame.columns) == ["sold_on", "area", "floors", "garden", "wall", "district"]
    assert {str(kind) for kind in frame.dtypes[:4]} == {"float32"}
    assert {str(kind) for kind in frame.dtypes[4:]} == {"object"}
    assert np.array_equal(frame.iloc[:, :4].to_numpy(), rows.tensors.numbers)
    assert np.array_equal(frame.iloc[:, 4:].to_numpy(), rows.tensors.categories)


def test_weights_are_handed_on_only_when_they_say_something():
    rows = make_rows(Plain)
    system = system_of(Plain, "regression", lambda _: Spy())
    fit(system, PARAMS, rows)
    assert Spy.seen["sample_weight"] is None
    fit(system, PARAMS, weighted(rows))
    assert np.array_equal(Spy.seen["sample_weight"], weighted(rows).weight)


@pytest.mark.parametrize(
    ("estimator", "parameter"),
    [
        (Ridge(), "sample_weight"),
        (make_pipeline(StandardScaler(), Ridge()), "ridge__sample_weight"),
        (make_pipeline(StandardScaler(), make_pipeline(Ridge())), "pipeline__ridge__sample_weight"),
        (TransformedTargetRegressor(), "sample_weight"),
        (TransformedTargetRegressor(Ridge()), "sample_weight"),
        (TransformedTargetRegressor(make_pipeline(StandardScaler(), Ridge())), "ridge__sample_weight"),
        (
            make_pipeline(StandardScaler(), TransformedTargetRegressor(Ridge())),
            "transformedtargetregressor__",
        ),
        (GridSearchCV(make_pipeline(Ridge()), {}), "ridge__sample_weight"),
        (TrendRegressor(make_pipeline(Ridge()), time="day"), "sample_weight"),
        (CalibratedClassifierCV(LogisticRegression()), "sample_weight"),
        (BaggingRegressor(Ridge()), "sample_weight"),
        (CalibratedClassifierCV(make_pipeline(LogisticRegression())), None),
        (BaggingRegressor(KNeighborsRegressor()), None),
        (KNeighborsRegressor(), None),
        (make_pipeline(StandardScaler(), KNeighborsRegressor()), None),
        (TransformedTargetRegressor(KNeighborsRegressor()), None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseEstimator) else str(value),
)
def test_where_weights_go(estimator, parameter):
    found = weight_parameter(estimator)
    assert found == parameter or (parameter and found and found.startswith(parameter))


@pytest.mark.parametrize(
    "build",
    [
        lambda _: pipeline(LinearRegression()),
        lambda _: TransformedTargetRegressor(pipeline(LinearRegression()), func=np.log, inverse_func=np.exp),
        lambda seed: TransformedTargetRegressor(
            TrendRegressor(pipeline(LinearRegression()), time="sold_on", random_state=seed),
            func=np.log,
            inverse_func=np.exp,
        ),
    ],
    ids=["pipeline", "transformed target", "trend"],
)
def test_weights_change_the_model(build, tmp_path):
    """Sales of 1995 count as nothing: the weighted model is that of the later sales alone."""
    rows = make_rows(House)
    late = rows.event_time >= np.datetime64("1996-01-01")
    system = system_of(House, "regression", build)
    half = replace(rows, weight=np.where(late, 1.0, 1e-9))
    parity = train_model(system, STRICT, half, tmp_path, load_engine).parity
    assert parity.ok
    of_weighted = load_engine(tmp_path).predict(rows.tensors)
    of_all = predict(fit(system, PARAMS, rows), system, rows.tensors)
    of_late = predict(fit(system, PARAMS, rows.take(late)), system, rows.tensors)
    assert np.abs(of_weighted / of_late - 1).mean() < 0.5 * np.abs(of_weighted / of_all - 1).mean()


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda _: pipeline(KNeighborsRegressor()), "KNeighborsRegressor"),
        (lambda _: TransformedTargetRegressor(pipeline(KNeighborsRegressor())), "KNeighborsRegressor"),
    ],
)
def test_an_estimator_without_weights_is_refused_when_weights_are_asked(build, named):
    system = system_of(House, "regression", build)
    with pytest.raises(ConfigError, match=rf"^{named} cannot use row weights") as caught:
        fit(system, PARAMS, weighted(make_rows(House)))
    assert "half_life_days" in caught.value.hint
    fit(system, PARAMS, make_rows(House))


def test_weights_that_a_calibration_would_half_ignore_are_refused():
    build = lambda _: CalibratedClassifierCV(pipeline(HistGradientBoostingClassifier()))  # noqa: E731
    with pytest.raises(ConfigError, match="CalibratedClassifierCV cannot use row weights") as caught:
        fit(system_of(House, "classification", build), PARAMS, weighted(make_rows(House, "classification")))
    assert "goes inside, as last step" in caught.value.hint


def test_the_global_seed_is_set_and_given_back():
    np.random.seed(99)
    expected = np.random.random()
    np.random.seed(99)
    draws = []
    for _ in range(2):
        fit(system_of(Plain, "regression", lambda _: Spy()), PARAMS, make_rows(Plain))
        draws.append(Spy.seen["draw"])
    assert draws[0] == draws[1]
    assert np.random.random() == expected


def test_one_instance_handed_out_twice_is_never_fitted_itself():
    shared = Ridge()
    fit(system_of(Plain, "regression", lambda _: shared), PARAMS, make_rows(Plain))
    assert not hasattr(shared, "coef_")


class Careless(RegressorMixin, BaseEstimator):
    """Prints a row in its own error, as people do."""

    def fit(self, X, y):
        raise ValueError(f"cannot use {X['district'].iloc[0]} with {y[0]} for 'area'")


def test_an_error_in_the_users_code_shows_its_line_and_no_values():
    rows = make_rows(House)
    with pytest.raises(StageError) as caught:
        fit(system_of(House, "regression", lambda _: Careless()), PARAMS, rows)
    message = str(caught.value)
    assert "ValueError at training/test_training_fit.py:" in message
    assert "cannot use … … with … for 'area'" in message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("estimator", "told"),
    [
        (make_pipeline(StandardScaler(), Ridge()), "could not convert string to float: …"),
        (object(), "Cannot clone object …"),
    ],
    ids=["text in numbers", "no estimator"],
)
def test_an_error_of_scikit_learn_is_told_without_values(estimator, told):
    with pytest.raises(StageError) as caught:
        fit(system_of(House, "regression", lambda _: estimator), PARAMS, make_rows(House))
    assert told in caught.value.message


def test_build_model_that_fails():
    def build(seed: int) -> Any:
        raise KeyError("brick")

    with pytest.raises(StageError, match=r"KeyError at training/test_training_fit\.py:\d+: …"):
        fit(system_of(House, "regression", build), PARAMS, make_rows(House))


def test_a_label_of_one_class_is_refused():
    rows = make_rows(House, "classification")
    rows = replace(rows, label=np.ones(len(rows)))
    system = system_of(House, "classification", lambda _: pipeline(LogisticRegression()))
    with pytest.raises(ConfigError, match="hold only one class"):
        fit(system, PARAMS, rows)
    with pytest.raises(ConfigError, match="hold 2 classes other than 0 and 1"):
        fit(system, PARAMS, replace(rows, label=np.arange(len(rows)) % 2 + 1.0))


def test_an_estimator_of_the_other_task_is_refused():
    with pytest.raises(ConfigError, match="LinearSVC gives no probabilities"):
        fit(
            system_of(Plain, "classification", lambda _: LinearSVC()),
            PARAMS,
            make_rows(Plain, "classification"),
        )
    with pytest.raises(ConfigError, match="KNeighborsClassifier is a classifier"):
        fit(system_of(Plain, "regression", lambda _: KNeighborsClassifier()), PARAMS, make_rows(Plain))


class Lies(ClassifierMixin, BaseEstimator):
    """Has no converter to ONNX."""

    def fit(self, _X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.full((len(X), 2), 0.5)


def test_an_estimator_without_a_converter_is_named(tmp_path):
    system = system_of(Plain, "classification", lambda _: Lies())
    with pytest.raises(ConfigError, match=r"\.Lies has no converter to ONNX") as caught:
        train_model(system, STRICT, make_rows(Plain, "classification"), tmp_path, load_engine)
    assert "update_registered_converter" in caught.value.hint


def test_a_failed_gate_leaves_no_reference_and_names_the_row(tmp_path):
    rows = make_rows(Plain)

    class Wrong:
        """An engine that is one percent off on one row."""

        def predict(self, tensors):
            answers = load_engine(tmp_path).predict(tensors)
            row = (tensors.numbers == rows.tensors.numbers[17]).all(axis=1)
            return np.where(row, answers * 1.01, answers)

    system = system_of(Plain, "regression", lambda _: make_pipeline(StandardScaler(), Ridge()))
    with pytest.raises(ParityError, match=r"row r17: scikit-learn answers .*, ONNX .* difference 0\.01,"):
        train_model(system, STRICT, rows, tmp_path, lambda _: Wrong())
    assert not (tmp_path / "reference.json").exists()


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "model").write_text("a file where a folder should be")
    system = system_of(Plain, "regression", lambda _: Ridge())
    with pytest.raises(StorageError, match=r"cannot write the model to .*: File exists"):
        train_model(system, STRICT, make_rows(Plain), tmp_path / "model", load_engine)


def test_metadata_of_the_model_names_system_and_schema(tmp_path):
    system = system_of(Plain, "regression", lambda _: make_pipeline(StandardScaler(), Ridge()))
    train_model(system, STRICT, make_rows(Plain), tmp_path, load_engine)
    model = onnx.load(tmp_path / MODEL)
    assert {item.key: item.value for item in model.metadata_props} == {
        "lifecycle.system": "test-system",
        "lifecycle.schema": system.schema.digest,
        "lifecycle.row_by_row": "no",
    }
    assert {item.domain: item.version for item in model.opset_import}[""] == TARGET_OPSET[""]
    assert json.loads((tmp_path / "schema.json").read_text())["name"] == "Plain"
    assert [value.name for value in model.graph.output] == ["prediction"]


def test_the_frame_of_no_rows_keeps_its_types():
    rows = make_rows(House)
    frame = to_frame(schema_of(House), rows.tensors.take(slice(0, 0)))
    assert frame.dtypes.astype(str).tolist() == ["float32"] * 4 + ["object"] * 2
