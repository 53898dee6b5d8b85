"""Recent-data splits: validation and test are the last days, and nothing in training knows of them.

    train | purge | embargo | validation | test ]cut

The cut is just after the snapshot's last event, so a split depends on the data and its parameters alone. All
labels of a snapshot have matured; of the earlier parts, only rows whose label was known *before the next
part began* are kept (López de Prado, Advances in Financial Machine Learning, 2018, ch. 7: purging and
embargo). That holds for validation too: a decision tuned on it must not have seen a label from the days it is
tested on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from lifecycle.core.errors import StateError
from lifecycle.core.params import SplitParams
from lifecycle.core.ports import Vault
from lifecycle.core.record import RecordSchema
from lifecycle.core.values import Split, Window
from lifecycle.data.parsing import DTYPES
from lifecycle.data.partitions import list_partitions, storage_errors, write_partition
from lifecycle.data.snapshot_files import PARTITION, SnapshotFiles, snapshot_files
from lifecycle.data.tables import moment

_PARTS = ("train", "validation", "test")
_EPOCH = datetime(1970, 1, 1)


@dataclass(frozen=True)
class _Bounds:
    """Where the parts begin and end (naive UTC, half-open)."""

    train: tuple[datetime, datetime]
    validation: tuple[datetime, datetime]
    test: tuple[datetime, datetime]


def make_split(
    schema: RecordSchema, params: SplitParams, data: Path, manifest: Path, vault: Vault | None = None
) -> Split:
    """Split a snapshot, and write which record is in which part.

    The manifest is Parquet with the columns ``record_id`` (text), ``part``, ``weight`` and ``month`` (of the
    partition that holds the record), in order of event time, then id.

    Args:
        schema: The record's schema.
        params: Lengths of the parts, days.
        data: The snapshot: a folder of monthly partitions.
        manifest: The file to write. Of sealed records it holds refs, never their ids.
        vault: Opens a snapshot that is sealed.

    Returns:
        The split. With too little data it is not ``ok`` and says why; its manifest is written all the same.

    Raises:
        StateError: There is no snapshot.
        StorageError: The manifest cannot be written.
    """
    rows = _read(schema, data, snapshot_files(schema, vault))
    bounds = _bounds(schema, params, rows)
    rows, purged, embargoed = _assign(schema, params, rows, bounds)
    rows, regrouped = _keep_subjects_apart(rows)
    rows = rows.drop_nulls("part")
    with storage_errors("the split", manifest.parent):
        manifest.parent.mkdir(parents=True, exist_ok=True)
        write_partition(_manifest(rows, params.half_life_days), manifest)
    counts = {part: rows.filter(pl.col("part") == part).height for part in _PARTS}
    left_out = {"purged": purged, "embargoed": embargoed, "regrouped": regrouped}
    reason = _shortfall(params, schema.label.delay, counts, left_out)
    return Split(
        ok=not reason,
        reason=reason,
        train=_window(bounds.train, counts["train"]),
        validation=_window(bounds.validation, counts["validation"]),
        test=_window(bounds.test, counts["test"]),
        purged=purged,
        embargoed=embargoed,
        regrouped=regrouped,
        half_life_days=params.half_life_days,
        digest=hashlib.sha256(manifest.read_bytes()).hexdigest(),
    )


def _read(schema: RecordSchema, data: Path, files: SnapshotFiles) -> pl.DataFrame:
    """Id, event time, subject and month of every row, oldest first."""
    if not data.is_dir():
        raise StateError(f"there is no snapshot in {data}", hint="lifecycle data checkout SYSTEM brings it")
    subject = pl.col(files.subject) if files.subject else pl.lit(None, pl.String)
    columns = [
        pl.col(files.key),
        moment(schema).alias("time"),
        subject.alias("subject"),
        pl.col(PARTITION).alias("month"),
    ]
    types = {
        files.key: DTYPES["text"],
        "time": pl.Datetime("us"),
        "subject": pl.String(),
        "month": pl.String(),
    }
    rows = pl.DataFrame(schema=types)
    if paths := list_partitions(data):
        wanted = [files.key, schema.event_time.name, *([files.subject] if files.subject else [])]
        rows = files.read(paths, wanted)[0].select(*columns).collect()
    return rows.sort("time", files.key).with_columns(pl.col(files.key).cast(pl.String).alias("record_id"))


def _bounds(schema: RecordSchema, params: SplitParams, rows: pl.DataFrame) -> _Bounds:
    tick = timedelta(days=1) if schema.event_time.kind == "date" else timedelta(microseconds=1)
    first, last = (rows["time"][0], rows["time"][-1]) if rows.height else (_EPOCH, _EPOCH - tick)
    if schema.is_sealed:
        # A window is shown: it must not tell, not even by its change, the day of the first person.
        first = first.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    cut = last + tick
    test = cut - timedelta(days=params.test_days)
    validation = test - timedelta(days=params.validation_days)
    end = validation - schema.label.delay - timedelta(days=params.embargo_days)
    start = min(first, end)
    if params.window_days is not None:
        start = max(start, end - timedelta(days=params.window_days))
    return _Bounds((start, end), (validation, test), (test, cut))


def _assign(
    schema: RecordSchema, params: SplitParams, rows: pl.DataFrame, bounds: _Bounds
) -> tuple[pl.DataFrame, int, int]:
    """Give each row its part, or none; and count those purged and embargoed."""
    time, known = pl.col("time"), pl.col("time") + schema.label.delay
    before = time < bounds.validation[0]
    validating = time.is_between(*bounds.validation, closed="left")
    purged = (before & (known >= bounds.validation[0])) | (validating & (known >= bounds.test[0]))
    embargo = timedelta(days=params.embargo_days)
    embargoed = before & ~purged & (known + embargo >= bounds.validation[0])
    part = (
        pl.when(time >= bounds.test[0])
        .then(pl.lit("test"))
        .when(validating & ~purged)
        .then(pl.lit("validation"))
        .when(time.is_between(*bounds.train, closed="left"))
        .then(pl.lit("train"))
    )
    rows = rows.with_columns(part.alias("part"), purged.alias("purged"), embargoed.alias("embargoed"))
    return rows, int(rows["purged"].sum()), int(rows["embargoed"].sum())


def _keep_subjects_apart(rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Take a subject of a later part out of the earlier ones; and count the rows that fell out."""
    dropped = 0
    for later, earlier in (("test", ("train", "validation")), ("validation", ("train",))):
        subjects = rows.filter(pl.col("part") == later)["subject"].drop_nulls().unique()
        shared = pl.col("subject").is_in(subjects.implode()) & pl.col("part").is_in(earlier)
        straddles = shared.fill_null(False)
        dropped += rows.filter(straddles).height
        rows = rows.with_columns(pl.when(~straddles).then("part").alias("part"))
    return rows, dropped


