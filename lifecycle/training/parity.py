"""The gate between the estimator that was judged and the ONNX model that answers: both must agree.

What is compared, and why those rows, stands in ``probes.py``. An estimator that no ONNX model stands in for
is asked alone: it must answer every record that its type allows, whatever rows lie beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.errors import ConfigError, ParityError
from lifecycle.core.params import SystemParams
from lifecycle.core.ports import Engine
from lifecycle.core.rows import Rows, Tensors
from lifecycle.core.system import System
from lifecycle.core.values import Parity
from lifecycle.training.foreign import describe
from lifecycle.training.frame import answers_of
from lifecycle.training.guards import scaled_trees
from lifecycle.training.probes import LEAST_ROWS, Probe, make_probes
from lifecycle.training.thresholds import NO_THRESHOLDS, Thresholds

TIE = 1e-6
"""A probability this close to the threshold is a tie: float32 cannot tell on which side it lies."""

ALONE_ROWS = 2_000
"""Rows that an estimator without ONNX model is asked: some take a second for so many."""

SINGLE_ROWS = 20
"""Rows that it is asked one by one."""


@dataclass(frozen=True)
class Agreement:
    """How the estimator and the ONNX model compare.

    Attributes:
        parity: The figures.
        failure: Names the worst row and both answers, if a bound is not kept.
    """

    parity: Parity
    failure: ParityError | None


def compare(
    model: Any,
    system: System,
    params: SystemParams,
    rows: Rows,
    engine: Engine,
    thresholds: Thresholds = NO_THRESHOLDS,
    least: int = LEAST_ROWS,
) -> Agreement:
    """Ask the estimator and the engine every probe.

    The relative difference of two answers is ``|onnx - estimator| / max(|estimator|, floor)``, where the
    floor is a tenth of the mean magnitude of the estimator's answers: an answer near zero is compared on the
    scale of the others, because float32 rounds the sums it came from, not the result.

    Args:
        model: The fitted estimator.
        system: Its schema and task.
        params: Bounds: ``requirements.parity_rtol`` and, for a classification, ``evaluation.threshold``.
        rows: The training rows.
        engine: The ONNX model, loaded as a server loads it.
        thresholds: Of the ONNX model's trees.
        least: How many rows are compared at least.

    Raises:
        ParityError: The engine has no answer at all.
        ConfigError: The estimator does not answer a record that the record type allows.
    """
    probes = make_probes(system.schema, rows, params.seed, thresholds, least)
    expected = [_answers(model, system, probe) for probe in probes]
    found = [_served(engine, system, probe) for probe in probes]
    both = np.concatenate(expected), np.concatenate(found)
    difference = relative_difference(*both)
    worst = int(np.argmax(difference))
    probe, position = _at(probes, worst)
    parity = Parity(
        rows=len(difference),
        worst_relative=float(difference[worst]),
        worst_row=f"{probe.ids[position]}{f' ({probe.what})' if probe.what else ''}",
        rtol=params.requirements.parity_rtol,
        decisions_differ=_flips(*both, params.evaluation.threshold) if system.task == "classification" else 0,
    )
    if parity.ok:
        return Agreement(parity, None)
    answers = float(both[0][worst]), float(both[1][worst])
    return Agreement(parity, _failure(parity, *answers, scaled_trees(model)))


def check_alone(model: Any, system: System, params: SystemParams, rows: Rows) -> None:
    """Ask an estimator that will answer by itself: always a number, and whatever rows lie beside it.

    Raises:
        ConfigError: It does not answer a record that the record type allows, answers with what is no number,
            or answers a row otherwise if it is asked with others.
    """
    few = rows.take(slice(0, ALONE_ROWS))
    for probe in make_probes(system.schema, few, params.seed, least=ALONE_ROWS):
        answers = _answers(model, system, probe)
        if not np.isfinite(answers).all():
            raise ConfigError(
                f"the estimator answers a row with {probe.what or 'the values of training'} with no number",
                hint="mend its predict: every record that the record type allows needs a finite answer",
            )
    real = Probe(few.ids, few.tensors)
    together = _answers(model, system, real)
    for row in np.linspace(0, len(few) - 1, min(SINGLE_ROWS, len(few)), dtype=int):
        at = slice(row, row + 1)
        alone = _answers(model, system, Probe(few.ids[at], few.tensors.take(at)))
        if relative_difference(together[at], alone)[0] > params.requirements.parity_rtol:
            raise ConfigError(
                f"the estimator answers row {few.ids[row]} otherwise if it is asked with other rows",
                hint="mend its predict: an answer may depend on its own row and on what fit has kept, only",
            )


def _at(probes: list[Probe], position: int) -> tuple[Probe, int]:
    """The probe that holds the row at a position over all of them, and where it stands in it."""
    for probe in probes:
        if position < len(probe.tensors):
            break
        position -= len(probe.tensors)
    return probe, position


def relative_difference(expected: NDArray[np.float64], found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Difference of each answer relative to its size, or to a tenth of the mean size where it is small.

    An answer that is not a finite number differs infinitely, even from itself.

    Example:
        >>> relative_difference(np.array([100.0, 0.0]), np.array([101.0, 0.05])).tolist()
        [0.01, 0.01]
    """
    finite = np.isfinite(expected) & np.isfinite(found)
    size = np.abs(np.where(finite, expected, 0.0))
    floor = max(0.1 * float(size.mean()), float(np.finfo(np.float32).tiny))
    gap = np.full(len(size), np.inf)
    gap[finite] = np.abs(found[finite] - expected[finite])
    return np.asarray(gap / np.maximum(size, floor))


