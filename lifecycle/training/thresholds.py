"""Where the trees of a converted model decide, and rows that stand there.

A conversion that moves a threshold by the smallest float32 step answers as before on almost every row: only a
row at that very threshold tells. So the thresholds are read out of the graph that will answer.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from lifecycle.core.record import RecordSchema
from lifecycle.core.rows import Tensors
from lifecycle.training.pack import graphs

Thresholds = NDArray[np.float32]
NO_THRESHOLDS: Thresholds = np.empty(0, dtype=np.float32)

_HOLDERS = ("nodes_values", "nodes_values_as_tensor", "nodes_splits")
"""Attributes of ``TreeEnsembleRegressor``, ``TreeEnsembleClassifier`` and ``TreeEnsemble`` that hold them."""

CONTINUOUS = ("number", "datetime")
"""Kinds of fields with a value at every float32; the others hold whole numbers."""


def thresholds_of(model: onnx.ModelProto) -> Thresholds:
    """Every finite threshold of every tree in a graph, once, in order.

    Leaves hold a value in the same place, mostly 0; it is not told apart, since one more costs nothing.
    """
    found = [
        np.asarray(attribute.floats, dtype=np.float32)
        if attribute.floats
        else numpy_helper.to_array(attribute.t).astype(np.float32)
        for graph in graphs(model.graph)
        for node in graph.node
        if node.op_type.startswith("TreeEnsemble")
        for attribute in node.attribute
        if attribute.name in _HOLDERS
    ]
    values: Thresholds = np.unique(np.concatenate([NO_THRESHOLDS, *(value.ravel() for value in found)]))
    finite: Thresholds = values[np.isfinite(values)]
    return finite


def beside_thresholds(
    schema: RecordSchema,
    base: Tensors,
    seen: Tensors,
    thresholds: Thresholds,
    random: np.random.Generator,
) -> Tensors:
    """Rows with about half of their numbers at thresholds, or one float32 step below or above.

    Which column a threshold belongs to is not asked: each is placed into every column whose range it lies
    in. All of them are placed before one is placed again. A whole number takes the whole numbers on
    either side.

    Args:
        schema: Names the columns.
        base: Real rows; what is not placed stays.
        seen: All real rows: what a column ranges over.
        thresholds: From `thresholds_of`.
        random: Chooses.
    """
    numbers = base.numbers.copy()
    for i, name in enumerate(schema.numbers):
        known = seen.numbers[:, i][~np.isnan(seen.numbers[:, i])]
        if not len(known):
            continue
        low, high = known.min(), known.max()
        inside = thresholds[(thresholds >= low) & (thresholds <= high)]
        if schema[name].kind in CONTINUOUS:
            below, above = (np.nextafter(inside, np.float32(end)) for end in (-np.inf, np.inf))
            values = np.unique(np.concatenate([below, inside, above]))
        else:
            values = np.unique(np.concatenate([np.floor(inside), np.ceil(inside)]))
        values = values[(values >= low) & (values <= high)]
        if len(values):
            placed = np.flatnonzero(random.random(len(base)) < 0.5)
            numbers[placed, i] = np.resize(random.permutation(values), len(placed))
    return Tensors(numbers, base.categories)
