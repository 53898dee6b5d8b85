"""Which engine serves: ONNX where it answers alike; otherwise the estimator itself, or nothing."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, PowerTransformer, StandardScaler

from lifecycle.core.errors import ConfigError, ConversionError, ParityError
from lifecycle.core.release import read_engine
from lifecycle.serving.engine import load_engine
from lifecycle.training.persist import load_estimator
from tests.training.training_cases import PARAMS, STRICT, House, Plain, make_rows, system_of, train_model


class Medians(RegressorMixin, BaseEstimator):
    """A user's own estimator, which nobody wrote a converter for: the median price of as many floors."""

    def fit(self, X, y):
        floors = X["floors"].to_numpy()
        self.floors_ = np.unique(floors)
        self.medians_ = np.array([np.median(y[floors == floor]) for floor in self.floors_])
        return self

    def predict(self, X):
        return np.interp(X["floors"].to_numpy(), self.floors_, self.medians_)


class Undecided(Medians):
    """Knows no answer for large houses."""

    def predict(self, X):
        return np.where(X["area"] > X["area"].quantile(0.9), np.nan, super().predict(X))


class Relative(Medians):
    """Compares a house with those it is asked beside."""

    def predict(self, X):
        return super().predict(X) * X["area"].to_numpy() / X["area"].mean()


def taxicab(one, other):
    return np.abs(one - other).sum()


def named(kind):
    return f"{kind.__module__}.{kind.__name__}"


def own(kind):
    return system_of(Plain, "regression", lambda _: kind(), trusted_types=(named(kind),))


def categorical():
    encode = ColumnTransformer(
        [("c", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan), ["wall"])],
        remainder="drop",
    )
    return make_pipeline(encode, HistGradientBoostingRegressor(categorical_features=[0], max_iter=5))


CASES = {
    "an estimator without converter": (lambda: own(Medians), Plain, "Medians has no converter to ONNX"),
    "a metric of the user's": (
        lambda: system_of(
            Plain,
            "regression",
            lambda _: KNeighborsRegressor(3, metric=taxicab),
            trusted_types=(named(taxicab), "sklearn.metrics._dist_metrics.PyFuncDistance64"),
        ),
        Plain,
        "the model cannot be converted to ONNX",
    ),
    "a conversion that answers otherwise": (
        lambda: system_of(House, "regression", lambda _: categorical()),
        House,
        "its answers would be wrong without any error",
    ),
    "rounding that crosses thresholds": (
        lambda: system_of(
            Plain,
            "regression",
            lambda _: make_pipeline(PowerTransformer(), HistGradientBoostingRegressor(random_state=0)),
        ),
        Plain,
        "PowerTransformer stands in front of trees",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_onnx_does_not_answer_alike_serves_itself_and_says_why(case, tmp_path):
    build, record, why = CASES[case]
    system, rows = build(), make_rows(record, count=2000 if "rounding" in case else 300)
    choice = train_model(system, PARAMS, rows, tmp_path, load_engine)
    assert (choice.engine, choice.parity) == ("skops", None)
    assert why in choice.reason
    assert "\n" not in choice.reason
    assert not any(str(name) in choice.reason.split() for name in rows.ids), "anybody may read the reason"
    assert choice == read_engine(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"engine.json", "model.skops", "schema.json", "reference.json"}
    assert load_estimator(tmp_path, choice.trusted_types) is not None


@pytest.mark.parametrize("change", [{"engine": "onnx"}, {"target": "edge"}, {"target": "browser"}])
def test_where_onnx_must_answer_it_is_refused(change, tmp_path):
    requirements = PARAMS.requirements.model_copy(update=change)
    params = PARAMS.model_copy(update={"requirements": requirements})
    with pytest.raises(ConversionError, match="Medians has no converter to ONNX") as caught:
        train_model(own(Medians), params, make_rows(Plain), tmp_path, load_engine)
    assert "update_registered_converter" in caught.value.hint
    assert not (tmp_path / "engine.json").exists()
    assert not (tmp_path / "reference.json").exists()


def test_an_engine_that_answers_otherwise_leaves_no_onnx_model(tmp_path):
    class Wrong:
        def predict(self, tensors):
            return load_engine(tmp_path).predict(tensors) * 1.01

    system = system_of(Plain, "regression", lambda _: make_pipeline(StandardScaler(), Ridge()))
    choice = train_model(system, PARAMS, make_rows(Plain), tmp_path, lambda _: Wrong())
    assert choice.reason.startswith(
        "ONNX does not answer as the estimator does: a relative difference of 0.0"
    )
    assert not (tmp_path / "model.onnx").exists()
    with pytest.raises(ParityError, match="scikit-learn answers"):
        train_model(system, STRICT, make_rows(Plain), tmp_path, lambda _: Wrong())


def test_a_model_of_a_run_before_is_not_left_beside_the_new_one(tmp_path):
    rows = make_rows(Plain)
    convertible = system_of(Plain, "regression", lambda _: make_pipeline(StandardScaler(), Ridge()))
    assert train_model(convertible, PARAMS, rows, tmp_path, load_engine).engine == "onnx"
    assert train_model(own(Medians), PARAMS, rows, tmp_path, load_engine).engine == "skops"
    assert not (tmp_path / "model.onnx").exists()
    assert train_model(convertible, PARAMS, rows, tmp_path, load_engine).engine == "onnx"
    assert read_engine(tmp_path).parity.ok


def test_an_estimator_that_serves_itself_always_answers_with_a_number(tmp_path):
    with pytest.raises(ConfigError, match="the values of training with no number"):
        train_model(own(Undecided), PARAMS, make_rows(Plain), tmp_path, load_engine)


def test_an_estimator_that_serves_itself_answers_each_row_by_itself(tmp_path):
    """Requests are put together on their way to it: they must not hear of each other."""
    with pytest.raises(ConfigError, match="otherwise if it is asked with other rows"):
        train_model(own(Relative), PARAMS, make_rows(Plain), tmp_path, load_engine)
