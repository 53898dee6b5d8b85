"""Handing recency weights to whatever estimator takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from lifecycle.core.errors import ConfigError


def weight_parameter(estimator: Any) -> str | None:
    """Name the argument of ``estimator.fit`` that takes row weights; None if it cannot use them.

    A pipeline hands weights to its last step and wants that step's name in front. A transformed target
    and a parameter search hand their arguments on as they are. Other estimators that wrap one (calibrated,
    bagged) pass ``sample_weight`` by that very name, so they can use weights only if the wrapped one does.

    Example:
        >>> from sklearn.linear_model import LinearRegression
        >>> from sklearn.neighbors import KNeighborsRegressor
        >>> pipeline = Pipeline([("model", LinearRegression())])
        >>> weight_parameter(TransformedTargetRegressor(pipeline))
        'model__sample_weight'
        >>> weight_parameter(KNeighborsRegressor()) is None
        True
    """
    if isinstance(estimator, TransformedTargetRegressor):
        # Without a regressor it fits LinearRegression, which takes weights.
        return "sample_weight" if estimator.regressor is None else weight_parameter(estimator.regressor)
    if isinstance(estimator, GridSearchCV | RandomizedSearchCV):
        return weight_parameter(estimator.estimator)
    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        inner = weight_parameter(last)
        return None if inner is None else f"{name}__{inner}"
    if not has_fit_parameter(estimator, "sample_weight"):
        return None
    wrapped = getattr(estimator, "estimator", None)
    if wrapped is not None and weight_parameter(wrapped) != "sample_weight":
        return None
    return "sample_weight"


def fit_weighted(estimator: Any, X: Any, y: Any, sample_weight: NDArray[np.float64] | None) -> Any:
    """Fit any estimator with row weights.

    Args:
        estimator: Unfitted; it is fitted in place.
        X: Features, ``n`` rows.
        y: Target, shape ``[n]``.
        sample_weight: Weight of each row, shape ``[n]``; None fits without weights.

    Returns:
        The fitted estimator.

    Raises:
        ConfigError: Weights are given and the estimator cannot use them.
    """
    if sample_weight is None:
        return estimator.fit(X, y)
    parameter = weight_parameter(estimator)
    if parameter is None:
        raise ConfigError(
            f"{_innermost(estimator)} cannot use row weights, and split.half_life_days asks for them",
            hint="unset half_life_days in params.yaml (window_days also favours recent rows), or choose an "
            "estimator whose fit takes sample_weight; a wrapper around a pipeline goes inside, as last step",
        )
    return estimator.fit(X, y, **{parameter: sample_weight})


def _innermost(estimator: Any) -> str:
    """Name the part that refuses: the last step of a pipeline, the regressor of a transformed target."""
    if isinstance(estimator, Pipeline):
        return _innermost(estimator.steps[-1][1])
    if isinstance(estimator, TransformedTargetRegressor):
        return _innermost(estimator.regressor)
    return type(estimator).__name__
