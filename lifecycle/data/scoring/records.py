"""A chunk's rows on their way to the model, and its answers on their way to a file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lifecycle.core.ports import Vault
from lifecycle.core.purposes import SCORING
from lifecycle.core.record import SCORED_RECORD, SUBJECT_REF, RecordSchema
from lifecycle.core.rows import Tensors, encode
from lifecycle.core.scoring import ScoreCounts
from lifecycle.data.batch import ROW
from lifecycle.data.reading import as_column
from lifecycle.data.scoring.chunks import Chunk, Piece
from lifecycle.data.tables import FAULTS, screen

PERSON = "#person"
"""The identifier of a row's subject, until it has a ref."""


@dataclass(frozen=True)
class Asked:
    """The rows of a chunk that the model is asked about, and what is wrong with the others.

    Attributes:
        index: Of the chunk.
        read: Rows in the chunk.
        positions: ``row``, counted from 1 over all files, and ``record_id`` of every row that is whole.
        tensors: Those rows as the model sees them.
        faults: Lines as in ``tables.FAULTS``.
        erased, unconsented: Rows that may not be scored, and are not among them.
    """

    index: int
    read: int
    positions: pl.DataFrame
    tensors: Tensors
    faults: pl.DataFrame
    erased: int = 0
    unconsented: int = 0


@dataclass(frozen=True)
class Stamp:
    """What every row of the output says about where it comes from.

    Attributes:
        job: What its predictions are known by.
        release: Digest of the release.
        version: Its registered version.
        threshold: Decision threshold; None for a regression, whose output has no decisions.
    """

    job: str
    release: str
    version: str
    threshold: float | None


@dataclass(frozen=True)
class Answered:
    """The answers to a chunk.

    Attributes:
        index: Of the chunk.
        table: The columns of the output.
        faults: As in ``Asked``.
        counts: What became of the rows.
        answers: float64 ``[rows]``; NaN where there is no finite answer.
    """

    index: int
    table: pl.DataFrame
    faults: pl.DataFrame
    counts: ScoreCounts
    answers: NDArray[np.float64]


def admit(schema: RecordSchema, vault: Vault, asked: Asked, now: datetime) -> Asked:
    """The rows of a chunk that may be scored, each with the ref of its subject.

    Who was erased is left out, and who withdrew; where the record has a field ``Consent("scoring")``, so is
    who never agreed.

    Args:
        schema: Of the sealed record.
        vault: Of the system.
        asked: The rows.
        now: The moment at which they are scored.
    """
    people = asked.positions[PERSON]
    distinct = people.unique(maintain_order=True)
    known_as = pl.DataFrame(
        [distinct, pl.Series(SUBJECT_REF, vault.admit(distinct.to_list()), dtype=pl.Binary)]
    )
    found = asked.positions.join(known_as, on=PERSON, how="left", maintain_order="left").drop(PERSON)
    staying = found[SUBJECT_REF].is_not_null()
    needed = any(field.consent == SCORING for field in schema.fields)
    told = iter(vault.consents(found.filter(staying)[SUBJECT_REF].to_list(), SCORING, now))
    agreed = [here and bool(next(told) if needed else next(told) is not False) for here in staying]
    kept = np.array(agreed, dtype=np.bool_)
    return replace(
        asked,
        positions=found.filter(pl.Series(kept, dtype=pl.Boolean)),
        tensors=asked.tensors.take(kept),
        erased=int((~staying).sum()),
        unconsented=int(staying.sum()) - int(kept.sum()),
    )


def ask(schema: RecordSchema, key: str, chunk: Chunk, person: str | None = None) -> Asked:
    """Validate a chunk as at ingest, and encode what is whole as the endpoint does.

    Args:
        schema: As of ``Inputs``.
        key: Name of the record's id.
        chunk: The rows.
        person: Name of the subject's identifier, where rows are to be sealed.
    """
    screened = [_screened(schema, key, piece, person) for piece in chunk.pieces]
    return Asked(
        index=chunk.index,
        read=chunk.rows,
        positions=pl.concat([positions for positions, _, _ in screened]),
        tensors=Tensors(
            np.concatenate([tensors.numbers for _, tensors, _ in screened]),
            np.concatenate([tensors.categories for _, tensors, _ in screened]),
        ),
        faults=pl.concat([faults for _, _, faults in screened]),
    )


