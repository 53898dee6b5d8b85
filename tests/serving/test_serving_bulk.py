"""Many rows at once: the trees are added up by other means, and no bit of any answer differs."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from lifecycle.core.release import MODEL
from lifecycle.core.rows import Tensors
from lifecycle.serving.engine import bulk as bulk_module
from lifecycle.serving.engine import trees as trees_module
from lifecycle.serving.engine.bulk import BulkEngine, load_bulk
from lifecycle.serving.engine.cut import BRANCH, LEAF, cut_at_trees
from lifecycle.serving.engine.onnx import OnnxEngine, open_session
from lifecycle.serving.engine.trees import TreeSums
from tests.serving.conftest import write_model

COLUMNS = 4
# Few values, so that rows stand at thresholds, and thresholds are shared among nodes.
NUMBERS = np.array([-np.inf, -2.5, -1e-30, 0.0, 0.1, 0.3, 7.0, 1e38, np.inf, np.nan], dtype=np.float32)


def grown(random: np.random.Generator, trees: int, leaves: int) -> dict[str, list]:
    """Random trees, as attributes of a node: a leaf is split until there are enough."""
    told: dict[str, list] = {name: [] for name in ATTRIBUTES}
    for tree in range(trees):
        kinds, children = ["leaf"], [(0, 0)]
        for _ in range(int(random.integers(0, leaves))):
            at = int(random.choice([i for i, kind in enumerate(kinds) if kind == "leaf"]))
            kinds[at], children[at] = "branch", (len(kinds), len(kinds) + 1)
            kinds += ["leaf", "leaf"]
            children += [(0, 0), (0, 0)]
        for node, (kind, (yes, no)) in enumerate(zip(kinds, children, strict=True)):
            branch = kind == "branch"
            told["nodes_treeids"].append(tree)
            told["nodes_nodeids"].append(node)
            told["nodes_modes"].append(BRANCH if branch else LEAF)
            told["nodes_truenodeids"].append(yes)
            told["nodes_falsenodeids"].append(no)
            told["nodes_featureids"].append(int(random.integers(COLUMNS)) if branch else 0)
            told["nodes_values"].append(float(random.choice(NUMBERS[1:-2])) if branch else 0.0)
            told["nodes_missing_value_tracks_true"].append(int(random.integers(2)))
            if not branch:
                told["target_treeids"].append(tree)
                told["target_nodeids"].append(node)
                told["target_ids"].append(0)
                told["target_weights"].append(float(np.float32(random.normal())))
    return told


ATTRIBUTES = (
    "nodes_treeids nodes_nodeids nodes_modes nodes_truenodeids nodes_falsenodeids nodes_featureids "
    "nodes_values nodes_missing_value_tracks_true target_treeids target_nodeids target_ids target_weights"
).split()


def graph(told: dict[str, list], folder: Path, *, after: str = "Exp", **others: object) -> Path:
    """Half of each number, the trees, and a function of their sum; written where a model folder has it."""
    trees = helper.make_node(
        "TreeEnsembleRegressor",
        ["halves"],
        ["sums"],
        domain="ai.onnx.ml",
        **{"n_targets": 1, "base_values": [0.7], **told, **others},
    )
    nodes = [
        helper.make_node("Mul", ["numbers", "half"], ["halves"]),
        trees,
        helper.make_node(after, ["sums"], ["prediction"]),
    ]
    made = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["N", COLUMNS])],
        [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ["N", 1])],
        [helper.make_tensor("half", TensorProto.FLOAT, [], [0.5])],
    )
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)],
        ir_version=9,
    )
    onnx.save(model, folder / MODEL)
    return folder / MODEL


def rows(random: np.random.Generator, count: int) -> Tensors:
    numbers = random.choice(np.concatenate([NUMBERS, 2 * NUMBERS[:-1]]), (count, COLUMNS)).astype(np.float32)
    return Tensors(numbers, np.empty((count, 0), dtype=object))


def engines(path: Path) -> tuple[OnnxEngine, BulkEngine]:
    plain = OnnxEngine(open_session(path))
    cut = cut_at_trees(path)
    assert cut is not None
    return plain, BulkEngine(plain, cut)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32), trees=st.integers(1, 12), leaves=st.integers(1, 40), count=st.integers(1, 300)
)
def test_any_forest_answers_as_in_onnx_runtime_to_the_last_bit(tmp_path_factory, seed, trees, leaves, count):
    random = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("forest")
    path = graph(grown(random, trees, leaves), folder, after="Identity")
    cut = cut_at_trees(path)
    assert cut is not None
    some = rows(random, count)
    whole = open_session(path).run(None, {"numbers": some.numbers})[0].reshape(-1)
    halves = open_session(cut.front).run(None, {"numbers": some.numbers})[0]
    assert TreeSums(cut.forest)(halves).tobytes() == whole.tobytes()


def test_blocks_of_rows_come_together_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(trees_module, "BLOCK_ROWS", 100)
    monkeypatch.setattr(bulk_module, "LEAST_ROWS", 10)
    random = np.random.default_rng(1)
    plain, bulk = engines(graph(grown(random, 20, 31), tmp_path))
    some = rows(random, 1_003)
    np.testing.assert_array_equal(bulk.predict(some), plain.predict(some))
    assert bulk.predict(some.take(slice(0, 5))).tolist() == plain.predict(some.take(slice(0, 5))).tolist()


def test_a_model_without_trees_is_answered_by_the_runtime(tmp_path):
    assert isinstance(load_bulk(write_model(tmp_path, constant=0)), OnnxEngine)


def test_trees_that_answer_otherwise_are_caught_and_the_runtime_answers(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(bulk_module, "LEAST_ROWS", 10)
    random = np.random.default_rng(3)
    plain, bulk = engines(graph(grown(random, 5, 8), tmp_path))
    monkeypatch.setattr(bulk, "_trees", lambda features: np.zeros(len(features), dtype=np.float32))
    some = rows(random, 500)
    with caplog.at_level(logging.ERROR):
        np.testing.assert_array_equal(bulk.predict(some), plain.predict(some))
    assert "answer otherwise than ONNX Runtime" in caplog.text


@pytest.mark.parametrize(
    "others", [{"aggregate_function": "AVERAGE"}, {"post_transform": "LOGISTIC"}], ids=str
)
def test_trees_that_do_more_than_add_up_are_left_to_the_runtime(tmp_path, others):
    assert cut_at_trees(graph(grown(np.random.default_rng(4), 3, 8), tmp_path, **others)) is None


def test_conditions_of_other_kinds_are_left_to_the_runtime(tmp_path):
    told = grown(np.random.default_rng(5), 3, 8)
    told["nodes_modes"] = [b"BRANCH_LT" if mode == BRANCH else mode for mode in told["nodes_modes"]]
    assert cut_at_trees(graph(told, tmp_path)) is None


def test_a_tree_with_too_many_leaves_is_left_to_the_runtime(tmp_path, monkeypatch):
    random = np.random.default_rng(6)
    told = grown(random, 1, 2000)
    while told["nodes_modes"].count(LEAF) <= trees_module.MAX_LEAVES:
        told = grown(random, 1, 2000)
    assert cut_at_trees(graph(told, tmp_path)) is None
