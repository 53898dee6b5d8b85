"""Scalers in front of trees, folded into the trees' thresholds before conversion.

ONNX scales in float32 in another order of operations than scikit-learn, and a scaled value that is rounded
otherwise lands on the other side of a threshold. But a tree only asks whether a scaled value exceeds a
threshold, and scaling keeps the order of values: so there is one float32 input up to which the answer is no.
With that as threshold the tree reads the input as it is, and decides every row as scikit-learn does.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from sklearn.tree import BaseDecisionTree

from lifecycle.training.guards import BOOSTED, estimators_in

_SCALERS = (MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler)
"""Each computes a column from that column alone, and never turns the order of two values round."""

_TREES = (
    *BOOSTED,
    BaseDecisionTree,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
Column = int
Scale = Callable[[NDArray[np.float32], NDArray[np.intp]], NDArray[Any]]
"""From values and the columns they stand in to scaled values."""


def fold_scalers(model: Any) -> Any:
    """A copy whose trees read what the scalers in front of them were given.

    Args:
        model: A fitted estimator; it is left as it is. Pipelines anywhere in it are looked at, that end in
            trees behind scalers, or behind a ColumnTransformer that scales some columns last.
    """
    folded = copy.deepcopy(model)
    for part in estimators_in(folded):
        if isinstance(part, Pipeline) and len(part.steps) > 1 and _only_trees(part.steps[-1][1]):
            _fold_pipeline(part)
    return folded


def _only_trees(model: Any) -> bool:
    """Whether it is fitted (a wrapper also holds what it was made from, unfitted), and nothing but trees."""
    # Gradient boosting may begin with a model of the user's, which reads scaled values too.
    plain = isinstance(getattr(model, "init_", None), None | DummyClassifier | DummyRegressor | str)
    return isinstance(model, _TREES) and hasattr(model, "n_features_in_") and plain


def _fold_pipeline(pipeline: Pipeline) -> None:
    trees = pipeline.steps[-1][1]
    before, scalers = _split_off([step for _, step in pipeline.steps[:-1]])
    if scalers:
        _move_thresholds(trees, range(trees.n_features_in_), _scale(scalers, 0))
        pipeline.steps = [*pipeline.steps[: len(before)], pipeline.steps[-1]]
    elif isinstance(pipeline.steps[-2][1], ColumnTransformer):
        _fold_columns(pipeline.steps[-2][1], trees)


def _fold_columns(columns: ColumnTransformer, trees: Any) -> None:
    for i, (name, transformer, names) in enumerate(columns.transformers_):
        steps = (
            [step for _, step in transformer.steps] if isinstance(transformer, Pipeline) else [transformer]
        )
        before, scalers = _split_off(steps)
        if scalers:
            place = columns.output_indices_[name]
            _move_thresholds(trees, range(place.start, place.stop), _scale(scalers, place.start))
            kept: Any = Pipeline(transformer.steps[: len(before)]) if before else "passthrough"
            columns.transformers_[i] = (name, kept, names)


def _split_off(steps: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    """The steps before, and the scalers at the end."""
    end = len(steps)
    while end and isinstance(steps[end - 1], _SCALERS):
        end -= 1
    return steps[:end], steps[end:]


def _scale(scalers: Sequence[Any], first: Column) -> Scale:
    """What the scalers compute, for columns counted from ``first``."""

    def scaled(values: NDArray[np.float32], columns: NDArray[np.intp]) -> NDArray[Any]:
        table: Any = np.repeat(values[:, np.newaxis], scalers[0].n_features_in_, axis=1)
        for scaler in scalers:
            names = getattr(scaler, "feature_names_in_", None)
            table = scaler.transform(table if names is None else pd.DataFrame(table, columns=names))
        return np.asarray(np.asarray(table)[np.arange(len(values)), columns - first])

    return scaled


def _move_thresholds(trees: Any, columns: range, scale: Scale) -> None:
    """Put every threshold on scaled columns where the values stand that are scaled: of all trees at once."""
    chosen = [
        (thresholds, at, features[at], kind)
        for features, thresholds, kind in _splits(trees)
        if len(at := np.flatnonzero((features >= columns.start) & (features < columns.stop)))
    ]
    if not chosen:
        return
    moved = _unscaled(
        np.concatenate([features for *_, features, _ in chosen]),
        np.concatenate([thresholds[at] for thresholds, at, *_ in chosen]),
        scale,
        chosen[0][-1],
    )
    ends = np.cumsum([len(at) for _, at, *_ in chosen])[:-1]
    for (thresholds, at, *_), values in zip(chosen, np.split(moved, ends), strict=True):
        thresholds[at] = values


def _splits(trees: Any) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64], type]]:
    """Of each tree: the column of each node (a leaf's is negative), thresholds, the type it compares in."""
    for part in estimators_in(trees):
        if isinstance(part, BOOSTED) and hasattr(part, "_predictors"):
            for stage in part._predictors:
                for tree in stage:
                    nodes = tree.nodes
                    features = np.where(nodes["is_leaf"], -1, nodes["feature_idx"]).astype(np.intp)
                    yield features, nodes["num_threshold"], np.float64
        elif isinstance(part, BaseDecisionTree) and hasattr(part, "tree_"):
            yield part.tree_.feature, part.tree_.threshold, np.float32


def _unscaled(
    features: NDArray[np.intp], thresholds: NDArray[np.float64], scale: Scale, kind: type
) -> NDArray[np.float32]:
    """The largest float32 whose scaled value is not above each threshold; minus infinity if there is none.

    Found by halving the float32 numbers, counted in order, 32 times.
    """
    low = np.full(len(thresholds), _ordinal(np.float32(-np.inf)))
    high = np.full(len(thresholds), _ordinal(np.finfo(np.float32).max))
    while (low < high).any():
        middle = low + (high - low + 1) // 2
        with np.errstate(over="ignore"):
            below = scale(_number(middle), features).astype(kind) <= thresholds
        low = np.where(below, middle, low)
        high = np.where(below, high, np.minimum(high, middle - 1))
    return _number(low)


def _ordinal(value: np.float32) -> int:
    """The place of a float32 among all, 0 at zero."""
    bits = int(np.abs(value).view(np.int32))
    return -bits if value < 0 else bits


def _number(ordinals: NDArray[np.int64]) -> NDArray[np.float32]:
    """The float32 numbers at these places."""
    sizes = np.abs(ordinals).astype(np.int32).view(np.float32)
    return np.where(ordinals < 0, -sizes, sizes).astype(np.float32)
