"""Conversion: what our converters compute, and names that must not collide."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import onnxruntime
import pytest
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from lifecycle.core.errors import ConfigError
from lifecycle.core.record import Record
from lifecycle.core.roles import EventTime, Feature, Label, RecordId
from lifecycle.core.rows import Tensors
from lifecycle.serving.engine import load_engine
from lifecycle.training.convert import to_onnx
from lifecycle.training.fit import fit
from lifecycle.training.frame import to_frame
from lifecycle.training.kernels import is_row_by_row
from lifecycle.training.parity import predict
from lifecycle.training.trend import ObliqueAxes, TrendRegressor
from tests.training.training_cases import PARAMS, STRICT, House, Plain, make_rows, system_of, train_model


def run(model: onnx.ModelProto, tensors: Tensors) -> Any:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    packed = {"numbers": tensors.numbers, "categories": tensors.categories}
    return session.run(None, {node.name: packed[node.name] for node in session.get_inputs()})[0]


class Awkward(Record):
    """Features named as the packed inputs, the output and inner results are."""

    record: Annotated[str, RecordId()]
    when: Annotated[date, EventTime()]
    numbers: Annotated[float, Feature()]
    prediction: Annotated[float, Feature()]
    variable: Annotated[float, Feature()]
    categories: Annotated[str, Feature()]
    label: Annotated[float, Label()]


def test_features_may_be_named_like_anything_inside(tmp_path):
    rows = make_rows(House)
    renamed = Tensors(rows.tensors.numbers[:, :3], rows.tensors.categories[:, :1])
    rows = type(rows)(rows.ids, rows.event_time, renamed, rows.label, rows.weight)
    encode = ColumnTransformer(
        [("c", OneHotEncoder(handle_unknown="ignore"), ["categories"])], remainder=StandardScaler()
    )
    system = system_of(Awkward, "regression", lambda _: make_pipeline(encode, Ridge()))
    assert train_model(system, STRICT, rows, tmp_path, load_engine).parity.ok
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert {value.name for value in graph.input} == {"categories", "numbers"}


def test_a_feature_that_the_model_drops_is_still_an_input(tmp_path):
    """The engine sends all features of the schema; it must not need to know which of them are used."""
    only_area = ColumnTransformer([("area", "passthrough", ["area"])], remainder="drop")
    system = system_of(House, "regression", lambda _: make_pipeline(only_area, Ridge()))
    rows = make_rows(House)
    assert train_model(system, STRICT, rows, tmp_path, load_engine).parity.ok
    assert load_engine(tmp_path).inputs == {"numbers", "categories"}


def test_text_that_no_column_transformer_tells_apart_is_refused():
    class Flexible(Ridge):
        """Takes the numbers and leaves the text, without saying so."""

        def fit(self, X, y):
            return super().fit(X.select_dtypes("number"), y)

    system = system_of(House, "regression", lambda _: None)
    rows = make_rows(House)
    model = Flexible().fit(*_frame(system, rows))
    with pytest.raises(ConfigError, match=r"numbers and categories \(wall, district\)") as caught:
        to_onnx(model, system, rows.tensors)
    assert "ColumnTransformer" in caught.value.hint


def test_one_process_converts_twice_to_the_same_bytes():
    """skl2onnx counts some names through the whole process."""
    rows = make_rows(Plain)
    system = system_of(Plain, "regression", lambda _: make_pipeline(StandardScaler(), KNeighborsRegressor()))
    model = fit(system, PARAMS, rows)
    first, second = (to_onnx(model, system, rows.tensors).SerializeToString() for _ in range(2))
    assert first == second


def test_processes_that_order_sets_differently_convert_to_the_same_bytes():
    code = """
