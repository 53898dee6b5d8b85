"""The rows on which an estimator and its conversion are compared: real ones, and invented ones.

They are invented where conversions go wrong: a float32 step beside real values, at and beside the thresholds
of the converted trees, real values in new combinations, and what the record type allows but training never
saw (a declared choice, a missing optional, an unknown word).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.record import FieldSpec, RecordSchema
from lifecycle.core.rows import Rows, Tensors
from lifecycle.training.thresholds import CONTINUOUS, NO_THRESHOLDS, Thresholds, beside_thresholds

LEAST_ROWS = 100_000
"""So many rows are compared at least, however few there are to train on."""

REAL_ROWS = 100_000
INVENTED_ROWS = 20_000
"""Of each kind; of mixed rows as many more as ``LEAST_ROWS`` asks for."""

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


def make_probes(
    schema: RecordSchema,
    rows: Rows,
    seed: int,
    thresholds: Thresholds = NO_THRESHOLDS,
    least: int = LEAST_ROWS,
) -> list[Probe]:
    """The real rows, and rows made from them; the same seed makes the same ones.

    Args:
        schema: Names the columns, and says what a record may hold.
        rows: The training rows.
        seed: Of every choice.
        thresholds: Of the converted model's trees.
        least: How many rows there are at least, over all probes.
    """
    random = np.random.default_rng(seed)
    real = _some(rows, REAL_ROWS, random)
    few = min(INVENTED_ROWS, max(least // 5, 1))
    beside = _some(rows, few, random)
    stepped = _step_aside(schema, beside.tensors, random)
    probes = [
        Probe(real.ids, real.tensors),
        Probe(beside.ids, stepped, "each number moved by at most one float32 step"),
    ]
    if len(thresholds):
        split = rows.take(random.integers(len(rows), size=few))
        placed = beside_thresholds(schema, split.tensors, rows.tensors, thresholds, random)
        probes.append(
            Probe(split.ids, placed, "numbers at the trees' thresholds, or one float32 step beside")
        )
    mixed = random.integers(len(beside), size=max(few, least - sum(len(probe.tensors) for probe in probes)))
    probes.append(
        Probe(
            beside.ids[mixed],
            Tensors(
                random.permuted(stepped.numbers[mixed], axis=0),
                random.permuted(stepped.categories[mixed], axis=0),
            ),
            "values mixed with those of other rows",
        )
    )
    return [*probes, *_unseen(schema, beside, real.tensors)]


def _some(rows: Rows, most: int, random: np.random.Generator) -> Rows:
    """All rows, or as many of them, in their order."""
    if len(rows) <= most:
        return rows
    return rows.take(np.sort(random.choice(len(rows), most, replace=False)))


def _step_aside(schema: RecordSchema, tensors: Tensors, random: np.random.Generator) -> Tensors:
    """Move continuous numbers one float32 step down, up or not at all, within the range that was seen."""
    numbers = tensors.numbers.copy()
    for i, name in enumerate(schema.numbers):
        if schema[name].kind not in CONTINUOUS:
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
