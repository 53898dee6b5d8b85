"""The model of a patient's risk: small boosted trees, calibrated on patients they were not fitted on."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder


def build_model(seed: int) -> Any:
    """An unfitted estimator of the probability of dying within five years."""
    features = ColumnTransformer(
        [("sex", OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32), ["sex"])],
        # Trees take numbers as they are, and a test that was never taken as NaN: that is informative too.
        remainder="passthrough",
    )
    trees = HistGradientBoostingClassifier(
        max_iter=120,
        learning_rate=0.04,
        # One patient in fifteen dies: hundreds of events carry shallow trees only.
        max_leaf_nodes=6,
        min_samples_leaf=25,
        l2_regularization=10.0,
        # Early stopping would hold out random rows, not recent ones.
        early_stopping=False,
        random_state=seed,
    )
    # A risk is acted upon as a number, so it has to be one; two parameters suit some thousand patients.
    calibrated = CalibratedClassifierCV(trees, method="sigmoid", cv=5)
    return Pipeline([("features", features), ("risk", calibrated)])
