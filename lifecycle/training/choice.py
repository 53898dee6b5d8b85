"""Which engine serves a model: ONNX where it answers alike, otherwise the estimator itself where it may."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from lifecycle.core.errors import ConversionError, IntegrityError, ParityError, TerminalError
from lifecycle.core.params import SystemParams
from lifecycle.core.ports import Engine
from lifecycle.core.release import MODEL
from lifecycle.core.requirements import Requirements
from lifecycle.core.rows import Rows
from lifecycle.core.system import System
from lifecycle.core.values import EngineChoice, Parity
from lifecycle.training.convert import to_onnx
from lifecycle.training.guards import scaled_trees
from lifecycle.training.parity import check_alone, compare
from lifecycle.training.persist import dump_estimator, load_estimator
from lifecycle.training.thresholds import thresholds_of


class _Unlike(Exception):
    """ONNX does not stand in for the estimator.

    Args:
        error: What is raised where it must.
        reason: Why not, in words that anybody may read: no record id, no answer.
    """

    def __init__(self, error: TerminalError, reason: str) -> None:
        super().__init__(reason)
        self.error = error
        self.reason = reason


def choose_engine(
    model: Any,
    system: System,
    params: SystemParams,
    rows: Rows,
    out: Path,
    load_engine: Callable[[Path], Engine],
    least: int,
) -> EngineChoice:
    """Convert a fitted estimator and prove the conversion; where that fails, see whether it may serve itself.

    What is proved is the estimator that ``model.skops`` gives back, not the one in memory.

    Args:
        model: The fitted estimator.
        system: Its schema, task and trusted types.
        params: Bounds on parity, and whether the estimator may serve itself: ``requirements``.
        rows: The training rows.
        out: Holds ``schema.json``; receives ``model.skops``, and ``model.onnx`` if that serves.
        load_engine: Loads the ONNX model of a folder, as a server does.
        least: How many rows are compared at least.

    Raises:
        ConversionError: It has no ONNX form, and must have one.
        ParityError: ONNX answers otherwise, and must not.
        ConfigError: It cannot be stored, or does not answer a record that the record type allows.
    """
    facts: dict[str, Any] = {"task": system.task, "trusted_types": system.trusted_types}
    try:
        converted = _converted(model, system, rows)
        (out / MODEL).write_bytes(converted.SerializeToString(deterministic=True))
        stored = _stored(model, system, out)
        parity = _proved(stored, converted, system, params, rows, lambda: load_engine(out), least)
        return EngineChoice(engine="onnx", parity=parity, **facts)
    except _Unlike as unlike:
        (out / MODEL).unlink(missing_ok=True)
        if not may_serve_itself(params.requirements):
            raise unlike.error from None
        check_alone(_stored(model, system, out), system, params, rows)
        return EngineChoice(engine="skops", reason=unlike.reason, **facts)


def may_serve_itself(asked: Requirements) -> bool:
    """Whether scikit-learn may answer in place of ONNX: in the cloud, unless ONNX is asked for."""
    return asked.engine == "auto" and asked.target == "cloud"


def _stored(model: Any, system: System, out: Path) -> Any:
    """The estimator as ``model.skops`` gives it back."""
    dump_estimator(model, out, system.trusted_types)
    return load_estimator(out, system.trusted_types)


def _converted(model: Any, system: System, rows: Rows) -> onnx.ModelProto:
    try:
        return to_onnx(model, system, rows.tensors)
    except ConversionError as error:
        raise _Unlike(error, error.message) from None


def _proved(
    stored: Any,
    converted: onnx.ModelProto,
    system: System,
    params: SystemParams,
    rows: Rows,
    load: Callable[[], Engine],
    least: int,
) -> Parity:
    try:
        agreement = compare(stored, system, params, rows, load(), thresholds_of(converted), least)
    except (IntegrityError, ParityError) as error:  # it does not load, or does not answer at all
        raise _Unlike(error, error.message) from None
    if agreement.failure:
        raise _Unlike(agreement.failure, _reason(agreement.parity, scaled_trees(stored)))
    return agreement.parity


def _reason(parity: Parity, scaler: str) -> str:
    flips = f", {parity.decisions_differ} decisions differ" if parity.decisions_differ else ""
    cause = f"; {scaler} stands in front of trees" if scaler else ""
    return (
        f"ONNX does not answer as the estimator does: a relative difference of {parity.worst_relative:.2g} "
        f"where {parity.rtol:.2g} is allowed, on {parity.rows} rows{flips}{cause}"
    )
