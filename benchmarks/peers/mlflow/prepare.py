"""Saves the release as an MLflow model: ``python prepare.py FOLDER``, for `mlflow models serve`."""

import sys

import mlflow.sklearn

from benchmarks.peers.model import load
from lifecycle.training.persist import REVIEWED

mlflow.sklearn.save_model(
    load(),
    sys.argv[1],
    serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_SKOPS,
    skops_trusted_types=list(REVIEWED),
    pip_requirements=["scikit-learn"],
)
