"""How fast an ingest is, and how much memory it takes: house sales of 60 months from one Parquet file.

    python benchmarks/ingest.py --rows 10000000

prints JSON: rows a second (read, validated, merged and written as partitions), seconds, and the peak of the
resident memory of the process that did it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BATCH = 500_000


def run(rows: int) -> dict[str, float]:
    """Ingest synthetic sales in a process of its own.

    Args:
        rows: How many.

    Returns:
        ``rows``, ``seconds``, ``rows_per_s``, ``cpu_seconds`` (both cores) and ``peak_rss_mb``.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_sales(Path(folder) / "sales.parquet", rows)
        command = [sys.executable, __file__, "--child", folder]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def write_sales(path: Path, rows: int) -> None:
    """Write sales of 60 months in no order of time, each valid, block by block."""
    import numpy as np
    import polars as pl
    import pyarrow.parquet as pq

    from systems.house_prices import SYSTEM

    rng = np.random.default_rng(0)
    writer = None
    for start in range(0, rows, BATCH):
        count = min(BATCH, rows - start)
        columns: dict[str, object] = {}
        for field in SYSTEM.schema.fields:
            if field.record_id:
                columns[field.name] = pl.Series(np.arange(start, start + count)).cast(pl.String).str.zfill(9)
            elif field.event_time:
                day = np.datetime64("2019-01-01") + rng.integers(0, 60 * 365 // 12, count)
                columns[field.name] = day.astype("datetime64[D]")
            elif field.choices:
                columns[field.name] = np.array(field.choices)[rng.integers(0, len(field.choices), count)]
            elif field.kind == "integer":
                columns[field.name] = rng.integers(int(field.ge or 0), int(field.le or 100), count)
            else:
                low = field.ge if field.ge is not None else 1_000.0
                columns[field.name] = rng.uniform(low, field.le or 1_000_000.0, count).round(1)
        table = pl.DataFrame(columns).to_arrow()
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer:
        writer.close()


def ingest_sales(folder: Path) -> dict[str, float]:
    """Ingest ``sales.parquet`` of a folder; what ``run`` answers."""
    from lifecycle.core.params import SourceParams, SplitParams, SystemParams
    from lifecycle.data.ingest import ingest
    from systems.house_prices import SYSTEM

    params = SystemParams(
        entry="systems.house_prices:SYSTEM",
        code="systems/house_prices",
        sources=(SourceParams(origin="user", kind="parquet", path="sales.parquet"),),
        split=SplitParams(validation_days=60, test_days=150),
    )
    began = time.perf_counter()
    as_of = datetime(2030, 1, 1, tzinfo=UTC)
    done = ingest(SYSTEM.schema, params, folder, as_of, folder / "data" / "sales", folder / "refused.jsonl")
    seconds = time.perf_counter() - began
    if done.counts.kept != done.counts.read:
        raise SystemExit(f"the synthetic sales should all be kept: {done.counts}")
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "rows": done.counts.read,
        "seconds": round(seconds, 2),
        "rows_per_s": round(done.counts.read / seconds),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak_rss_mb": round(used.ru_maxrss / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    measured = ingest_sales(arguments.child) if arguments.child else run(arguments.rows)
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
