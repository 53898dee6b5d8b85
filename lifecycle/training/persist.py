"""The fitted estimator as ``model.skops``, for scikit-learn users; never pickle.

A skops file names the types it wants built, so loading one means trusting each of those types. Which are
trusted is decided here and in ``System.trusted_types``, and never read from the file.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import skops.io
from skops.io.exceptions import UnsupportedTypeException

from lifecycle.core.errors import ConfigError
from lifecycle.core.release import SKOPS

REVIEWED = (
    # These index their node arrays without bounds checks, so a forged file could crash the process that
    # predicts with it. A release's signature covers the file before anything is built from it.
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.tree._tree.Tree",
    # Plain containers and names of types.
    "builtins.object",
    "numpy.dtype",
    "sklearn.utils._bunch.Bunch",
    # Choices made before fitting: which columns, which folds, which score. None of them runs when predicting.
    "sklearn.compose._column_transformer.make_column_selector",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.model_selection._split.KFold",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.model_selection._split.TimeSeriesSplit",
    # A check of numbers, bound to its options: which function is bound is named beside it.
    "functools.partial",
    "sklearn.utils.validation.check_array",
    # Private parts of public estimators: numbers and fitted estimators; no code runs when they are built.
    "sklearn._loss.loss.HalfTweedieLoss",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    # Ours: plain estimators whose state is numbers and names.
    "lifecycle.training.trend.ObliqueAxes",
    "lifecycle.training.trend.TrendRegressor",
)
"""Types beyond those that skops trusts by itself, each with the reason why it may be loaded."""

_EPOCH = (1980, 1, 1, 0, 0, 0)


def dump_estimator(model: Any, folder: Path, trusted: Sequence[str] = ()) -> None:
    """Save a fitted estimator; the same estimator gives the same bytes.

    Args:
        model: The fitted estimator.
        folder: Receives ``model.skops``.
        trusted: Full names of the user's own types inside it.

    Raises:
        ConfigError: It holds a type that nobody reviewed, or one that skops cannot store.
    """
    try:
        content = skops.io.dumps(model)
    except (UnsupportedTypeException, TypeError):
        raise ConfigError(
            f"{type(model).__name__} holds something that skops cannot store",
            hint="keep only numbers, text, arrays and estimators in it: no open files, locks or lambdas",
        ) from None
    _refuse_unreviewed(skops.io.get_untrusted_types(data=content), trusted)
    (folder / SKOPS).write_bytes(_canonical(content))


def load_estimator(folder: Path, trusted: Sequence[str] = ()) -> Any:
    """Load the fitted scikit-learn estimator of a release or model folder.

    Verify a release before you load from it: `lifecycle.core.release.verify_release`.

    Args:
        folder: Holds ``model.skops``.
        trusted: Full names of the user's own types inside it, as in ``System.trusted_types``.

    Returns:
        The estimator; it predicts on a DataFrame such as `lifecycle.training.frame.to_frame` makes.

    Raises:
        ConfigError: The file holds a type that nobody reviewed; nothing of it was built. Or a type's code is
            not importable here.
    """
    path = folder / SKOPS
    try:
        _refuse_unreviewed(skops.io.get_untrusted_types(file=path), trusted)
        return skops.io.load(path, trusted=[*REVIEWED, *trusted])
    except (ImportError, AttributeError) as error:
        named = ", ".join(trusted) or "none of the user's own"
        raise ConfigError(
            f"the code of a type inside {SKOPS} is not here: {error} (trusted types: {named})",
            hint="a release carries the state of such a type, not its code: run this where the project is, "
            "with LIFECYCLE_PROJECT naming its folder, or install the package that defines the type",
        ) from None


def _refuse_unreviewed(found: Sequence[str], trusted: Sequence[str]) -> None:
    unknown = sorted(set(found) - {*REVIEWED, *trusted})
    if unknown:
        names = ", ".join(repr(name) for name in unknown)
        raise ConfigError(
            f"the model holds types that nobody reviewed: {names}",
            hint=f"if you trust their code, add them: System(..., trusted_types=({names},))",
        )


def _canonical(content: bytes) -> bytes:
    """The same file without memory addresses and times, which differ in every run."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    state = json.loads(files.pop("schema.json"))
    numbers: dict[int, int] = {}
    names: dict[str, str] = {}
    _renumber(state, numbers, names, set(files))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for old, new in names.items():
            archive.writestr(zipfile.ZipInfo(new, _EPOCH), files[old], zipfile.ZIP_DEFLATED)
        archive.writestr(zipfile.ZipInfo("schema.json", _EPOCH), json.dumps(state), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _renumber(node: Any, numbers: dict[int, int], names: dict[str, str], files: set[str]) -> None:
    """Replace object ids and the file names made of them by running numbers, in place."""
    if isinstance(node, list):
        for item in node:
            _renumber(item, numbers, names, files)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "__id__":
                node[key] = numbers.setdefault(value, len(numbers) + 1)
            elif key == "file" and value in files:
                suffix = value.rpartition(".")[2]
                node[key] = names.setdefault(value, f"{len(names)}.{suffix}")
            else:
                _renumber(value, numbers, names, files)