import hashlib
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder
from tests.training.training_cases import House, PARAMS, STRICT, make_rows, system_of, train_model
from lifecycle.training.convert import to_onnx
from lifecycle.training.fit import fit
rows = make_rows(House)
words = ("words", OneHotEncoder(), ["wall"])
encode = ColumnTransformer([words, ("numbers", "passthrough", ["area", "floors"])])
system = system_of(House, "regression", lambda seed: make_pipeline(encode, Ridge()))
model = to_onnx(fit(system, PARAMS, rows), system, rows.tensors)
print(hashlib.sha256(model.SerializeToString()).hexdigest())
"""
    root = Path(__file__).parents[2]
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=root,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3", "4")
    }
    assert len(digests) == 1


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("inner", [LogisticRegression(), HistGradientBoostingClassifier(max_iter=5)])
def test_calibration_interpolates_as_scikit_learn_does(method, inner):
    rows = make_rows(Plain, "classification", count=300)
    model = CalibratedClassifierCV(make_pipeline(StandardScaler(), inner), cv=2, method=method)
    system = system_of(Plain, "classification", lambda _: model)
    fitted = fit(system, PARAMS, rows)
    onnx_model = to_onnx(fitted, system, rows.tensors)
    # Off the knots of the training scores, where the nearest step would be far from the line between two.
    between = Tensors((rows.tensors.numbers[:-1] + rows.tensors.numbers[1:]) / 2, rows.tensors.categories[1:])
    assert np.allclose(run(onnx_model, between), predict(fitted, system, between), atol=2e-4)


def test_a_calibration_without_an_onnx_form_is_refused():
    model = CalibratedClassifierCV(LogisticRegression(), cv=2, method="temperature")
    system = system_of(Plain, "classification", lambda _: make_pipeline(StandardScaler(), model))
    rows = make_rows(Plain, "classification")
    with pytest.raises(ConfigError, match=r"method='temperature'.*no ONNX form"):
        to_onnx(fit(system, PARAMS, rows), system, rows.tensors)


def test_probabilities_stay_within_zero_and_one():
    rows = make_rows(Plain, "classification")
    system = system_of(
        Plain, "classification", lambda _: HistGradientBoostingClassifier(max_iter=300, learning_rate=1.0)
    )
    answers = run(to_onnx(fit(system, PARAMS, rows), system, rows.tensors), rows.tensors)
    assert (answers.min() >= 0, answers.max() <= 1) == (True, True)


def test_a_target_transformation_without_an_onnx_form_is_refused():
    model = TransformedTargetRegressor(Ridge(), func=np.cbrt, inverse_func=lambda value: value**3)
    rows = make_rows(Plain)
    system = system_of(Plain, "regression", lambda _: model)
    with pytest.raises(ConfigError, match="has no ONNX form") as caught:
        to_onnx(fit(system, PARAMS, rows), system, rows.tensors)
    assert "np.exp" in caught.value.hint


def test_a_trend_behind_another_step_is_refused():
    model = make_pipeline(
        StandardScaler().set_output(transform="pandas"), TrendRegressor(Ridge(), time="sold_on")
    )
    rows = make_rows(Plain)
    system = system_of(Plain, "regression", lambda _: model)
    with pytest.raises(ConfigError, match="reads the column 'sold_on' by name") as caught:
        to_onnx(fit(system, PARAMS, rows), system, rows.tensors)
    assert "outermost step" in caught.value.hint


def test_an_option_without_a_converter_is_told():
    model = make_pipeline(FunctionTransformer(np.arctan), Ridge())
    rows = make_rows(Plain)
    system = system_of(Plain, "regression", lambda _: model)
    with pytest.raises(ConfigError, match="the model cannot be converted to ONNX: RuntimeError at") as caught:
        to_onnx(fit(system, PARAMS, rows), system, rows.tensors)
    assert "FunctionTransformer is not supported" in caught.value.message


class Doubled(RegressorMixin, BaseEstimator):
    """A user's own estimator: twice the sum of a row."""

    def fit(self, X, _y):
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X):
        return 2 * np.asarray(X, dtype=np.float64).sum(axis=1)