def _screened(
    schema: RecordSchema, key: str, piece: Piece, person: str | None
) -> tuple[pl.DataFrame, Tensors, pl.DataFrame]:
    found = screen(schema, piece.batch)
    frame = found.whole
    columns = {field.name: as_column(field, frame[field.name]) for field in schema.features}
    with np.errstate(over="ignore"):
        tensors = encode(schema, columns, frame.height)
    positions = frame.select((pl.col(ROW) + piece.offset).alias("row"), pl.col(key).alias(SCORED_RECORD))
    if person:
        positions = positions.with_columns(frame[person].cast(pl.String).alias(PERSON))
    if not (beyond := np.isinf(tensors.numbers)).any():
        return positions, tensors, found.faults
    fits = ~np.asarray(beyond.any(axis=1))
    faults = pl.concat([found.faults, _beyond(schema, piece.batch.source, frame[ROW], beyond)])
    return positions.filter(pl.Series(fits)), tensors.take(fits), faults.sort("row", maintain_order=True)


def _beyond(schema: RecordSchema, source: str, rows: pl.Series, beyond: NDArray[np.bool_]) -> pl.DataFrame:
    """Numbers that are finite and that the model's float32 cannot hold."""
    row, column = np.nonzero(beyond)
    lines = {
        "source": [source] * len(row),
        "row": rows.gather(row),
        "field": [schema.numbers[i] for i in column],
        "value": ["too large"] * len(row),
        "reason": ["is beyond what the model can represent (float32)"] * len(row),
    }
    return pl.DataFrame(lines, schema=FAULTS)


@dataclass(frozen=True)
class Said:
    """What is said beside the answers to a chunk.

    Attributes:
        features: Names of the features that moved each answer most, text or None ``[rows, count]``.
        effects: By how much, float64 ``[rows, count]``; NaN where there is none.
        abstained: Why a row gets no decision, text or None ``[rows]``.
    """

    features: NDArray[np.object_]
    effects: NDArray[np.float64]
    abstained: NDArray[np.object_]

    def columns(self) -> list[pl.Series]:
        """As they stand in the output: ``abstained``, then ``reason_1``, ``effect_1``, and so on."""
        columns = [pl.Series("abstained", self.abstained.tolist(), dtype=pl.String)]
        for i in range(self.features.shape[1]):
            columns.append(pl.Series(f"reason_{i + 1}", self.features[:, i].tolist(), dtype=pl.String))
            columns.append(pl.Series(f"effect_{i + 1}", self.effects[:, i]).fill_nan(None))
        return columns


def answered(
    asked: Asked, predictions: NDArray[np.float64], stamp: Stamp, said: Said | None = None
) -> Answered:
    """The output's rows for a chunk.

    Args:
        asked: The rows.
        predictions: The engine's answers, one per row.
        stamp: Where they come from.
        said: What is said beside them; a row that abstains has no decision.
    """
    answers = np.where(np.isfinite(predictions), predictions, np.nan)
    prediction = pl.Series("prediction", answers).fill_nan(None)
    beside = said.columns() if said else []
    decision = [] if stamp.threshold is None else [_decision(prediction, stamp.threshold, beside)]
    table = asked.positions.with_columns(
        prediction,
        *decision,
        *beside,
        release=pl.lit(stamp.release),
        version=pl.lit(stamp.version),
        prediction_id=pl.format(f"{stamp.job}-{{}}", "row"),
    )
    counts = ScoreCounts(
        read=asked.read,
        scored=table.height,
        quarantined=asked.read - table.height - asked.erased - asked.unconsented,
        unanswered=prediction.null_count(),
        abstained=table.height - beside[0].null_count() if beside else 0,
        erased=asked.erased,
        unconsented=asked.unconsented,
    )
    return Answered(asked.index, table, asked.faults, counts, answers)


def _decision(prediction: pl.Series, threshold: float, beside: list[pl.Series]) -> pl.Series:
    """Whether each answer reaches the threshold; null where it abstains."""
    decision = (prediction >= threshold).alias("decision")
    if not beside:
        return decision
    kept = pl.when(beside[0].is_null()).then(decision).alias("decision")
    return pl.select(kept).to_series()
