"""What is known to convert wrongly, refused by name before it is tried."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import BaseDecisionTree

from lifecycle.core.errors import ConversionError

BOOSTED = (HistGradientBoostingRegressor, HistGradientBoostingClassifier)
_SCALERS = (
    StandardScaler,
    MinMaxScaler,
    MaxAbsScaler,
    RobustScaler,
    Normalizer,
    PowerTransformer,
    QuantileTransformer,
)


def estimators_in(model: Any) -> Iterator[Any]:
    """Every estimator inside a model, itself included, wherever it is held: parameters, steps, folds.

    Example:
        >>> from sklearn.linear_model import Ridge
        >>> from sklearn.pipeline import make_pipeline
        >>> [type(part).__name__ for part in estimators_in(make_pipeline(StandardScaler(), Ridge()))]
        ['Pipeline', 'StandardScaler', 'Ridge']
    """
    seen: set[int] = set()
    waiting = [model]
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, BaseEstimator):
            yield item
        if isinstance(item, list | tuple):
            waiting.extend(reversed(item))
        elif isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, np.ndarray) and item.dtype == object:
            waiting.extend(item.ravel())
        elif isinstance(item, BaseEstimator) or type(item).__module__.startswith("sklearn."):
            # Parts without __dict__ (trees, losses) are compiled and hold no estimators.
            waiting.extend(getattr(item, "__dict__", {}).values())


def refuse_categorical_splits(model: Any) -> None:
    """Refuse histogram gradient boosting that splits on categories, which skl2onnx converts wrongly.

    The conversion succeeds without a word, and the ONNX model answers other numbers.

    Args:
        model: A fitted estimator.

    Raises:
        ConversionError: A part of it was fitted with ``categorical_features``.
    """
    for part in estimators_in(model):
        if isinstance(part, BOOSTED) and np.any(getattr(part, "is_categorical_", None)):
            raise ConversionError(
                f"{type(part).__name__}(categorical_features=...) does not survive conversion to ONNX: "
                "its answers would be wrong without any error",
                hint="remove categorical_features and encode the categories in a ColumnTransformer in front, "
                "with OrdinalEncoder or OneHotEncoder",
            )


def scaled_trees(model: Any) -> str:
    """Name the scaler of a model that also has trees, the usual cause of a parity failure; or ``""``."""
    parts = list(estimators_in(model))
    if not any(isinstance(part, (*BOOSTED, BaseDecisionTree)) for part in parts):
        return ""
    return next((type(part).__name__ for part in parts if isinstance(part, _SCALERS)), "")


def with_float32_thresholds(model: Any) -> Any:
    """A copy whose tree thresholds are float32 values that decide every float32 input as before.

    ONNX stores thresholds as float32, and skl2onnx rounds those of histogram gradient boosting to the
    nearest. Rounded up, a threshold may reach the next float32 value, which then falls on the other side.
    Rounded down nothing changes: there is no float32 value in between.

    Args:
        model: A fitted estimator; it is left as it is.
    """
    rounded = copy.deepcopy(model)
    for part in estimators_in(rounded):
        if isinstance(part, BOOSTED) and hasattr(part, "_predictors"):
            for trees in part._predictors:
                for tree in trees:
                    tree.nodes["num_threshold"] = _round_down(tree.nodes["num_threshold"])
        elif isinstance(part, BaseDecisionTree) and hasattr(part, "tree_"):
            part.tree_.threshold[:] = _round_down(part.tree_.threshold)
    return rounded


def _round_down(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 that is not above each value."""
    with np.errstate(over="ignore"):  # beyond float32, infinity decides the same
        nearest = values.astype(np.float32)
    return np.where(nearest > values, np.nextafter(nearest, np.float32(-np.inf)), nearest)