def predict(model: Any, system: System, tensors: Tensors) -> NDArray[np.float64]:
    """What the estimator answers: the value, or the probability of 1; shape ``[rows]``."""
    return answers_of(model, system.schema, system.task, tensors)


def _answers(model: Any, system: System, probe: Probe) -> NDArray[np.float64]:
    try:
        return predict(model, system, probe.tensors)
    except Exception as error:  # noqa: BLE001 - any error of the user's estimator
        told = describe(error, system.schema, probe.tensors)
        raise ConfigError(
            f"the estimator does not answer a row with {probe.what or 'the values of training'}: {told}",
            hint="the record type allows such a record, so the endpoint will get it: encode categories with "
            "handle_unknown='ignore' (OneHotEncoder) or 'use_encoded_value' (OrdinalEncoder), impute missing "
            "numbers, or narrow the record type",
        ) from None


def _served(engine: Engine, system: System, probe: Probe) -> NDArray[np.float64]:
    try:
        return engine.predict(probe.tensors)
    except Exception as error:  # noqa: BLE001 - any error of the runtime
        told = describe(error, system.schema, probe.tensors)
        raise ParityError(
            f"the ONNX model does not answer a row with {probe.what or 'the values of training'}: {told}",
            hint="the conversion of the step it names is at fault: replace that step",
        ) from None


def _flips(expected: NDArray[np.float64], found: NDArray[np.float64], threshold: float) -> int:
    clear = np.abs(expected - threshold) > TIE
    return int(np.sum(clear & ((expected >= threshold) != (found >= threshold))))


def _failure(parity: Parity, expected: float, found: float, scaler: str) -> ParityError:
    flips = f", {parity.decisions_differ} decisions differ" if parity.decisions_differ else ""
    cause = (
        f"{scaler} stands in front of trees: float32 rounding of scaled values crosses their thresholds, and "
        "trees need no scaling, so remove it"
        if scaler
        else "simplify the model step by step until it passes; often a step computes in float64 what ONNX "
        "computes in float32 (subtracting nearly equal numbers, steep steps): scale or centre its inputs"
    )
    return ParityError(
        f"row {parity.worst_row}: scikit-learn answers {expected:.7g}, ONNX {found:.7g} "
        f"(relative difference {parity.worst_relative:.2g}, bound {parity.rtol:.2g}, "
        f"{parity.rows} rows{flips})",
        hint=cause,
    )
