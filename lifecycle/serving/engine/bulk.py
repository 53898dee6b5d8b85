"""The ONNX model over many rows: its trees added up by `TreeSums`, everything else by ONNX Runtime.

The answers are those of `OnnxEngine`, bit by bit. Whether that is so is looked at in every block, on some of
its rows: a batch that would publish other numbers than the endpoint is worth less than a slow one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.release import MODEL
from lifecycle.core.rows import Tensors
from lifecycle.serving.engine.cut import Cut, cut_at_trees
from lifecycle.serving.engine.onnx import OnnxEngine, feed, inputs_of, load_onnx, open_session
from lifecycle.serving.engine.trees import TreeSums, even_blocks

LEAST_ROWS = 4_096
"""With fewer rows the plain engine is as fast."""

COMPARED_ROWS = 64
"""Rows of each block that both answer."""

logger = logging.getLogger(__name__)


class BulkEngine:
    """A model whose trees are added up in bulk.

    Args:
        plain: The same model, whole.
        cut: Its parts.
    """

    inline = True

    def __init__(self, plain: OnnxEngine, cut: Cut) -> None:
        self._plain = plain
        self._front = open_session(cut.front)
        self._back = open_session(cut.back)
        self._trees = TreeSums(cut.forest)
        self._front_inputs, self._back_inputs = inputs_of(self._front), inputs_of(self._back)
        self._features, self._sums = cut.features, cut.sums

    def predict(self, tensors: Tensors) -> NDArray[np.float64]:
        """One answer per row.

        Args:
            tensors: The packed inputs, ``[rows, ...]``.

        Returns:
            float64 ``[rows]``: the value (regression) or the probability of 1 (classification).

        Raises:
            IntegrityError: The model does not give one answer per row.
        """
        if len(tensors) < LEAST_ROWS:
            return self._plain.predict(tensors)
        answers = np.empty(len(tensors), dtype=np.float64)
        for block in even_blocks(len(tensors)):
            answers[block] = self._answer(tensors.take(block))
        return answers

    def _answer(self, rows: Tensors) -> NDArray[np.float64]:
        [features] = self._front.run([self._features], feed(self._front_inputs, rows))
        given = feed(self._back_inputs, rows) | {self._sums: self._trees(features)[:, np.newaxis]}
        answers: NDArray[np.float64] = self._back.run(None, given)[0].reshape(-1).astype(np.float64)
        some = np.linspace(0, len(rows) - 1, COMPARED_ROWS, dtype=np.intp)
        if len(answers) != len(rows) or not np.array_equal(
            answers[some], self._plain.predict(rows.take(some)), equal_nan=True
        ):
            logger.error("trees in bulk answer otherwise than ONNX Runtime: it answers alone, and slower")
            return self._plain.predict(rows)
        return answers

    def submit(self, tensors: Tensors, done: Callable[[NDArray[np.float64] | Exception], None]) -> None:
        """As the whole model: whoever asks so has few rows."""
        self._plain.submit(tensors, done)

    def close(self) -> None:
        """Nothing to do: the sessions go with the last reference to them."""


def load_bulk(folder: Path) -> BulkEngine | OnnxEngine:
    """Load the model of a folder for many rows; as the endpoint does, if it has no trees to add up.

    Args:
        folder: A model folder as training leaves it, or a release (verify it before).

    Raises:
        IntegrityError: The model does not load, or does not take the inputs of the schema.
    """
    plain = load_onnx(folder)
    cut = cut_at_trees(folder / MODEL)
    return BulkEngine(plain, cut) if cut else plain
