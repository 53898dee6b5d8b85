"""The house-price model: gradient-boosted trees on log price, around a trend that extrapolates."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from lifecycle.training.trend import ObliqueAxes, TrendRegressor

TIME = "sold_on"  # days since 1970-01-01
NUMBERS = [
    "year_built",
    "living_area",
    "beds",
    "baths",
    "half_baths",
    "rooms",
    "garage_area",
    "frontage",
    "depth",
    "lot_size",
]
COORDINATES = ["x", "y"]
CATEGORIES = ["stories", "wall", "garage"]


def build_model(seed: int) -> Any:
    """An unfitted estimator of the price in US dollars."""
    features = ColumnTransformer(
        [
            # Trees need no scaling, and scaled float32 values would cross their thresholds in ONNX.
            ("numbers", "passthrough", NUMBERS),
            ("location", ObliqueAxes(), COORDINATES),
            # A choice that no training row has must not stop the endpoint: it counts as none of the others.
            ("categories", _one_hot(), CATEGORIES),
        ]
    )
    trees = HistGradientBoostingRegressor(
        # One sale in forty is a transfer at a token price; the median ignores them.
        loss="absolute_error",
        max_iter=400,
        learning_rate=0.08,
        # Few columns per split, so that size does not crowd out location.
        max_features=0.25,
        min_samples_leaf=8,
        l2_regularization=5.0,
        # Early stopping would hold out random rows, not recent ones.
        early_stopping=False,
        random_state=seed,
    )
    prices = TrendRegressor(
        Pipeline([("features", features), ("trees", trees)]),
        time=TIME,
        periods=(365.25,),  # sales in summer bring more than sales in winter
        random_state=seed,
    )
    # Errors of a price are relative and growth compounds: both are additive in the logarithm.
    return TransformedTargetRegressor(prices, func=np.log, inverse_func=np.exp)


def _one_hot() -> OneHotEncoder:
    return OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32)
