"""The model, loaded. Stages, parity, batch and online all answer through this one, with the same numbers.

``onnx.py`` answers in this process, and so does ``bulk.py`` where there are many rows; ``pool.py`` asks
processes that run the scikit-learn estimator, for a model that ONNX does not answer alike. Which of them a
release needs stands in its manifest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lifecycle.core.errors import ConfigError
from lifecycle.core.ports import Engine
from lifecycle.core.release import read_engine


def load_engine(
    folder: Path, *, estimator: Sequence[str] = (), workers: int | None = None, bulk: bool = False
) -> Engine:
    """Load and warm up the model of a folder.

    Args:
        folder: A model folder as training leaves it, or a release (verify it before).
        estimator: The command that runs an estimator; it is given the folder and a descriptor.
        workers: How many such processes there are; one a core, if None.
        bulk: Whether it is asked many rows at a time; the answers are the same, and trees several times as
            fast. Needs ``onnx``.

    Raises:
        IntegrityError: The model does not load, or does not take the inputs of the schema.
        ConfigError: It needs an estimator, and no command was given.
    """
    choice = read_engine(folder)
    if choice is None or choice.engine == "onnx":
        if bulk:
            from lifecycle.serving.engine.bulk import load_bulk

            return load_bulk(folder)
        from lifecycle.serving.engine.onnx import load_onnx

        return load_onnx(folder)
    if not estimator:
        raise ConfigError(
            f"scikit-learn serves {folder.name[:12]}, and this process was not told how to run an estimator",
            hint="start it with `lifecycle serve`, or hand load_engine the command",
        )
    from lifecycle.serving.engine.pool import load_pool

    return load_pool(folder, estimator, workers)
