"""Scoring a file of house sales: read, validated, answered, written and published, beside scikit-learn."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from benchmarks.bench import Bench
from benchmarks.commands import PYTHON, ROOT, environment, run
from benchmarks.figure import Beside, Bound, Figure, Measured, Samples
from benchmarks.house_prices import sales, trained

BLOCK = 500_000
SLOW_ROWS = 500_000
"""As many rows as scikit-learn is given: its speed does not depend on how many there are."""


def measure(bench: Bench) -> Figure:
    """Score many resampled sales; the same rows with pandas and scikit-learn."""
    folder = bench.folder / "batch"
    train, _ = sales(folder / "sales")
    model = trained(bench, train.take(slice(None, None, bench.size.every)))
    rows, few = bench.size.scored, min(bench.size.scored, SLOW_ROWS)
    many = _resampled(folder / "sales" / "data", folder / "many.parquet", rows)
    some = _resampled(folder / "sales" / "data", folder / "some.parquet", few)
    ours = _run(bench, "ours", many, folder, model)
    user = _run(bench, "sklearn", some, folder, model)
    engine, estimator = (_run(bench, way, some, folder, model) for way in ("engine", "estimator"))
    return Figure(
        name="batch",
        title="Scoring a batch",
        how=(
            f"One Parquet file of {rows:,} sales, drawn with replacement from the real ones, scored by the "
            "house-price model in a process of its own: files hashed, every row validated, answered by one "
            "engine thread, parts fsynced, checked and published. Beside it, on the first "
            f"{few:,} rows drawn alike: pandas reads the same file in chunks of the same size, the fitted "
            "scikit-learn estimator predicts (`OMP_NUM_THREADS=1`), pandas writes; nothing is validated. "
            "Engine and estimator alone answer rows that are ready in memory. Memory is resident, of the "
            "process, when a tenth of the rows is done and at the end."
        ),
        lines=(
            _rate(
                "end to end",
                ours,
                Bound("at least", 5 * _speed(user)),
                "scikit-learn",
                user,
            ),
            _rate("the engine alone", engine, None, "the estimator alone", estimator),
            Measured(
                "memory at the end, beside that at a tenth",
                Samples((ours["end_mb"],), "MB"),
                Bound("at most", round(1.1 * ours["tenth_mb"], 1)),
                Beside("at a tenth of the rows", Samples((ours["tenth_mb"],), "MB")),
            ),
        ),
        notes=(
            f"The model itself takes {_speed(ours) / _speed(engine):.0%} of the time: 400 boosted trees a "
            "row. Reading, validating, encoding and writing run beside it.",
        ),
    )


def _speed(found: dict[str, Any]) -> float:
    return float(found["rows"] / found["seconds"])


def _rate(
    what: str, found: dict[str, Any], bound: Bound | None, name: str, other: dict[str, Any]
) -> Measured:
    beside = Beside(name, Samples((_speed(other),), "rows/s"))
    return Measured(what, Samples((_speed(found),), "rows/s"), bound, beside)


def _run(bench: Bench, way: str, source: Path, folder: Path, model: Path) -> dict[str, Any]:
    target = folder / "target"
    words = (*PYTHON, "-m", "benchmarks.scoring", way, str(source), str(target), str(model))
    done = run(words, ROOT, environment(extra={"PYTHONPATH": str(ROOT)}))
    found: dict[str, Any] = json.loads(done.stdout)
    for made in (target, folder / "target-home"):
        shutil.rmtree(made, ignore_errors=True)
    bench.say(f"batch: {way}: {_speed(found):,.0f} rows/s")
    return found


def _resampled(data: Path, path: Path, rows: int) -> Path:
    """Real sales drawn with replacement, each with an id of its own."""
    real = pl.read_parquet(data / "*.parquet").drop("price", "origin")
    writer = None
    for first in range(0, rows, BLOCK):
        count = min(BLOCK, rows - first)
        ids = pl.Series(np.arange(first, first + count)).cast(pl.String)
        table = real.sample(count, with_replacement=True, seed=first).with_columns(sale_id=ids).to_arrow()
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer:
        writer.close()
    return path
