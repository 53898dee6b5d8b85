"""Die by SIGKILL at every change of the file system in turn, then compact again: `crashes.py ROOT [STEP]`.

ROOT holds ``log/homes`` and, where the log is about people, ``keys``.

A child is forked for each place to die (before this process has any thread), counts what Python reports of
opening files to write, renaming, truncating, removing and making folders, and kills itself at its place.
STEP 5 dies at every fifth of them only. Prints at which place it died last, then what was wrong after any.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import pandas  # noqa: F401 - pyarrow loads it when it first seals: once here, not in every child
import polars as pl

from lifecycle.data.log_files import ClearLog
from lifecycle.data.log_parts import CompactedLog, Kind, Unlogged
from lifecycle.records.status import key_status
from lifecycle.records.vault import SystemVault
from lifecycle.steps.compact import compact
from tests.log.conftest import NOON
from tests.log.people import People

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree"}
WANTED = Counter(["a", "b-0", "b-1", "c", "dead"])


def die_at(place: int) -> None:
    """Kill this process just before its n-th change of the file system."""
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        writes = (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if event in CHANGES or writes:
            seen += 1
            if seen == place:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def forked(work: Callable[[], None]) -> int:
    """The wait status of a child that did this."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - told by the status
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def opened(root: Path) -> tuple[CompactedLog, SystemVault | None]:
    """The log, and the vault of one about people."""
    if (root / "keys").exists():
        people = People(root)
        return people.log, people.vault
    return CompactedLog(root / "log" / "homes", "homes", ClearLog()), None


def check(root: Path) -> None:
    """Compact what a killed compaction left, twice, and see that every row is there once."""
    log, vault = opened(root)
    for _ in range(2):
        compact(log, NOON, retention_days=5, vault=vault)
    rows = _rows(log, "predictions", "prediction_id", "prediction")
    assert Counter(rows["prediction_id"].to_list()) == WANTED, rows["prediction_id"].to_list()
    assert rows["prediction"].sum() == 501
    assert _rows(log, "outcomes", "value").height == 1
    assert log.listing().unlogged == {"sampled": Unlogged(requests=2, rows=3)}
    listed = {log.path(part) for part in log.listing().parts}
    assert set(log.folder.rglob("*.parquet*")) == listed
    assert [path.name for path in log.folder.glob("*segments/*")] == []
    if vault:
        keys = key_status(People(root).table).keys
        assert sum(key.subject_keys for key in keys if key.purpose == "subjects/log/homes") == 0


def _rows(log: CompactedLog, kind: Kind, *columns: str) -> pl.DataFrame:
    return pl.concat(log.files.read(path, columns).collect() for path in log.paths(kind))


def main(folder: Path, step: int) -> None:
    faults: list[str] = []
    for place in count(1, step):
        copy = folder.with_name(f"{folder.name}-{place}")
        shutil.copytree(folder, copy)
        status = forked(partial(compacting, copy, place))
        if forked(partial(check, copy)):
            faults.append(f"wrong after dying at change {place}")
        shutil.rmtree(copy)
        if not os.WIFSIGNALED(status):
            faults += ["the run that nobody killed failed"] if status else []
            print("\n".join([str(place - step), *faults]))
            return


def compacting(root: Path, place: int) -> None:
    """Compact, and die at a place."""
    log, vault = opened(root)
    die_at(place)
    compact(log, NOON, retention_days=5, vault=vault)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
