"""Ingest and snapshot of many rows: validated, merged, partitioned by month, versioned and pushed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import sales
from benchmarks.bench import Bench
from benchmarks.commands import PYTHON, ROOT, environment, run
from benchmarks.figure import Beside, Bound, Figure, Measured, Samples
from benchmarks.laps import Laps

# Read and write the same rows, with nothing else done to them.
_PLAIN = """
import sys, time, polars as pl
source, target = sys.argv[1:]
start = time.perf_counter()
scan = pl.scan_parquet(source) if source.endswith(".parquet") else pl.scan_csv(source)
scan.sink_parquet(target, compression="zstd", compression_level=1)
print(time.perf_counter() - start)
"""
# What versioning cannot do without: hash every file, and copy it to the cache and to the remote.
_COPYING = """
import hashlib, pathlib, shutil, sys, time
source, target = map(pathlib.Path, sys.argv[1:])
start = time.perf_counter()
for copy in ("cache", "remote"):
    (target / copy).mkdir(parents=True)
for path in sorted(source.iterdir()):
    with path.open("rb") as stream:
        hashlib.file_digest(stream, "md5")
    for copy in ("cache", "remote"):
        shutil.copyfile(path, target / copy / path.name)
print(time.perf_counter() - start)
"""


@dataclass(frozen=True)
class _Snapshot:
    """Seconds of a snapshot's parts, and the memory of all its processes together."""

    ingest: float
    versioning: float
    whole: float
    peak_mb: float
    plain: float
    copying: float


def measure(bench: Bench) -> Figure:
    """Snapshots from Parquet and from CSV, and the same bytes merely read and written."""
    rows, csv_rows = bench.size.rows, bench.size.csv_rows
    large = _snapshots(bench, "sales.parquet", rows, sales.write_parquet)
    small = _snapshots(bench, "sales.csv", csv_rows, sales.write_csv)
    return Figure(
        name="ingest",
        title="Ingest and snapshot",
        how=(
            f"One Parquet file of {rows:,} made-up sales (19 columns, 60 months in no order, each row valid) "
            f"and one CSV file of {csv_rows:,}; each becomes a snapshot in an empty project, in a process of "
            "its own: read, validated, merged by record id, written as monthly partitions (ingest), then put "
            "into DVC's cache and pushed to a remote in a local folder (versioning). Memory is that of the "
            "process, DVC's and all others of the snapshot together, looked at 20 times a second."
        ),
        lines=(
            _rate(f"ingest of {rows:,} rows, Parquet", rows, large, Bound("at least", 500_000)),
            Measured(
                "memory of the whole snapshot",
                Samples.of((it.peak_mb for it in large), "MB"),
                Bound("at most", 2_000),
            ),
            Measured(
                "versioning: `dvc add` and push",
                Samples.of((it.versioning for it in large), "s"),
                beside=Beside("MD5 and two copies", Samples.of((it.copying for it in large), "s")),
            ),
            Measured("ingest and versioning", Samples.of((rows / it.whole for it in large), "rows/s")),
            _rate(f"ingest of {csv_rows:,} rows, CSV", csv_rows, small, None),
        ),
    )


def _rate(what: str, rows: int, runs: list[_Snapshot], bound: Bound | None) -> Measured:
    plain = Samples.of((rows / it.plain for it in runs), "rows/s")
    ingest = Samples.of((rows / it.ingest for it in runs), "rows/s")
    return Measured(what, ingest, bound, Beside("Polars reads and writes them unchecked", plain))


def _snapshots(bench: Bench, name: str, rows: int, write: Callable[[Path, int], None]) -> list[_Snapshot]:
    bench.say(f"ingest: writing {rows:,} rows to {name}")
    source = bench.folder / name
    write(source, rows)
    found = []
    for _ in range(bench.size.ingests):
        found.append(_snapshot(_project(bench.folder), bench.folder / "ingest", source, rows))
        bench.say(
            f"ingest: {rows / found[-1].ingest:,.0f} rows/s, versioning {found[-1].versioning:.1f} s, "
            f"{found[-1].peak_mb:,.0f} MB; unchecked {rows / found[-1].plain:,.0f} rows/s"
        )
    source.unlink()
    return found


def _snapshot(empty: Path, folder: Path, source: Path, rows: int) -> _Snapshot:
    """Make one snapshot, and merely read, write, hash and copy beside it."""
    project = shutil.copytree(empty, folder / "project", symlinks=True)
    laps = Laps(folder / "laps.jsonl")
    words = (*PYTHON, str(ROOT / "benchmarks" / "snapshot.py"), str(source))
    env = environment(project, laps.environment)
    done = run(words, project, env, watch=True)
    if (kept := json.loads(done.stdout)["kept"]) != rows:
        raise SystemExit(f"all {rows} made-up sales should be kept, and {kept} are")
    seconds = laps.seconds
    data = project / ".lifecycle" / "worktrees" / "house-prices" / "data" / "house-prices"
    copying = _seconds(_COPYING, data, folder / "copies")
    plain = _seconds(_PLAIN, source, folder / "plain.parquet")
    shutil.rmtree(folder)
    versioning = seconds["Dvc.add"] + seconds["Dvc.push"]
    return _Snapshot(
        seconds["ingest"], versioning, seconds["ingest"] + versioning, done.peak_mb, plain, copying
    )


def _seconds(code: str, source: Path, target: Path) -> float:
    return float(run([*PYTHON, "-c", code, str(source), str(target)], target.parent, environment()).stdout)


def _project(scratch: Path) -> Path:
    """An empty project, made once: each snapshot gets a copy."""
    folder = scratch / "empty"
    if folder.exists():
        return folder
    folder.mkdir()
    dvc = str(Path(sys.executable).with_name("dvc"))
    author = ("-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost")
    for command in (
        ("git", "init", "--quiet"),
        (dvc, "init", "--quiet"),
        ("git", "add", "--all"),
        ("git", *author, "commit", "--quiet", "--message", "An empty project"),
    ):
        subprocess.run(command, cwd=folder, env=environment() | {"DVC_NO_ANALYTICS": "1"}, check=True)
    return folder
