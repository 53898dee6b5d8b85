"""The parity gate: it lets good conversions pass, and stops the ones that are known to go wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from sklearn.compose import ColumnTransformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, PowerTransformer, StandardScaler

from lifecycle.core.errors import ConfigError, ParityError
from lifecycle.core.record import schema_of
from lifecycle.core.rows import Tensors
from lifecycle.serving.engine import load_engine
from lifecycle.training import fit
from lifecycle.training.frame import to_frame
from lifecycle.training.guards import with_float32_thresholds
from lifecycle.training.parity import compare, predict, relative_difference
from lifecycle.training.persist import load_estimator
from lifecycle.training.probes import make_probes
from lifecycle.training.thresholds import thresholds_of
from tests.training.training_cases import (
    COMPARED_ROWS,
    PARAMS,
    STRICT,
    Gaps,
    House,
    Plain,
    make_rows,
    system_of,
    train_model,
)


def boosted() -> Any:
    return HistGradientBoostingRegressor(max_iter=100, random_state=0)


def test_a_transformer_in_front_of_trees_is_caught_and_named(tmp_path):
    rows = make_rows(Plain, count=5000)
    system = system_of(Plain, "regression", lambda _: make_pipeline(PowerTransformer(), boosted()))
    with pytest.raises(ParityError, match="scikit-learn answers") as caught:
        train_model(system, STRICT, rows, tmp_path, load_engine)
    assert "PowerTransformer stands in front of trees" in caught.value.hint
    assert "remove it" in caught.value.hint


def test_a_converter_that_is_wrong_is_caught(tmp_path):
    """skl2onnx answers other probabilities than scikit-learn for this one."""
    rows = make_rows(Plain, "classification")
    system = system_of(
        Plain, "classification", lambda _: make_pipeline(StandardScaler(), LinearDiscriminantAnalysis())
    )
    with pytest.raises(ParityError, match="scikit-learn answers") as caught:
        train_model(system, STRICT, rows, tmp_path, load_engine)
    assert "step by step" in caught.value.hint


def test_categorical_splits_are_refused_before_they_convert_wrongly(tmp_path):
    encode = ColumnTransformer(
        [("c", OrdinalEncoder(), ["wall", "district"])],
        remainder="passthrough",
        verbose_feature_names_out=False,
    )
    trees = HistGradientBoostingRegressor(categorical_features=[0, 1], max_iter=5)
    system = system_of(House, "regression", lambda _: make_pipeline(encode, trees))
    with pytest.raises(ConfigError, match=r"\(categorical_features=\.\.\.\) does not survive") as caught:
        train_model(system, STRICT, make_rows(House), tmp_path, load_engine)
    assert "OneHotEncoder" in caught.value.hint


def test_thresholds_between_neighbouring_float32_values_stay_on_their_side(tmp_path):
    """Where float32 values lie side by side, a threshold rounded to the nearest would join two leaves."""
    rows = make_rows(Plain, count=2000)
    numbers = rows.tensors.numbers.copy()
    random = np.random.default_rng(1)
    steps = random.integers(0, 40, len(rows))
    numbers[:, 1] = np.float32(16_777_216) + 2 * steps  # here float32 knows even numbers only
    label = 100.0 + random.permutation(40)[steps]
    rows = replace(rows, tensors=Tensors(numbers, rows.tensors.categories), label=label)
    system = system_of(Plain, "regression", lambda _: boosted())
    assert train_model(system, STRICT, rows, tmp_path, load_engine).parity.ok


def test_rounding_thresholds_changes_no_answer():
    rows = make_rows(Plain, count=3000)
    system = system_of(Plain, "regression", lambda _: boosted())
    model = boosted().fit(rows.tensors.numbers, rows.label)
    rounded = with_float32_thresholds(model)
    for probe in make_probes(system.schema, rows, seed=0):
        assert np.array_equal(model.predict(probe.tensors.numbers), rounded.predict(probe.tensors.numbers))
    thresholds = rounded._predictors[0][0].nodes["num_threshold"]
    assert np.array_equal(thresholds, thresholds.astype(np.float32))


@pytest.mark.parametrize(
    ("encoder", "told"),
    [
        (OneHotEncoder(sparse_output=False), "wall='plastic', never seen in training"),
        (OrdinalEncoder(), "wall='plastic', never seen in training"),
    ],
    ids=["one-hot", "ordinal"],
)
def test_a_declared_choice_that_training_never_saw_must_not_stop_the_endpoint(encoder, told, tmp_path):
    rows = make_rows(House)
    rows = rows.take(rows.tensors.categories[:, 0] != "plastic")
    build = lambda _: make_pipeline(  # noqa: E731
        ColumnTransformer([("c", encoder, ["wall"])], remainder="drop"), Ridge()
    )
    with pytest.raises(ConfigError, match="does not answer a row with") as caught:
        train_model(system_of(House, "regression", build), STRICT, rows, tmp_path, load_engine)
    assert told in caught.value.message
    assert "handle_unknown" in caught.value.hint


def test_a_missing_number_that_the_record_allows_must_be_answered(tmp_path):
    rows = make_rows(Gaps)
    whole = rows.take(~np.isnan(rows.tensors.numbers).any(axis=1) & (rows.tensors.categories[:, 0] != ""))
    encode = ColumnTransformer(
        [("c", OneHotEncoder(handle_unknown="ignore"), ["wall"])], remainder=StandardScaler()
    )
    system = system_of(Gaps, "regression", lambda _: make_pipeline(encode, Ridge()))
    with pytest.raises(ConfigError, match="does not answer a row with area missing: ValueError") as caught:
        train_model(system, STRICT, whole, tmp_path, load_engine)
    assert "impute" in caught.value.hint


def test_what_the_probes_are():
    rows = make_rows(Gaps)
    whole = rows.take(
        ~np.isnan(rows.tensors.numbers).any(axis=1) & (rows.tensors.categories[:, 0] == "brick")
    )
    real, stepped, mixed, *unseen = make_probes(schema_of(Gaps), whole, seed=0)

    assert np.array_equal(real.tensors.numbers, whole.tensors.numbers)
    difference = np.abs(stepped.tensors.numbers - real.tensors.numbers)
    assert (difference[:, 0] <= np.spacing(real.tensors.numbers[:, 0])).all()
    assert (difference[:, 0] > 0).mean() > 0.5, "the area moves"
    assert not difference[:, 1:].any(), "a whole number, a boolean and a date do not"
    for column in range(4):
        assert set(mixed.tensors.numbers[:, column]) <= set(stepped.tensors.numbers[:, column])
    assert len(real.tensors) + len(stepped.tensors) + len(mixed.tensors) == 100_000
    assert [probe.what for probe in unseen] == [
        "area missing",
        "floors missing",
        "garden missing",
        "renovated_on missing",
        "wall='wood stone', never seen in training",
        "wall='plastic', never seen in training",
        "wall missing",
    ]


def test_free_text_will_bring_words_that_nobody_has_seen():
    *_, unseen = make_probes(schema_of(House), make_rows(House), seed=0)
    assert unseen.what == "district of a word never seen in training"


def test_many_rows_are_sampled():
    rows = make_rows(Plain, count=100)
    rows = rows.take(np.arange(150_000) % 100)
    real, stepped, mixed = make_probes(schema_of(Plain), rows, seed=0)
    assert [len(probe.tensors) for probe in (real, stepped, mixed)] == [100_000, 20_000, 20_000]


def test_few_rows_are_mixed_until_there_are_a_hundred_thousand(tmp_path):
    rows = make_rows(Plain)
    system = system_of(Plain, "regression", lambda _: boosted())
    parity = fit.train_model(system, STRICT, rows, tmp_path, load_engine).parity
    assert parity.rows == 100_000


def test_rows_stand_at_every_threshold_and_one_step_on_either_side(tmp_path):
    rows = make_rows(Plain)
    schema = schema_of(Plain)
    train_model(system_of(Plain, "regression", lambda _: boosted()), STRICT, rows, tmp_path, load_engine)
    thresholds = thresholds_of(onnx.load(tmp_path / "model.onnx"))
    _real, _stepped, placed, _mixed = make_probes(schema, rows, seed=0, thresholds=thresholds)
    area, floors = schema.numbers.index("area"), schema.numbers.index("floors")
    seen = rows.tensors.numbers[:, area]
    inside = thresholds[(thresholds > seen.min()) & (thresholds < seen.max())]
    assert len(inside) > 50
    steps = [np.nextafter(inside, np.float32(end)) for end in (-np.inf, np.inf)]
    for wanted in (inside, *steps):
        assert np.isin(wanted, placed.tensors.numbers[:, area]).all()
    assert np.array_equal(np.unique(placed.tensors.numbers[:, floors]), [1, 2, 3]), "whole numbers stay whole"
    moved = placed.tensors.numbers != rows.tensors.numbers[[int(name[1:]) for name in placed.ids]]
    assert 0.3 < moved[:, area].mean() < 0.7, "the rest of a row is real"


def test_the_same_seed_makes_the_same_probes():
    rows, thresholds = make_rows(House), np.array([50.0, 99.5], dtype=np.float32)
    first, second = (make_probes(schema_of(House), rows, 5, thresholds, least=2000) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one.tensors.numbers, other.tensors.numbers)
        assert np.array_equal(one.tensors.categories, other.tensors.categories)
    third = make_probes(schema_of(House), rows, 6, thresholds, least=2000)
    assert not np.array_equal(first[2].tensors.numbers, third[2].tensors.numbers)


def test_a_threshold_that_is_one_float32_step_off_is_caught(tmp_path):
    """Between real values lies a gap, so neither real values nor their neighbours ever stand at it."""
    rows = make_rows(Plain, count=1000)
    numbers = np.round(rows.tensors.numbers / 10) * 10
    rows = replace(rows, tensors=Tensors(numbers.astype(np.float32), rows.tensors.categories))
    system = system_of(Plain, "regression", lambda _: boosted())
    train_model(system, STRICT, rows, tmp_path, load_engine)
    model = load_estimator(tmp_path)
    assert check_parity(model, system, STRICT, rows, load_engine(tmp_path)).ok

    graph = onnx.load(tmp_path / "model.onnx")
    (trees,) = (node for node in graph.graph.node if node.op_type == "TreeEnsembleRegressor")
    (values,) = (attribute for attribute in trees.attribute if attribute.name == "nodes_values")
    values.floats[0] = np.nextafter(np.float32(values.floats[0]), np.float32(np.inf))
    onnx.save(graph, tmp_path / "model.onnx")

    wrong = load_engine(tmp_path)
    assert check_parity(model, system, STRICT, rows, wrong).ok, "the rows without thresholds do not see it"
    found = compare(model, system, STRICT, rows, wrong, thresholds_of(graph), COMPARED_ROWS)
    assert "numbers at the trees' thresholds" in found.failure.message


def test_thresholds_are_found_wherever_a_graph_holds_them():
    double = numpy_helper.from_array(np.array([3.5, np.inf]))
    single = numpy_helper.from_array(np.float32([2.5]))
    trees = helper.make_node("TreeEnsembleClassifier", [], ["y"], nodes_values_as_tensor=double)
    inner = helper.make_graph([trees], "inner", [], [])
    nodes = [
        helper.make_node("TreeEnsembleRegressor", [], ["a"], nodes_values=[1.5, 0.0, 1.5]),
        helper.make_node("TreeEnsemble", [], ["b"], nodes_splits=single),
        helper.make_node("If", ["c"], ["d"], then_branch=inner, else_branch=inner),
        helper.make_node("Scaler", [], ["e"], offset=[9.0]),
    ]
    model = helper.make_model(helper.make_graph(nodes, "outer", [], []))
    assert thresholds_of(model).tolist() == [0.0, 1.5, 2.5, 3.5]


def check_parity(model, system, params, rows, engine):
    """The figures, or the failure."""
    agreement = compare(model, system, params, rows, engine, least=COMPARED_ROWS)
    if agreement.failure:
        raise agreement.failure
    return agreement.parity


class Shifted:
    """An engine that adds a constant to what the estimator answers."""

    def __init__(self, model: Any, system: Any, by: float) -> None:
        self.model, self.system, self.by = model, system, by

    def predict(self, tensors):
        return predict(self.model, self.system, tensors) + self.by


def test_decisions_must_not_differ_even_within_the_bound():
    rows = make_rows(Plain, "classification")
    system = system_of(Plain, "classification", lambda _: None)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(*_frame(system, rows))
    loose = PARAMS.model_copy(
        update={"requirements": PARAMS.requirements.model_copy(update={"parity_rtol": 10.0})}
    )
    below = predict(model, system, rows.tensors) < 0.5
    nearest = float((0.5 - predict(model, system, rows.tensors)[below]).min())
    with pytest.raises(ParityError, match=r"[1-9]\d* decisions differ"):
        check_parity(model, system, loose, rows, Shifted(model, system, 1.01 * nearest))


def test_a_tie_at_the_threshold_is_no_decision():
    """A forest answers exactly 0.5 often; float32 sums to 0.49999997, and nobody can mend that."""
    rows = make_rows(Plain, "classification")
    system = system_of(Plain, "classification", lambda _: None)

    class Half:
        def predict_proba(self, X):
            return np.full((len(X), 2), 0.5)

    assert check_parity(Half(), system, PARAMS, rows, Shifted(Half(), system, -3e-8)).decisions_differ == 0
    with pytest.raises(ParityError):
        check_parity(Half(), system, PARAMS, rows, Shifted(Half(), system, -3e-4))


@pytest.mark.parametrize("answer", [np.nan, np.inf])
def test_an_answer_that_is_no_number_never_passes(answer):
    rows = make_rows(Plain)
    system = system_of(Plain, "regression", lambda _: None)

    class Odd:
        def predict(self, X):
            return np.full(len(X), answer)

    with pytest.raises(ParityError):
        check_parity(Odd(), system, PARAMS, rows, Shifted(Odd(), system, 0.0))


def test_an_engine_that_fails_is_told_without_values():
    rows = make_rows(House)
    system = system_of(House, "regression", lambda _: None)

    class Sum:
        def predict(self, X):
            return np.ones(len(X))

    class Broken:
        def predict(self, tensors):
            raise RuntimeError(f"no kernel for {tensors.categories[0, 0]}")

    with pytest.raises(ParityError, match="does not answer a row with the values of training") as caught:
        check_parity(Sum(), system, PARAMS, rows, Broken())
    assert "no kernel for …" in caught.value.message


finite = st.floats(-1e12, 1e12).filter(lambda value: value == 0 or abs(value) > 1e-30)


@given(st.lists(finite, min_size=1, max_size=50), st.floats(1e-3, 1e3))
def test_the_difference_is_relative(values, scale):
    """It does not depend on the unit of the target, is zero for equal answers, and never warns or fails."""
    expected = np.array(values)
    assert not relative_difference(expected, expected).any()
    found = expected + 0.01 * np.abs(expected).mean()
    here, there = relative_difference(expected, found), relative_difference(expected * scale, found * scale)
    assert np.allclose(here, there, rtol=1e-6, atol=1e-9)
    assert here.max() <= 0.1 + 1e-6


def _frame(system, rows):
    return to_frame(system.schema, rows.tensors), rows.label
