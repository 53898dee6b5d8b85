"""The ONNX model, run in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as failures
from pydantic import ValidationError

from lifecycle.core.errors import IntegrityError
from lifecycle.core.record import RecordSchema
from lifecycle.core.release import MODEL, ROW_BY_ROW, SCHEMA, read_schema
from lifecycle.core.rows import Tensors, encode_records
from lifecycle.core.synthetic import synthetic_records

MIN_ROWS = 2
"""One row alone takes another matrix kernel and may differ by 1e-5 from itself in a batch; two never do.

A graph without matrix products says so (``ROW_BY_ROW``), and is asked one row as it is."""

_FIRST_ROWS = np.zeros(MIN_ROWS, dtype=np.intp)
_OUTPUTS = ["prediction"]
_FAULTS = (
    failures.EPFail,
    failures.Fail,
    failures.InvalidArgument,
    failures.InvalidGraph,
    failures.InvalidProtobuf,
    failures.NoModel,
    failures.NoSuchFile,
    failures.NotImplemented,
    failures.RuntimeException,
)
_HINT = "train again, or roll back to a release that loads"


class OnnxEngine:
    """An ONNX model with the inputs ``numbers`` and ``categories`` and the output ``prediction``.

    Answers do not depend on how rows are batched: matrix products and trees are equal to the last bit.
    Only functions that Eigen vectorises (``Log``, and float64 ``Exp``) may differ in that bit.

    Args:
        session: The loaded graph. Safe to call from several threads at once.
    """

    inline = True

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self.inputs = inputs_of(session)
        facts = session.get_modelmeta().custom_metadata_map
        self._least = 1 if facts.get(ROW_BY_ROW) == "yes" else MIN_ROWS

    def predict(self, tensors: Tensors) -> NDArray[np.float64]:
        """One answer per row.

        Args:
            tensors: The packed inputs, ``[rows, ...]``.

        Returns:
            float64 ``[rows]``: the value (regression) or the probability of 1 (classification).

        Raises:
            IntegrityError: The model does not give one answer per row.
        """
        rows = len(tensors)
        if rows == 0:
            return np.empty(0, dtype=np.float64)
        if rows < self._least:
            tensors = tensors.take(_FIRST_ROWS)
        answers = self._session.run(_OUTPUTS, feed(self.inputs, tensors))[0]
        if answers.size != len(tensors):
            raise IntegrityError(
                f"the model gave answers of shape {answers.shape} for {len(tensors)} rows", hint=_HINT
            )
        return np.asarray(answers.reshape(-1)[:rows], dtype=np.float64)

    def submit(self, tensors: Tensors, done: Callable[[NDArray[np.float64] | Exception], None]) -> None:
        """Call ``done`` with the answers, or with what went wrong, before this returns."""
        try:
            outcome: NDArray[np.float64] | Exception = self.predict(tensors)
        except Exception as error:  # noqa: BLE001 - whoever asked must hear of it
            outcome = error
        done(outcome)

    def close(self) -> None:
        """Nothing to do: the session goes with the last reference to it."""


def load_onnx(folder: Path) -> OnnxEngine:
    """Load and warm up the model of a folder that holds ``model.onnx`` and ``schema.json``.

    Args:
        folder: A model folder as training leaves it, or a release (verify it before).

    Raises:
        IntegrityError: The model does not load, or does not take the inputs of the schema.
    """
    schema = _schema(folder)
    try:
        engine = OnnxEngine(open_session(folder / MODEL))
        _warm_up(engine, schema)
    except _FAULTS as error:
        raise IntegrityError(
            f"{MODEL} of {folder.name[:12]} does not load: {type(error).__name__}", hint=_HINT
        ) from error
    return engine


def open_session(model: Path | bytes) -> onnxruntime.InferenceSession:
    """Load a graph, to run on one thread.

    Args:
        model: Its file, or what such a file holds.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # one row needs 10 µs: a second thread costs more than it gives
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # an arena keeps the memory of the largest batch ever seen
    options.enable_mem_pattern = False
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(
        model if isinstance(model, bytes) else str(model),
        sess_options=options,
        providers=["CPUExecutionProvider"],
    )


def inputs_of(session: onnxruntime.InferenceSession) -> frozenset[str]:
    """The names of a graph's inputs."""
    return frozenset(node.name for node in session.get_inputs())


def feed(inputs: frozenset[str], tensors: Tensors) -> dict[str, NDArray[Any]]:
    """Those of the packed inputs that a graph takes."""
    given: dict[str, NDArray[Any]] = {}
    if "numbers" in inputs:
        given["numbers"] = tensors.numbers
    if "categories" in inputs:
        given["categories"] = tensors.categories
    return given


def _schema(folder: Path) -> RecordSchema:
    try:
        return read_schema(folder)
    except (FileNotFoundError, ValidationError) as error:
        raise IntegrityError(
            f"{SCHEMA} of {folder.name[:12]} is missing or of another format", hint=_HINT
        ) from error


def _warm_up(engine: OnnxEngine, schema: RecordSchema) -> None:
    expected = {name for name in ("numbers", "categories") if getattr(schema, name)}
    if engine.inputs != expected:
        raise IntegrityError(
            f"the model takes the inputs {sorted(engine.inputs)}, its schema gives {sorted(expected)}",
            hint=_HINT,
        )
    engine.predict(encode_records(schema, synthetic_records(schema, MIN_ROWS)))
