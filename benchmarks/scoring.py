"""One batch of house sales, in a process of its own: ``python scoring.py WAY SOURCE TARGET MODEL``.

``ours`` scores with the whole pipeline: identified, validated, answered, written, checked, published.
``sklearn`` does what a user would: pandas reads, the fitted estimator predicts, pandas writes.
``engine`` and ``estimator`` only answer, with everything already in memory. Prints what it saw, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq

from benchmarks.commands import ROOT
from lifecycle.core.params import load_params
from lifecycle.core.release import write_release
from lifecycle.core.scoring import CHUNK_ROWS, ScoreRequest
from lifecycle.core.values import Deployment, Lineage, Parity, Window
from lifecycle.records.signing import Ed25519Signer
from lifecycle.rollout.ledger import SqlLedger
from lifecycle.serving.engine import load_engine
from lifecycle.serving.store import VerifiedReleaseStore
from lifecycle.steps.score import Scorer
from lifecycle.steps.score_chunks import answer_all
from systems.house_prices import SYSTEM

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
ANSWERED_ROWS = 200_000


def main() -> None:
    """Measure one way."""
    way, source, target, model = sys.argv[1:]
    ways: dict[str, Callable[[Path, Path, Path], dict[str, Any]]] = {
        "ours": ours,
        "sklearn": sklearn,
        "engine": engine,
        "estimator": estimator,
    }
    found = ways[way](Path(source), Path(target), Path(model))
    print(json.dumps(found))


def ours(source: Path, target: Path, model: Path) -> dict[str, Any]:
    """Rows, seconds, and resident MB at a tenth of the rows and at the end."""
    scorer = _scorer(source, target, model)
    rows = pq.ParquetFile(source).metadata.num_rows
    start = time.perf_counter()
    with scorer.opened():
        job = scorer.prepare()
        work = scorer.work
        work.begin(job.plan, restart=False)
        records, seen, done = [], [], 0
        for record in answer_all(job, work, load_engine(job.release, bulk=True), threads=1):
            records.append(record)
            done += record.counts.read
            seen.append((done, psutil.Process().memory_info().rss / 1e6))
        result = scorer.publish(job, records)
    seconds = time.perf_counter() - start
    if result.status != "published" or result.counts.scored != rows:
        raise SystemExit(f"all {rows} rows should be published: {result.status}, {result.reason}")
    tenth = next(mb for rows_done, mb in seen if rows_done >= rows / 10)
    return {"rows": rows, "seconds": seconds, "tenth_mb": tenth, "end_mb": seen[-1][1]}


def sklearn(source: Path, target: Path, model: Path) -> dict[str, Any]:
    """Rows and seconds; read in chunks of the same size, so that memory is no difference."""
    import pandas as pd

    fitted = _fitted(model)
    rows, start, parts = 0, time.perf_counter(), 0
    target.mkdir()
    for frame in _frames(source):
        answers = fitted.predict(_features(frame))
        scores = pd.DataFrame({"sale_id": frame["sale_id"], "prediction": answers})
        scores.to_parquet(target / f"part-{parts}.parquet", compression="zstd")
        rows, parts = rows + len(frame), parts + 1
    return {"rows": rows, "seconds": time.perf_counter() - start}


def engine(source: Path, _target: Path, model: Path) -> dict[str, Any]:
    """Rows and seconds of the engine alone, on encoded rows."""
    import polars as pl

    from lifecycle.core.rows import encode
    from lifecycle.data.reading import as_column

    frame = pl.read_parquet(source, n_rows=ANSWERED_ROWS)
    columns = {field.name: as_column(field, frame[field.name]) for field in SYSTEM.schema.features}
    tensors = encode(SYSTEM.schema, columns, frame.height)
    loaded = load_engine(model, bulk=True)
    start = time.perf_counter()
    for first in range(0, frame.height, CHUNK_ROWS):
        loaded.predict(tensors.take(slice(first, first + CHUNK_ROWS)))
    return {"rows": frame.height, "seconds": time.perf_counter() - start}


def estimator(source: Path, _target: Path, model: Path) -> dict[str, Any]:
    """Rows and seconds of the estimator alone, on data frames that are ready."""
    fitted = _fitted(model)
    frames, rows = [], 0
    for frame in _frames(source):
        frames.append(_features(frame))
        rows += len(frame)
        if rows >= ANSWERED_ROWS:
            break
    start = time.perf_counter()
    for frame in frames:
        fitted.predict(frame)
    return {"rows": rows, "seconds": time.perf_counter() - start}


def _fitted(model: Path) -> Any:
    from lifecycle.training.persist import load_estimator

    return load_estimator(model)


def _frames(source: Path) -> Iterator[Any]:
    for batch in pq.ParquetFile(source).iter_batches(CHUNK_ROWS):
        yield batch.to_pandas()


def _features(frame: Any) -> Any:
    """The columns that the model was fitted on: days for the date, float32 numbers, text."""
    import pandas as pd

    days = pd.to_datetime(frame["sold_on"]).to_numpy().astype("datetime64[D]").astype(np.float32)
    ready = frame.assign(sold_on=days)
    types = dict.fromkeys(SYSTEM.schema.numbers, np.float32) | dict.fromkeys(SYSTEM.schema.categories, object)
    return ready[list(types)].astype(types)


def _scorer(source: Path, target: Path, model: Path) -> Scorer:
    """A job over the source, with a ledger and a signed release of the model beside the target."""
    home = target.with_name(f"{target.name}-home")
    home.mkdir()
    signer = Ed25519Signer(home / "keys")
    window = Window(start=NOON, end=NOON, rows=1)
    lineage = Lineage(
        snapshot="",
        commit="",
        params="",
        environment="",
        split="",
        seed=0,
        train=window,
        validation=window,
        test=window,
    )
    facts: dict[str, object] = {
        "system": SYSTEM.name,
        "task": SYSTEM.task,
        "threshold": 0.5,
        "lineage": lineage,
        "metrics": {},
        "parity": Parity(rows=1, worst_relative=0.0, worst_row="", rtol=1e-4),
    }
    files = {name: model / name for name in ("model.onnx", "model.skops", "schema.json", "reference.json")}
    release = write_release(files, facts, home / "releases", signer)
    ledger = SqlLedger(f"sqlite:///{home / 'ledger.db'}")
    first = {
        "id": 0,
        "decided_at": NOON,
        "as_of": NOON,
        "actor": "benchmark",
        "previous": None,
        "evidence": {},
    }
    ledger.record(
        Deployment.model_validate(
            {
                **first,
                "system": SYSTEM.name,
                "decision": "first-deployment",
                "release": release,
                "version": "1",
            }
        ),
        expected=None,
    )
    return Scorer(
        name=SYSTEM.name,
        # Old sales again, whose prices are not those of the newest: a benchmark may accept that.
        request=ScoreRequest(inputs=(str(source),), output=str(target), accept="a benchmark"),
        as_of=NOON,
        past=False,
        actor="benchmark",
        root=home,
        params=load_params(ROOT).system(SYSTEM.name),
        ledger=ledger,
        store=VerifiedReleaseStore(home / "cache", signer),
        signer=signer,
        load_engine=load_engine,
        open_vault=lambda _: None,
    )


if __name__ == "__main__":
    main()
