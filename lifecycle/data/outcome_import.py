"""Outcomes from a file into the log: all of them or none, and the same file only once."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from lifecycle.core.errors import SourceError
from lifecycle.core.values import Value
from lifecycle.data.log_parts import CompactedLog
from lifecycle.data.log_writing import PartWriter
from lifecycle.data.outcome_file import OutcomeFile
from lifecycle.data.outcome_join import known, reached

_SHOWN = 10


class Imported(Value):
    """What became of a file of outcomes.

    Attributes:
        rows: Outcomes that are in the log now because of this file; 0 if it had been imported already.
        refused: Rows that were left out.
        faults: The first of them, with position and reason.
        before: Whether this very file had been imported before, so that there was nothing to do.
        left_out: Outcomes of people who were erased, or have withdrawn their consent to logging.
    """

    rows: int
    refused: int = 0
    faults: tuple[str, ...] = ()
    before: bool = False
    left_out: int = 0


class OutcomeCounts(Value):
    """How outcomes stand; of those whose segments are compacted.

    Attributes:
        received: Outcomes received, repeated ones too.
        repeated: Of these, equal to one that came before: id, value and time.
        corrections: Of these, another value or time for an id that had one.
        ids: Predictions and records they speak of.
        matched: Of these, those whose prediction is in the log.
        parked: The others; they wait for their prediction.
    """

    received: int
    repeated: int
    corrections: int
    ids: int
    matched: int
    parked: int


def import_outcomes(log: CompactedLog, file: OutcomeFile, now: datetime, *, skip_bad: bool) -> Imported:
    """Store a file's outcomes in the log.

    Args:
        log: The system's log.
        file: What to read.
        now: When the outcomes are received, timezone-aware.
        skip_bad: Leave bad rows out; otherwise one is enough to store nothing.

    Raises:
        SourceError: The file cannot be read, or has bad rows; nothing is stored.
        BusyError: A compaction or another import is at work; nothing is stored.
        StorageError: The disk refuses; nothing is stored.
    """
    digest = file.digest
    with log.held():
        if any(part.source == digest for part in log.listing().parts):
            return Imported(rows=0, before=True)
        writer = PartWriter(log, digest[:16], source=digest)
        read = refused = 0
        faults: list[str] = []
        for block in file.read(now):
            writer.add("outcomes", block.rows)
            read += block.rows.height
            refused += block.refused
            faults += _told(block.faults.head(_SHOWN - len(faults)))
        if refused and not skip_bad:
            writer.discard()
            raise _bad(file.name, refused, read + refused, faults)
        log.commit(writer.finish({"outcomes": read}))
    left_out = writer.left_out.total()
    return Imported(rows=read - left_out, refused=refused, faults=tuple(faults), left_out=left_out)


def count_outcomes(log: CompactedLog) -> OutcomeCounts:
    """How the outcomes of a log stand, whatever the time.

    Raises:
        IntegrityError: A part is missing or was changed.
    """
    received = sum(part.rows for part in log.listing().parts if part.kind == "outcomes")
    outcomes = known(log.files, log.paths("outcomes"))
    different = int(outcomes["versions"].sum())
    matched = int(reached(log.files, log.paths("predictions"), outcomes).sum())
    return OutcomeCounts(
        received=received,
        repeated=received - different,
        corrections=different - outcomes.height,
        ids=outcomes.height,
        matched=matched,
        parked=outcomes.height - matched,
    )


def _told(faults: pl.DataFrame) -> list[str]:
    return [
        f"row {row}, {field}: {value}, {reason}"
        for row, field, value, reason in faults.select("row", "field", "value", "reason").iter_rows()
    ]


def _bad(name: str, refused: int, rows: int, faults: list[str]) -> SourceError:
    lines = "\n".join(f"  - {fault}" for fault in faults)
    return SourceError(
        f"{refused} of {rows} rows of {name} cannot be taken, and nothing was stored:\n{lines}",
        hint="mend these rows, or leave them out: --skip-bad",
    )
