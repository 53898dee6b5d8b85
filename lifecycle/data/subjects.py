"""Whose rows may enter a snapshot: subjects become refs, and who was erased or does not agree stays out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from lifecycle.core.errors import QuarantineError
from lifecycle.core.ports import Vault
from lifecycle.core.purposes import TRAINING
from lifecycle.core.record import RECORD_REF, SUBJECT_REF, RecordSchema
from lifecycle.data.batch import ORIGIN

_PERSON = "#person"
OWN = "user"
"""The origin whose rows need consent; what was licensed came with its own."""


@dataclass(frozen=True)
class Admitted:
    """Rows whose subjects are known and agree.

    Attributes:
        rows: With the columns ``SUBJECT_REF`` and ``RECORD_REF``.
        erased: Rows left out because their subject was erased.
        unconsented: Rows left out because their subject did not agree, or does so no longer.
    """

    rows: pl.DataFrame
    erased: int
    unconsented: int


def admit(schema: RecordSchema, vault: Vault, rows: pl.DataFrame, now: datetime) -> Admitted:
    """Register the subjects of some rows, and set apart what may not be learnt from.

    What a subject told us counts; where it told nothing, the record's own field ``Consent("training")``.
    A row without either is left out. Consent is asked for *now*: whoever replays a past day learns from the
    data today.

    Args:
        schema: Of a sealed record.
        vault: Of the system.
        rows: Valid rows with the record's fields and ``origin``.
        now: The moment at which this is done.

    Raises:
        QuarantineError: A row names no subject.
    """
    subject = schema.subject_id
    assert subject is not None, "declared: a sealed record has one"
    if nobody := rows[subject.name].null_count():
        raise QuarantineError(
            f"{nobody} of {rows.height} rows name no {subject.name}: nobody could erase them",
            hint="give every row its subject in the source",
        )
    if not rows.height:
        empty = rows.with_columns(
            pl.lit(None, pl.Binary).alias(SUBJECT_REF), pl.lit(None, pl.String).alias(RECORD_REF)
        )
        return Admitted(empty, 0, 0)
    # One by one distinct, so that a subject with many rows is asked for once.
    people = rows[subject.name].cast(pl.String).unique(maintain_order=True)
    refs = pl.Series(SUBJECT_REF, vault.admit(people.to_list()), dtype=pl.Binary)
    person = pl.col(subject.name).cast(pl.String).alias(_PERSON)
    known_as = pl.DataFrame([people.alias(_PERSON), refs])
    found = rows.with_columns(person).join(known_as, on=_PERSON, how="left", maintain_order="left")
    found = found.drop(_PERSON)
    known = found.filter(pl.col(SUBJECT_REF).is_not_null())
    agreed = known.filter(_agreed(schema, vault, known, now))
    ids = agreed[schema.record_id.name].cast(pl.String).to_list()
    names = vault.record_refs(agreed[SUBJECT_REF].to_list(), ids)
    return Admitted(
        rows=agreed.with_columns(pl.Series(RECORD_REF, names, dtype=pl.String)),
        erased=found.height - known.height,
        unconsented=known.height - agreed.height,
    )


def _agreed(schema: RecordSchema, vault: Vault, rows: pl.DataFrame, now: datetime) -> pl.Series:
    """Which rows may be learnt from, bool ``[rows]``."""
    fields = [field.name for field in schema.fields if field.consent == TRAINING]
    written = pl.all_horizontal(pl.col(name).fill_null(False) for name in fields) if fields else pl.lit(False)
    told = pl.Series("#told", vault.consents(rows[SUBJECT_REF].to_list(), TRAINING, now), dtype=pl.Boolean)
    return rows.with_columns(told).select((pl.col(ORIGIN) != OWN) | pl.coalesce("#told", written)).to_series()
