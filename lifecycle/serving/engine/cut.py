"""An ONNX graph cut at its trees: what comes before them, they themselves, and what comes after."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from lifecycle.serving.engine.trees import MAX_LEAVES, Forest

BRANCH, LEAF = b"BRANCH_LEQ", b"LEAF"
_PLAIN = {"aggregate_function": b"SUM", "post_transform": b"NONE", "n_targets": 1}
"""Of a node whose answer is a sum; an attribute that is not there has this value."""


@dataclass(frozen=True)
class Cut:
    """The parts of a graph.

    Attributes:
        front: From the graph's inputs to ``features``, the trees' float32 ``[rows, columns]``; serialized.
        forest: The trees.
        back: From ``sums``, float32 ``[rows, 1]``, and the graph's inputs to its outputs; serialized.
        features, sums: Names.
    """

    front: bytes
    forest: Forest
    back: bytes
    features: str
    sums: str


def cut_at_trees(path: Path) -> Cut | None:
    """Cut a graph; None if it has not exactly one node of trees, or one that does more than add up.

    Args:
        path: Of the graph. It was checked before: a runtime has loaded it.
    """
    model = onnx.load(path)
    found = [node for node in model.graph.node if node.op_type.startswith("TreeEnsemble")]
    if len(found) != 1 or found[0].op_type != "TreeEnsembleRegressor":
        return None
    forest = _forest(found[0])
    if forest is None:
        return None
    (features,), (sums,) = found[0].input, found[0].output
    others = [node for node in model.graph.node if node is not found[0]]
    outputs = list(model.graph.output)
    return Cut(
        front=_part(model, others, [], [_floats(features)]),
        forest=forest,
        back=_part(model, others, [_floats(sums)], outputs),
        features=features,
        sums=sums,
    )


def _forest(node: onnx.NodeProto) -> Forest | None:
    told = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    doubles = any(name.endswith("_as_tensor") for name in told)
    modes = np.array(told.get("nodes_modes", []), dtype=object)
    if doubles or not len(modes) or not set(modes) <= {BRANCH, LEAF}:
        return None
    if any(told.get(name, plain) != plain for name, plain in _PLAIN.items()):
        return None
    tree = np.array(told["nodes_treeids"])
    roots = np.flatnonzero(np.diff(tree, prepend=tree[0] - 1))
    offset = np.repeat(roots, np.diff(roots, append=len(tree)))
    leaf = modes == LEAF
    if np.add.reduceat(leaf, roots, dtype=np.intp).max() > MAX_LEAVES or not _in_order(told, tree, offset):
        return None
    value = np.zeros(len(tree), dtype=np.float32)
    first = dict(zip(tree[roots].tolist(), roots.tolist(), strict=True))
    holders = np.array([first[number] for number in told["target_treeids"]], dtype=np.intp)
    value[holders + np.array(told["target_nodeids"])] = told["target_weights"]
    missing = told.get("nodes_missing_value_tracks_true") or [0] * len(tree)
    return Forest(
        roots=roots,
        feature=np.array(told["nodes_featureids"]),
        threshold=np.array(told["nodes_values"], dtype=np.float32),
        yes=np.array(told["nodes_truenodeids"]) + offset,
        no=np.array(told["nodes_falsenodeids"]) + offset,
        missing_is_yes=np.array(missing, dtype=np.bool_),
        leaf=leaf,
        value=value,
        base=np.float32(next(iter(told.get("base_values", ())), 0)),
    )


def _in_order(told: dict[str, Any], tree: Any, offset: Any) -> bool:
    """Whether each tree's nodes stand together, numbered from 0, with one value at each leaf."""
    together = len(np.unique(tree)) == len(np.unique(offset))
    numbered = np.array_equal(np.array(told["nodes_nodeids"]) + offset, np.arange(len(tree)))
    targets = list(zip(told["target_treeids"], told["target_nodeids"], strict=True))
    return bool(together and numbered and len(set(targets)) == len(targets))


def _floats(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None])


def _part(
    model: onnx.ModelProto,
    nodes: Iterable[onnx.NodeProto],
    given: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
) -> bytes:
    """The part of a graph that its outputs need, when some values are given."""
    known = {value.name for value in given}
    kept = list(_needed(list(nodes), {value.name for value in outputs}, known))
    kept.reverse()
    asked = {name for node in kept for name in node.input} | {value.name for value in outputs}
    graph = helper.make_graph(
        kept,
        model.graph.name,
        [value for value in (*model.graph.input, *given) if value.name in asked],
        outputs,
        [constant for constant in model.graph.initializer if constant.name in asked],
    )
    part = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    return bytes(part.SerializeToString())


def _needed(nodes: list[onnx.NodeProto], wanted: set[str], known: set[str]) -> Iterator[onnx.NodeProto]:
    """Nodes that lead to what is wanted, last first."""
    wanted = wanted - known
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted |= set(node.input) - known
            yield node
