"""Regressors for targets that drift with time, and coordinates that trees can split well.

Gradient-boosted trees predict a constant beyond the last date they saw, so a model of a rising market is
biased from its first day in production. `TrendRegressor` carries the movement of the market in a trend that
extrapolates, and leaves to the trees what is stable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin, clone
from sklearn.linear_model import HuberRegressor
from sklearn.model_selection import KFold
from sklearn.utils.validation import check_is_fitted

from lifecycle.training.weights import fit_weighted

DIRECTIONS = ((1, 0), (0, 1), (1, 1), (1, -1), (2, 1), (1, -2), (1, 2), (2, -1))
"""East, north and six directions between them."""


class TrendRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Add a time trend that extrapolates to a regressor that cannot.

    The trend is linear in time, optionally with one annual (or other) wave per entry of
    ``periods``. It is fitted with Huber's loss on out-of-fold residuals of ``regressor``, which
    never sees the time: residuals on the training rows themselves would hide the part of the
    trend that a flexible regressor has memorised. ``regressor`` is then fitted again on the
    detrended target, so that it describes one price level rather than the average of several.

    On the logarithm of a price, the slope is a growth rate.

    Args:
        regressor: The regressor to detrend; it receives the columns of ``X`` without ``time``.
        time: The column that holds the event time, a number in any unit.
        periods: Lengths of the seasons to model, in the unit of ``time``.
        cv: Number of random folds for the out-of-fold residuals. Two suffice: a handful of trend
            coefficients are estimated from all rows, and each fold costs one more fit.
        random_state: Seed of the folds.

    Attributes:
        regressor_: The regressor, fitted on the detrended target.
        trend_: The `HuberRegressor` of the residuals over elapsed time and seasons.
        origin_: Latest time seen in fit, where the elapsed time is 0.
        span_: Time between the first and the last training row, the unit of elapsed time.
        slope_: Change of the target per unit of ``time``, apart from seasons.

    Example:
        >>> from sklearn.tree import DecisionTreeRegressor
        >>> day = np.arange(10_000) // 50
        >>> X = pd.DataFrame({"day": day, "rooms": np.arange(10_000) % 3})
        >>> y = 10 * X["rooms"] + 0.5 * X["day"]
        >>> model = TrendRegressor(DecisionTreeRegressor(random_state=0), time="day").fit(X, y)
        >>> round(model.slope_, 1)
        0.5
        >>> model.predict(pd.DataFrame({"day": [400], "rooms": [2]})).round()
        array([220.])
    """

    def __init__(
        self,
        regressor: Any,
        *,
        time: str,
        periods: Sequence[float] = (),
        cv: int = 2,
        random_state: int | None = None,
    ) -> None:
        self.regressor = regressor
        self.time = time
        self.periods = periods
        self.cv = cv
        self.random_state = random_state

    def fit(self, X: pd.DataFrame, y: Any, sample_weight: Any = None) -> Self:
        """Fit the trend, then the regressor on the detrended target.

        Args:
            X: Features and time, one row per observation.
            y: Target, shape ``[n]``.
            sample_weight: Weight of each row, shape ``[n]``; used for the trend and the regressor.

        Raises:
            ValueError: A season is not positive, or all rows have the same time.
        """
        times, features = self._split(X)
        target = np.asarray(y, dtype=np.float64)
        weights = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        if any(period <= 0 for period in self.periods):
            raise ValueError(f"periods must be positive, got {tuple(self.periods)}")
        self.origin_ = float(times.max())
        self.span_ = self.origin_ - float(times.min())
        if self.span_ == 0:
            raise ValueError(f"a trend needs rows at two times; all have the same {self.time}")
        self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        self.n_features_in_ = X.shape[1]

        residuals = np.empty_like(target)
        for train, held_out in KFold(self.cv, shuffle=True, random_state=self.random_state).split(X):
            fold = fit_weighted(
                clone(self.regressor),
                features.iloc[train],
                target[train],
                None if weights is None else weights[train],
            )
            residuals[held_out] = target[held_out] - fold.predict(features.iloc[held_out])
        self.trend_ = HuberRegressor(alpha=0.0, max_iter=1000)
        self.trend_.fit(self._basis(times), residuals, sample_weight=weights)
        self.slope_ = float(self.trend_.coef_[0]) / self.span_
        detrended = target - self.trend_.predict(self._basis(times))
        self.regressor_ = fit_weighted(clone(self.regressor), features, detrended, weights)
        return self

    def predict(self, X: pd.DataFrame) -> NDArray[np.float64]:
        """Predict the target at the time of each row, shape ``[n]``."""
        check_is_fitted(self)
        times, features = self._split(X)
        prediction = self.regressor_.predict(features) + self.trend_.predict(self._basis(times))
        return np.asarray(prediction, dtype=np.float64)

    def _split(self, X: pd.DataFrame) -> tuple[NDArray[np.float64], pd.DataFrame]:
        if self.time not in X.columns:
            raise ValueError(f"X has no time column {self.time!r}, only {list(X.columns)}")
        return X[self.time].to_numpy(dtype=np.float64), X.drop(columns=self.time)

    def _basis(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Elapsed time in spans, then a sine and then a cosine per period: ``[n, 1 + 2 periods]``."""
        elapsed = (times - self.origin_)[:, np.newaxis]
        angles = elapsed * (2 * np.pi / np.asarray(self.periods, dtype=np.float64))
        return np.hstack([elapsed / self.span_, np.sin(angles), np.cos(angles)])


class ObliqueAxes(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Project two coordinates on several directions, so that trees can cut a map obliquely.

    A tree splits on one column at a time: on east and north alone, a neighbourhood that follows a
    river takes many small steps; on more directions, one cut.

    The components of a direction are 0 or plus or minus a power of two. Such products are exact in
    binary floating point and their sum is rounded once, so every runtime computes the same float32
    and no row lands on the other side of a tree's threshold. True rotations do not have that
    property; a tree does not need it that the directions have unit length.

    Args:
        directions: One ``(first, second)`` pair per output column.

    Example:
        >>> ObliqueAxes([(1, 0), (1, 1), (2, -1)]).fit_transform([[3.0, 5.0]])
        array([[3., 8., 1.]], dtype=float32)
    """

    def __init__(self, directions: Sequence[tuple[float, float]] = DIRECTIONS) -> None:
        self.directions = directions

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002
        """Check the directions and the number of coordinates.

        Raises:
            ValueError: ``X`` has not two columns, or a component is no power of two.
        """
        components = np.asarray(self.directions, dtype=np.float32)
        mantissas = np.abs(np.frexp(components)[0])
        if not np.isin(mantissas, (0.0, 0.5)).all():
            raise ValueError(f"components must be 0 or powers of two, got {self.directions}")
        self.n_features_in_ = np.shape(X)[1]
        if self.n_features_in_ != 2:
            raise ValueError(f"ObliqueAxes takes two coordinates, got {self.n_features_in_} columns")
        self.axes_ = components.T
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Project coordinates of shape ``[n, 2]`` on the directions: ``[n, directions]``, float32."""
        check_is_fitted(self)
        return np.asarray(X, dtype=np.float32) @ self.axes_

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:  # noqa: ARG002
        """Name the output columns ``axis0``, ``axis1``, ..."""
        return np.array([f"axis{i}" for i in range(len(self.directions))], dtype=object)
