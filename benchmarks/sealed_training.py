"""Training on sealed records, beside the same patients in clear."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks.bench import Bench
from benchmarks.clinic import Clinic
from benchmarks.figure import Beside, Bound, Figure, Measured, Samples
from lifecycle.core.params import SourceParams
from lifecycle.core.ports import Vault
from lifecycle.core.record import RecordSchema
from lifecycle.core.rows import Rows
from lifecycle.data.ingest import ingest
from lifecycle.data.partitions import list_partitions
from lifecycle.data.reading import read_rows
from lifecycle.data.splits import make_split
from lifecycle.training.fit import fit
from systems.patient_outcome import SYSTEM
from systems.patient_outcome.cohort import PATIENTS

AS_OF = datetime(2026, 1, 1, tzinfo=UTC)
SOURCE = "patients.parquet"


@dataclass(frozen=True)
class _Snapshot:
    """A snapshot of the patients and its split.

    Attributes:
        schema: Of the record, with or without sensitive fields.
        data: The folder of monthly partitions.
        manifest: Of the split.
        vault: Opens it, if it is sealed.
    """

    schema: RecordSchema
    data: Path
    manifest: Path
    vault: Vault | None

    def rows(self) -> Rows:
        """The training rows, as a flow loads them."""
        return read_rows(self.schema, self.data, self.manifest, "train", self.vault)


@dataclass(frozen=True)
class _Found:
    """One snapshot's seconds of processor time, loading and fitting, round by round; and its size."""

    sealed: list[tuple[float, float]]
    clear: list[tuple[float, float]]
    partitions: int
    rows: int


def measure(bench: Bench) -> Figure:
    """Load and fit in turn, sealed and in clear, from small partitions and from large ones."""
    lines: list[Measured] = []
    for span in bench.size.spans:
        bench.say(f"sealed-training: {bench.size.trained:,} patients, {span} months to a partition")
        found = _rounds(bench, span)
        lines += _lines(found, f"{found.partitions} partitions, {found.rows:,} rows to fit")
    return Figure(
        name="sealed-training",
        title="Training on sealed records",
        how=(
            f"{bench.size.trained:,} patients, drawn with replacement from the real ones of {SYSTEM.name}, "
            "each a person with a key, in snapshots of many small partitions and of few large ones: once "
            "sealed and once with the same fields in clear. The rows of the training part are loaded as a "
            "flow loads them (manifest verified, policy asked, read put on record, opened, joined with the "
            "split, encoded), and the system's own model is fitted on them, on one thread; raw keys are in "
            f"memory after the first time. Seconds of processor time, {bench.size.trainings} rounds in turn, "
            "compared round by round."
        ),
        lines=tuple(lines),
    )


def _rounds(bench: Bench, span: int) -> _Found:
    clinic = Clinic(bench.folder / f"training-{span}")
    _write_patients(clinic.root / SOURCE, bench.size.trained, span)
    sealed = _snapshot(clinic, SYSTEM.schema, "sealed", clinic.vault)
    clear = _snapshot(clinic, _in_clear(SYSTEM.schema), "clear", None)
    rows = _same(sealed.rows(), clear.rows())
    taken = sealed_times, clear_times = list[tuple[float, float]](), list[tuple[float, float]]()
    for number in range(bench.size.trainings + 1):
        turn = list(zip(taken, (sealed, clear), strict=True))
        for times, snapshot in turn if number % 2 else turn[::-1]:
            seconds = _train(clinic, snapshot)
            if number:  # the first round warms up
                times.append(seconds)
    return _Found(sealed_times, clear_times, len(list_partitions(clear.data)), rows)


def _lines(found: _Found, at: str) -> list[Measured]:
    times = (sum(ours) / sum(plain) for ours, plain in zip(found.sealed, found.clear, strict=True))
    return [
        _line(f"loading and fitting, {at}", found, sum),
        _line(f"loading alone, {at}", found, lambda seconds: seconds[0]),
        Measured(
            f"training on sealed records, {at}: times the same in clear",
            Samples.of(times, ""),
            Bound("at most", 1.3),
        ),
    ]


def _line(what: str, found: _Found, of: Callable[[tuple[float, float]], float]) -> Measured:
    plain = Beside("in clear", Samples.of(map(of, found.clear), "s"))
    return Measured(what, Samples.of(map(of, found.sealed), "s"), beside=plain)


def _train(clinic: Clinic, snapshot: _Snapshot) -> tuple[float, float]:
    """Seconds of processor time that loading and fitting take."""
    with threadpool_limits(limits=1):  # as training does
        begun = time.process_time()
        rows = snapshot.rows()
        loaded = time.process_time()
        fit(SYSTEM, clinic.params, rows)
        return loaded - begun, time.process_time() - loaded


def _snapshot(clinic: Clinic, schema: RecordSchema, name: str, vault: Vault | None) -> _Snapshot:
    folder = clinic.root / name
    source = SourceParams(kind="parquet", path=SOURCE, origin="user")
    params = clinic.params.model_copy(update={"sources": (source,)})
    data, manifest = folder / "data", folder / "split" / "manifest.parquet"
    found = ingest(schema, params, clinic.root, AS_OF, data, folder / "refused.jsonl", vault=vault)
    if found.counts.kept != found.counts.read:
        raise AssertionError(f"{found.counts.kept} of {found.counts.read} patients were kept")
    make_split(schema, params.split, data, manifest, vault)
    return _Snapshot(schema, data, manifest, vault)


def _same(ours: Rows, plain: Rows) -> int:
    """How many rows both hold; they must be the same ones."""
    if len(ours) != len(plain) or not np.array_equal(np.sort(ours.label), np.sort(plain.label)):
        raise AssertionError("the sealed rows are not those in clear")
    return len(ours)


def _in_clear(schema: RecordSchema) -> RecordSchema:
    fields = (field.model_copy(update={"sensitive": None, "consent": None}) for field in schema.fields)
    return RecordSchema(name=schema.name, description=schema.description, fields=tuple(fields))


def _write_patients(path: Path, count: int, span: int) -> None:
    """So many patients whose outcome is known and who agree, seen on the first day of a span."""
    label, ids = SYSTEM.schema.label.name, ("visit_id", "patient_id")
    known = pl.read_csv(PATIENTS, infer_schema_length=None, try_parse_dates=True).drop_nulls(label)
    drawn = known.sample(count, with_replacement=True, seed=1)
    names = pl.int_range(count).cast(pl.String)
    new = [pl.concat_str(pl.lit(name[0].upper()), names).alias(name) for name in ids]
    seen = pl.col(SYSTEM.schema.event_time.name).dt.truncate(f"{span}mo")
    drawn.with_columns(*new, seen, consent_training=pl.lit(1)).write_parquet(path)
