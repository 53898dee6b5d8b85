"""From all sources to monthly partitions, as of a moment."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from lifecycle.core.clock import SystemClock, parse_moment
from lifecycle.core.errors import DeclarationError
from lifecycle.core.params import SystemParams
from lifecycle.core.ports import Vault
from lifecycle.core.record import RecordSchema
from lifecycle.core.values import Counts
from lifecycle.data.batch import ORIGIN, Batch
from lifecycle.data.log_files import log_files
from lifecycle.data.months import Months, month_name
from lifecycle.data.partitions import publish, staging, storage_errors
from lifecycle.data.quarantine import Quarantine
from lifecycle.data.snapshot_files import SnapshotFiles, snapshot_files
from lifecycle.data.source_predictions import Logged
from lifecycle.data.sources import Part, open_sources, read_batches
from lifecycle.data.subjects import admit
from lifecycle.data.tables import Sifted, moment, sift

_WORKERS = 2
"""Batches or months worked on at a time; each costs memory, and Polars has threads of its own."""


@dataclass(frozen=True)
class Ingested:
    """What an ingest brought.

    Attributes:
        counts: What became of the rows of all sources.
        origins: Rows kept per origin.
        months: The partitions, oldest first, as ``1996-01``.
        last_event: Event time of the newest row, UTC; None without rows.
        quarantine: The file that describes the refused rows; None if there are none.
    """

    counts: Counts
    origins: dict[str, int]
    months: tuple[str, ...]
    last_event: datetime | None
    quarantine: Path | None


def ingest(
    schema: RecordSchema,
    params: SystemParams,
    root: Path,
    as_of: datetime,
    out: Path,
    quarantine: Path,
    log: Path | None = None,
    vault: Vault | None = None,
) -> Ingested:
    """Read, validate and merge all sources into monthly partitions.

    A row is kept if its event lies before ``as_of``, its label is known by then (event time plus delay) and
    has arrived. So nothing from after ``as_of`` can leak into a snapshot, and a later ``as_of`` with no
    newly matured row writes the same bytes. Of rows with one record id, the last in the order of the
    sources, then of their rows, is kept.

    Args:
        schema: The record's schema.
        params: The system's parameters.
        root: The project's folder; paths of sources are relative to it.
        as_of: The moment to stand at; without an offset, UTC.
        out: Folder of the partitions; months that did not change keep their files.
        quarantine: File for the description of refused rows, as JSON lines.
        log: The system's folder of the prediction log, for a source of kind ``predictions``.
        vault: Seals the rows of a record with sensitive fields before any of them reaches a disk.

    Raises:
        ConfigError: A source does not fit the record; or it must be sealed, and there is no vault.
        SourceError: A source cannot be read or is of another shape.
        UnavailableError: A database does not answer.
        QuarantineError: More rows were refused than allowed; ``out`` is left as it was.
        StorageError: The disk is full or not writable; ``out`` is left as it was.
    """
    _refuse_unfit(schema)
    files = snapshot_files(schema, vault)
    now = parse_moment(as_of)
    parts = open_sources(
        schema, params.sources, root, Logged(log, now, log_files(schema, vault)) if log else None
    )
    with storage_errors("the quarantine file", quarantine.parent):
        refused = Quarantine(quarantine)
    with refused, storage_errors("the snapshot", out.parent), staging(out) as folder:
        months = Months(schema, _made(folder / "waiting"), files=files)
        tally = _collect(schema, parts, now, months, refused, vault)
        described = refused.close()
        refused.judge(tally["quarantined"], tally["read"] - tally["future"], params.quarantine.max_share)
        tally["duplicates"], tally["corrections"] = months.settle()
        written = _write(schema, months, files, _made(folder / "finished"))
        publish(folder / "finished", out)
        files.finish(out)
    origins = sum((month.origins for month in written), Counter())
    return Ingested(
        counts=Counts(**tally, kept=origins.total()),
        origins=dict(sorted(origins.items())),
        months=tuple(month.name for month in written),
        last_event=written[-1].last_event if written else None,
        quarantine=described,
    )


def _refuse_unfit(schema: RecordSchema) -> None:
    """Refuse a record that cannot be stored, before anything is read."""
    asked = [field.name for field in schema.fields if field.consent]
    if asked and not schema.is_sealed:
        raise DeclarationError(
            f"record {schema.name} asks for consent with {', '.join(asked)}, and has no sensitive field",
            hint="mark what is about the person as Sensitive, or leave the consent out",
        )
    if ORIGIN in (field.name for field in schema.fields):
        raise DeclarationError(
            f"record {schema.name} has a field named {ORIGIN}, a column that partitions have already",
            hint="give the field another name, and map it with columns: in params.yaml",
        )


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _collect(
    schema: RecordSchema,
    parts: Sequence[Part],
    as_of: datetime,
    months: Months,
    refused: Quarantine,
    vault: Vault | None,
) -> Counter[str]:
    """Read and validate everything; what became of the rows."""
    tally: Counter[str] = Counter()
    with ThreadPoolExecutor(_WORKERS) as pool:
        validate = partial(sift, schema, as_of=as_of)
        for sifted in _ahead(pool, validate, _read_ahead(read_batches(schema, parts))):
            refused.add(sifted.faults)
            kept = sifted.kept
            if vault:
                admitted = admit(schema, vault, kept, SystemClock().now())
                kept = admitted.rows
                tally["erased"] += admitted.erased
                tally["unconsented"] += admitted.unconsented
            months.add(kept)
            for name in ("read", "quarantined", "future", "immature"):
                tally[name] += getattr(sifted, name)
    return tally


def _read_ahead(batches: Generator[Batch, None, None]) -> Iterator[Batch]:
    """Read the next batch while this one is worked on; all reading is done by one thread, as SQLite asks."""
    with ThreadPoolExecutor(1) as reader:
        try:
            upcoming = reader.submit(next, batches, None)
            while batch := upcoming.result():
                upcoming = reader.submit(next, batches, None)
                yield batch
        finally:
            reader.submit(batches.close).result()


def _ahead(pool: Executor, validate: Callable[[Batch], Sifted], batches: Iterable[Batch]) -> Iterator[Sifted]:
    """Validate a few batches while the next is read; the answers come in order."""
    waiting: deque[Future[Sifted]] = deque()
    for batch in batches:
        waiting.append(pool.submit(validate, batch))
        if len(waiting) > _WORKERS:
            yield waiting.popleft().result()
    for future in waiting:
        yield future.result()


class _Month(NamedTuple):
    name: str
    origins: Counter[str]
    last_event: datetime


def _write(schema: RecordSchema, months: Months, files: SnapshotFiles, folder: Path) -> list[_Month]:
    """Write every month that has rows, oldest first."""

    def write(month: int) -> _Month | None:
        rows = months.rows(month)
        if not rows.height:
            return None
        name = month_name(month)
        files.write(rows, folder / f"{name}.parquet")
        last: datetime = rows.tail(1).select(moment(schema)).item()
        origins = Counter(dict(rows.group_by(ORIGIN).len().iter_rows()))
        return _Month(name, origins, last.replace(tzinfo=UTC))

    with ThreadPoolExecutor(_WORKERS) as pool:
        return [written for written in pool.map(write, months.months()) if written]
