"""From labelled rows to the files of a release: the one way in to this room."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from lifecycle.core.errors import ConfigError, LifecycleError, StageError, StorageError
from lifecycle.core.params import SystemParams
from lifecycle.core.ports import Engine
from lifecycle.core.release import ENGINE, MODEL, REFERENCE, SCHEMA
from lifecycle.core.rows import Rows
from lifecycle.core.system import System
from lifecycle.core.values import EngineChoice
from lifecycle.training.choice import choose_engine
from lifecycle.training.foreign import describe
from lifecycle.training.frame import to_frame
from lifecycle.training.parity import predict
from lifecycle.training.probes import LEAST_ROWS
from lifecycle.training.reference import newest, profile
from lifecycle.training.weights import fit_weighted


def train_model(
    system: System,
    params: SystemParams,
    train: Rows,
    out: Path,
    load_engine: Callable[[Path], Engine],
    least: int = LEAST_ROWS,
    recent: Rows | None = None,
) -> EngineChoice:
    """Fit the system's estimator and write the files of a release but its manifest.

    The same rows, parameters and seed give the same bytes: everything runs on one thread, because the
    order in which threads add numbers up changes their last bits.

    Args:
        system: Builds the estimator.
        params: Seed, decision threshold and the bound on parity.
        train: The rows to fit on; their weights are handed on unless all are 1.
        out: The folder to write to.
        load_engine: Loads a folder holding ``model.onnx`` and ``schema.json``, as a server does.
        least: How many rows ONNX and the estimator are compared on at least.
        recent: Rows the model was not fitted on, newer than ``train``: the reference for the distribution
            of its answers. Where they are few, the newest training rows join them.

    Returns:
        What runs the model, also written to ``engine.json``: ONNX, where it answers as the estimator that was
        written (not the one in memory); otherwise that estimator, where ``requirements`` allow it.

    Raises:
        ConfigError: The estimator fits not the task, weights or records, or cannot be stored.
        ConversionError: It has no ONNX form, and ``requirements`` ask for one.
        ParityError: ONNX answers otherwise, and ``requirements`` ask for it.
        StageError: The user's code failed.
        StorageError: The folder cannot be written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in (ENGINE, MODEL):  # of a run before: a folder says one thing only
            (out / name).unlink(missing_ok=True)
        with threadpool_limits(limits=1):
            model = fit(system, params, train)
            (out / SCHEMA).write_bytes(system.schema.model_dump_json().encode())
            choice = choose_engine(model, system, params, train, out, load_engine, least)
            answers = predict(model, system, newest(train, recent).tensors)
        (out / ENGINE).write_bytes(choice.model_dump_json(indent=1).encode())
        reference = profile(system, train, answers)
        (out / REFERENCE).write_bytes(reference.model_dump_json(indent=1).encode())
    except OSError as error:
        told = f"cannot write the model to {out}: {error.strerror}"
        raise StorageError(told, hint="free some space, or mend its permissions") from None
    return choice


def fit(system: System, params: SystemParams, train: Rows) -> Any:
    """The system's estimator, fitted.

    An error in the user's code is told by its type, its line and its masked message, without its traceback:
    a traceback or message may show values of records.

    Raises:
        ConfigError: See `train_model`.
        StageError: See `train_model`.
    """
    label = _label(system, train)
    weight = None if np.all(train.weight == 1) else train.weight
    with _seeded(params.seed):
        try:
            # A clone is unfitted and ours alone, whatever build_model hands out.
            model = clone(system.build_model(params.seed))
            _refuse_other_task(system, model)
            return fit_weighted(model, to_frame(system.schema, train.tensors), label, weight)
        except LifecycleError:
            raise
        except Exception as error:  # noqa: BLE001 - any error of the user's estimator
            raise StageError(
                f"fitting {system.name} on {len(train)} rows failed: "
                f"{describe(error, system.schema, train.tensors)}",
                hint="run `dvc repro` in an ordinary checkout to debug it (lifecycle data checkout SYSTEM)",
            ) from None


def _label(system: System, train: Rows) -> Any:
    if system.task == "regression":
        return train.label
    classes = np.unique(train.label)
    if classes.tolist() != [0.0, 1.0]:
        kind = "only one class" if len(classes) == 1 else f"{len(classes)} classes other than 0 and 1"
        raise ConfigError(
            f"the training labels of {system.name} hold {kind}; a classification needs both 0 and 1",
            hint="declare the label as bool or 0/1, and train on a window that has both",
        )
    return train.label.astype(np.int64)


def _refuse_other_task(system: System, model: Any) -> None:
    if system.task == "classification" and not hasattr(model, "predict_proba"):
        raise ConfigError(
            f"{type(model).__name__} gives no probabilities, which a classification needs",
            hint="wrap it: CalibratedClassifierCV(...)",
        )
    if system.task == "regression" and is_classifier(model):
        raise ConfigError(
            f"{type(model).__name__} is a classifier, and {system.name} is declared as regression",
            hint="declare task='classification', or build a regressor",
        )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global generators for estimators that use them, and leave them as they were."""
    kept = np.random.get_state(), random.getstate()
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(kept[0])
        random.setstate(kept[1])