def _manifest(rows: pl.DataFrame, half_life_days: float | None) -> pl.DataFrame:
    """The manifest's columns; a training row's weight halves with every half-life before the newest one."""
    weight = pl.lit(1.0)
    if half_life_days is not None:
        training = pl.col("part") == "train"
        newest = pl.col("time").filter(training).max()
        age = (newest - pl.col("time")).dt.total_microseconds() / (86_400_000_000 * half_life_days)
        weight = pl.when(training).then(pl.lit(0.5) ** age).otherwise(1.0)
    return rows.select("record_id", "part", weight.cast(pl.Float64).alias("weight"), "month")


def _shortfall(
    params: SplitParams, delay: timedelta, counts: dict[str, int], left_out: dict[str, int]
) -> str:
    """Why there is too little data, with all counts; nothing if there is enough."""
    needed = {
        "train": ("training", params.min_train_rows),
        "validation": ("validation", params.min_validation_rows),
        "test": ("test", params.min_test_rows),
    }
    short = [
        f"{counts[part]} {name} rows, at least {least} are needed"
        for part, (name, least) in needed.items()
        if counts[part] < least
    ]
    if not short:
        return ""
    if not any(counts.values()) and not any(left_out.values()):
        short.insert(0, "no row with a known label")
    if timedelta(days=params.validation_days) <= delay:
        short.append(
            f"validation_days {params.validation_days} must exceed the label's delay of {delay.days} days"
        )
    also = [f"{rows} {name}" for name, rows in left_out.items() if rows]
    return f"skipped: {'; '.join(short)}" + (f" ({', '.join(also)})" if also else "")


def _window(span: Sequence[datetime], rows: int) -> Window:
    start, end = (moment.replace(tzinfo=UTC) for moment in span)
    return Window(start=start, end=end, rows=rows)
