"""The house-price model."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder


def build_model(seed: int) -> Any:
    """An unfitted gradient-boosting model of log price."""
    encode = ColumnTransformer(
        [("categories", OrdinalEncoder(), ["stories", "wall", "garage"])], remainder="passthrough"
    )
    trees = HistGradientBoostingRegressor(
        loss="absolute_error", max_iter=300, learning_rate=0.06, random_state=seed
    )
    return TransformedTargetRegressor(make_pipeline(encode, trees), func=np.log, inverse_func=np.exp)