def test_a_users_own_converter_and_type(tmp_path):
    def shape(operator):
        operator.outputs[0].type = FloatTensorType([None, 1])

    def convert(scope, operator, container):
        total = scope.get_unique_variable_name("total")
        container.add_node(
            "ReduceSum", [operator.inputs[0].full_name, _axis(container)], total, op_version=13
        )
        container.add_node("Add", [total, total], operator.outputs[0].full_name, op_version=14)

    def _axis(container):
        container.add_initializer("axis", onnx.TensorProto.INT64, [1], [1])
        return "axis"

    update_registered_converter(Doubled, "TestDoubled", shape, convert)
    rows = make_rows(Plain)
    named = f"{Doubled.__module__}.Doubled"
    refused = system_of(Plain, "regression", lambda _: Doubled())
    with pytest.raises(ConfigError, match="types that nobody reviewed") as caught:
        train_model(refused, STRICT, rows, tmp_path, load_engine)
    assert named in caught.value.hint
    trusted = system_of(Plain, "regression", lambda _: Doubled(), trusted_types=(named,))
    assert train_model(trusted, STRICT, rows, tmp_path, load_engine).parity.ok


def test_the_trees_of_one_fit_are_left_as_they_are():
    rows = make_rows(Plain)
    system = system_of(Plain, "regression", lambda _: HistGradientBoostingRegressor(max_iter=5))
    model = fit(system, PARAMS, rows)
    before = model._predictors[0][0].nodes.copy()
    to_onnx(model, system, rows.tensors)
    assert np.array_equal(before, model._predictors[0][0].nodes)


def _frame(system, rows):
    return to_frame(system.schema, rows.tensors), rows.label


@pytest.mark.parametrize(
    ("build", "row_by_row"),
    [
        (lambda: HistGradientBoostingRegressor(max_iter=50), True),
        (lambda: RandomForestRegressor(90, random_state=0), True),
        (lambda: TrendRegressor(by_wall(), time="sold_on", periods=(365.25, 7.0), random_state=0), True),
        (lambda: make_pipeline(ObliqueAxes(), HistGradientBoostingRegressor(max_iter=50)), True),
        (lambda: make_pipeline(StandardScaler(), Ridge()), False),
    ],
    ids=["boosting", "forest", "trend and words", "axes", "a matrix product"],
)
def test_one_row_is_asked_alone_only_where_that_cannot_change_its_answer(build, row_by_row, tmp_path):
    """Kernels of matrix products differ for one row and for many; trees have one way to be walked."""
    model = build()
    record = House if isinstance(model, TrendRegressor) else Plain
    rows = make_rows(record, count=2000)
    if isinstance(model, Pipeline) and isinstance(model[0], ObliqueAxes):
        rows = replace(rows, tensors=Tensors(rows.tensors.numbers[:, 1:], rows.tensors.categories))
        record = Flat
    system = system_of(record, "regression", lambda _: model)
    train_model(system, STRICT, rows, tmp_path, load_engine)
    assert is_row_by_row(onnx.load(tmp_path / "model.onnx")) is row_by_row

    engine = load_engine(tmp_path)
    together = engine.predict(rows.tensors)
    alone = [engine.predict(rows.tensors.take(slice(i, i + 1)))[0] for i in range(len(rows))]
    assert together.tolist() == alone


class Flat(Record):
    """Two coordinates."""

    flat_id: Annotated[str, RecordId()]
    sold_on: Annotated[date, EventTime()]
    area: Annotated[float, Feature()]
    floors: Annotated[float, Feature()]
    price: Annotated[float, Label()]


def by_wall() -> Any:
    words = ("words", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["wall", "district"])
    encode = ColumnTransformer([words], remainder="passthrough")
    return make_pipeline(encode, HistGradientBoostingRegressor(max_iter=50, random_state=0))
