"""The gate between the estimator that was judged and the ONNX model that answers: both must agree.

Compared are the real training rows, and rows invented where conversions go wrong: a float32 step beside real
values (a tree's threshold may lie there), real values in new combinations, and what the record type allows
but training never saw (a declared choice, a missing optional, an unknown word).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.errors import ConfigError, ParityError
from lifecycle.core.params import SystemParams
from lifecycle.core.ports import Engine
from lifecycle.core.record import FieldSpec, RecordSchema
from lifecycle.core.rows import Rows, Tensors
from lifecycle.core.system import System
from lifecycle.core.values import Parity
from lifecycle.training.foreign import describe
from lifecycle.training.frame import to_frame
from lifecycle.training.guards import scaled_trees

REAL_ROWS = 100_000
INVENTED_ROWS = 20_000
TIE = 1e-6
"""A probability this close to the threshold is a tie: float32 cannot tell on which side it lies."""
_UNSEEN_WORD = "\N{REPLACEMENT CHARACTER}unseen"


@dataclass(frozen=True)
class Probe:
    """Rows to compare, and what they are.

    Attributes:
        ids: Record ids of the rows they were made from.
        tensors: The inputs.
        what: How they differ from those rows, for the message; empty for real rows.
    """

    ids: NDArray[np.str_]
    tensors: Tensors
    what: str = ""


def check_parity(model: Any, system: System, params: SystemParams, rows: Rows, engine: Engine) -> Parity:
    """Compare the estimator with the engine on every probe.

    The relative difference of two answers is ``|onnx - estimator| / max(|estimator|, floor)``, where the
    floor is a tenth of the mean magnitude of the estimator's answers: an answer near zero is compared on the
    scale of the others, because float32 rounds the sums it came from, not the result.

    Args:
        model: The fitted estimator.
        system: Its schema and task.
        params: Bounds: ``requirements.parity_rtol`` and, for a classification, ``evaluation.threshold``.
        rows: The training rows; at most ``REAL_ROWS`` of them are compared.
        engine: The ONNX model, loaded as a server loads it.

    Returns:
        The figures; the bound is kept.

    Raises:
        ParityError: It is not; the worst row and both answers are named.
        ConfigError: The estimator does not answer a record that the record type allows.
    """
    probes = make_probes(system.schema, rows, params.seed)
    expected = [_answers(model, system, probe) for probe in probes]
    found = [_served(engine, system, probe) for probe in probes]
    both = np.concatenate(expected), np.concatenate(found)
    difference = relative_difference(*both)
    worst = int(np.argmax(difference))
    labels = [(i, probe) for probe in probes for i in range(len(probe.tensors))]
    position, probe = labels[worst]
    parity = Parity(
        rows=len(difference),
        worst_relative=float(difference[worst]),
        worst_row=f"{probe.ids[position]}{f' ({probe.what})' if probe.what else ''}",
        rtol=params.requirements.parity_rtol,
        decisions_differ=_flips(*both, params.evaluation.threshold) if system.task == "classification" else 0,
    )
    if not parity.ok:
        raise _failure(parity, float(both[0][worst]), float(both[1][worst]), scaled_trees(model))
    return parity


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


def make_probes(schema: RecordSchema, rows: Rows, seed: int) -> list[Probe]:
    """The real rows, and rows made from them; the same seed makes the same ones."""
    random = np.random.default_rng(seed)
    if len(rows) > REAL_ROWS:
        rows = rows.take(np.sort(random.choice(len(rows), REAL_ROWS, replace=False)))
    some = rows.take(np.sort(random.choice(len(rows), min(len(rows), INVENTED_ROWS), replace=False)))
    stepped = _step_aside(schema, some.tensors, random)
    mixed = Tensors(random.permuted(stepped.numbers, axis=0), random.permuted(stepped.categories, axis=0))
    return [
        Probe(rows.ids, rows.tensors),
        Probe(some.ids, stepped, "each number moved by at most one float32 step"),
        Probe(some.ids, mixed, "values mixed with those of other rows"),
        *_unseen(schema, some, rows.tensors),
    ]


def _step_aside(schema: RecordSchema, tensors: Tensors, random: np.random.Generator) -> Tensors:
    """Move continuous numbers one float32 step down, up or not at all, within the range that was seen."""
    numbers = tensors.numbers.copy()
    for i, name in enumerate(schema.numbers):
        if schema[name].kind not in ("number", "datetime"):
            continue  # a whole number has no neighbours that a record could hold
        column = numbers[:, i]
        seen = column[~np.isnan(column)]
        if len(seen):
            towards = random.choice([-np.inf, 0.0, np.inf], len(column))
            moved = np.nextafter(column, np.where(towards == 0, column, towards).astype(np.float32))
            numbers[:, i] = np.clip(moved, seen.min(), seen.max())
    return Tensors(numbers, tensors.categories)


def _unseen(schema: RecordSchema, some: Rows, seen: Tensors) -> list[Probe]:
    """A few real rows with one field set to what the record type allows and training never saw."""
    base = some.take(slice(0, 20))
    probes = []
    for i, name in enumerate(schema.numbers):
        if schema[name].optional and not np.isnan(seen.numbers[:, i]).any():
            numbers = base.tensors.numbers.copy()
            numbers[:, i] = np.nan
            probes.append(Probe(base.ids, Tensors(numbers, base.tensors.categories), f"{name} missing"))
    for i, name in enumerate(schema.categories):
        for value, what in _unseen_categories(schema[name], set(seen.categories[:, i])):
            categories = base.tensors.categories.copy()
            categories[:, i] = value
            probes.append(Probe(base.ids, Tensors(base.tensors.numbers, categories), what))
    return probes


def _unseen_categories(spec: FieldSpec, seen: set[str]) -> list[tuple[str, str]]:
    values = [(choice, f"{spec.name}={choice!r}, never seen in training") for choice in spec.choices or ()]
    if not spec.choices:
        values.append((_UNSEEN_WORD, f"{spec.name} of a word never seen in training"))
    if spec.optional:
        values.append(("", f"{spec.name} missing"))
    return [(value, what) for value, what in values if value not in seen]


def predict(model: Any, system: System, tensors: Tensors) -> NDArray[np.float64]:
    """What the estimator answers: the value, or the probability of 1; shape ``[rows]``."""
    frame = to_frame(system.schema, tensors)
    answers = model.predict(frame) if system.task == "regression" else model.predict_proba(frame)[:, 1]
    return np.asarray(answers, dtype=np.float64).reshape(len(tensors))


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
