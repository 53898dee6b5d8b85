"""A disk that refuses, and an ingest that was killed: nothing half-written stays."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lifecycle.core.errors import StorageError
from lifecycle.core.params import load_params
from lifecycle.data.ingest import ingest
from systems.house_prices import SYSTEM

Line = Callable[..., str]
ROOT = Path(__file__).parents[2]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_ingest_left_is_cleared(project: Any, ride_line: Line) -> None:
    left = project.out.with_name(".rides.ingest") / "finished" / "2026-01.parquet"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half a file")
    project.csv(ride_line("a", "2026-02-03T00:00:00Z"))
    assert project.ingest().months == ("2026-02",)
    assert names(project.out.parent) == ["rides"]


def test_other_files_in_the_snapshot_folder_are_left_alone(project: Any, ride_line: Line) -> None:
    project.out.mkdir(parents=True)
    (project.out / "README").write_text("mine")
    (project.out / "2020-01.parquet").write_text("a month that is gone")
    project.csv(ride_line("a"))
    project.ingest()
    assert names(project.out) == ["2026-01.parquet", "README"]


@pytest.fixture
def small_disk() -> Iterator[None]:
    """A disk on which no file can grow beyond 4 KB: the system refuses the write as it does when full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, small_disk: None) -> None:
    out = tmp_path / "data" / "house-prices"
    params = load_params(ROOT).system("house-prices")
    with pytest.raises(StorageError) as full:
        ingest(
            SYSTEM.schema, params, ROOT, datetime(1996, 1, 1, tzinfo=UTC), out, tmp_path / "data" / "q.jsonl"
        )
    assert full.value.message == f"the snapshot could not be stored in {out.parent}: the disk is full"
    assert full.value.hint == f"free space on the disk of {out.parent}, then run it again"
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EIO])
def test_a_disk_that_refuses_is_a_storage_error(
    project: Any, ride_line: Line, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    project.csv(ride_line("a"))
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StorageError, match="could not be stored in"):
        project.ingest()
