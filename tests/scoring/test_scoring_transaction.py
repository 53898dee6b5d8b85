"""Scoring is a transaction: whatever happens on the way, all of it is published once, or nothing is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

import polars as pl
import pytest

from lifecycle.core.errors import BusyError, IntegrityError, StateError, StorageError
from lifecycle.data.scoring.work import WorkFolder
from tests.scoring.conftest import HOUSES, ROWS, World

BAD = HOUSES.with_columns(area=pl.when(pl.col("home_id").is_in(["h3", "h240"])).then(-1.0).otherwise("area"))


class Killed(BaseException):
    """Stands for a kill: no code of the project catches it."""


class Reaper:
    """Ends a run at the n-th change of the disk, as a kill would: from then on, nothing more happens to it.

    Attributes:
        at: Which change is the last; 0: none.
        seen: Changes so far.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = self.seen = 0
        for owner, name in (
            (os, "fsync"),
            (Path, "replace"),
            (Path, "rename"),
            (Path, "unlink"),
            (Path, "rmdir"),
        ):
            monkeypatch.setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, original):
        def change(*arguments, **keywords):
            self.seen += 1
            if self.at and self.seen >= self.at:
                raise Killed
            return original(*arguments, **keywords)

        return change

    def set(self, at: int) -> None:
        self.at, self.seen = at, 0


def test_killed_at_any_change_of_the_disk_the_next_run_publishes_the_same_bytes(world, monkeypatch):
    BAD.write_parquet(world.root / "homes.parquet")
    world.score(output="undisturbed")
    expected = world.bytes_of(world.root / "undisturbed")
    reaper = Reaper(monkeypatch)
    for at in count(1):
        reaper.set(at)
        try:
            world.score()
            survived = True
        except Killed:
            survived = False
        reaper.set(0)
        assert not world.out.exists() or world.bytes_of(world.out) == expected, at
        if survived:
            break
        assert world.score().status in ("published", "unchanged")
        assert world.bytes_of(world.out) == expected
        assert not world.work.exists()
        for path in world.out.iterdir():
            path.unlink()
        world.out.rmdir()
    assert at > 25, "every part, record, manifest and rename was a place to die at"


@pytest.mark.slow
def test_after_kill_9_finished_chunks_are_not_answered_again(world):
    code = """
import os, signal, sys
from pathlib import Path
from lifecycle.data.scoring.work import WorkFolder
from tests.scoring.conftest import World

finish = WorkFolder.finish
def dying(self, chunk, bins, vault):
    record = finish(self, chunk, bins)
    if chunk.index == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return record
WorkFolder.finish = dying
world = World(Path(sys.argv[1]))
world.release()
world.score()
"""
    here = Path(__file__).parents[2]
    dead = subprocess.run(
        [sys.executable, "-c", code, str(world.root)], cwd=here, check=False, capture_output=True, text=True
    )
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    assert not world.out.exists()
    finished = [json.loads(path.read_bytes()) for path in world.work.glob("chunk-*.json")]
    done = sum(chunk["counts"]["scored"] for chunk in finished)
    assert done >= 100

    assert world.score().status == "published"
    assert world.engine.rows == ROWS - done
    assert world.rows()["row"].to_list() == list(range(1, ROWS + 1))


def test_the_same_job_again_does_nothing(world):
    assert world.score().status == "published"
    before = {path: path.stat().st_mtime_ns for path in world.out.iterdir()}
    again = world.score()
    assert (again.status, again.counts.scored) == ("unchanged", ROWS)
    assert {path: path.stat().st_mtime_ns for path in world.out.iterdir()} == before
    assert not world.work.exists()


def test_the_same_content_under_another_name_is_the_same_job(world):
    world.score()
    (world.root / "homes.parquet").rename(world.root / "renamed.parquet")
    assert world.score("renamed.parquet").status == "unchanged"


def test_published_scores_are_never_overwritten(world):
    world.score()
    HOUSES.head(60).write_parquet(world.root / "homes.parquet")
    with pytest.raises(StateError, match=r"holds what another job published: release .*, 250 rows"):
        world.score(restart=True)
    (world.root / "notes").mkdir()
    (world.root / "notes" / "thesis.txt").write_text("years of work")
    with pytest.raises(StateError, match=r"holds something that no manifest.json names"):
        world.score(output="notes")
    assert [path.name for path in (world.root / "notes").iterdir()] == ["thesis.txt"]


def half_done(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a job that died after its first chunk."""
    finish = WorkFolder.finish

    def dying(self, chunk, bins, vault):
        if chunk.index:
            raise Killed
        return finish(self, chunk, bins, vault)

    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "finish", dying)
        with pytest.raises(Killed):
            world.score()
    assert [path.name for path in world.work.glob("chunk-*.json")] == ["chunk-00000.json"]


def test_chunks_of_another_input_are_not_mixed_in(world, monkeypatch):
    half_done(world, monkeypatch)
    HOUSES.reverse().write_parquet(world.root / "homes.parquet")
    with pytest.raises(StateError, match=r"the input files, or their content") as refused:
        world.score()
    assert "--restart" in refused.value.hint
    assert world.score(restart=True).status == "published"
    assert world.rows()["record_id"].to_list() == HOUSES["home_id"].reverse().to_list()


def test_chunks_of_another_release_are_not_mixed_in(world, monkeypatch):
    half_done(world, monkeypatch)
    world.release("2", constant=1.0)
    with pytest.raises(StateError, match=r"version: 1 before, 2 now"):
        world.score()
    assert world.score(version="1").version == "1", "the job can be finished with the release it began with"


def test_rows_per_chunk_and_columns_belong_to_the_job(world, monkeypatch):
    half_done(world, monkeypatch)
    with pytest.raises(StateError, match=r"rows per chunk: 100 before, 60 now"):
        world.score(chunk_rows=60)
    with pytest.raises(StateError, match=r"how columns are read"):
        world.score(columns={"note": ""})


def test_a_part_that_was_damaged_is_made_again(world, monkeypatch):
    half_done(world, monkeypatch)
    part = world.work / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    world.score()
    assert world.rows().height == ROWS


def test_a_published_part_that_is_gone_is_told(world):
    world.score()
    (world.out / "part-00001.parquet").unlink()
    with pytest.raises(IntegrityError, match=r"part-00001.parquet is not as manifest.json says"):
        world.score()


def test_two_jobs_at_once_on_one_output(world):
    with world.scorer().opened(), pytest.raises(BusyError, match=r"another job is writing .*scores"):
        world.score()
    assert world.score().status == "published"


def test_an_input_that_changes_while_it_is_scored_publishes_nothing(world):
    with world.scorer().opened() as scorer:
        job = scorer.prepare()
        HOUSES.reverse().write_parquet(world.root / "homes.parquet")
        with pytest.raises(StateError, match=r"homes.parquet was changed while it was scored"):
            scorer.score(job)
    assert not world.out.exists()


def test_a_full_disk_is_told_and_the_rest_is_made_when_there_is_room(world, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match=r"No space left on device"):
            world.score()
    assert world.score().status == "published"


def test_the_date_may_be_part_of_the_output(world):
    (world.root / "homes.parquet").rename(world.root / "2024-01-01-homes.parquet")
    result = world.score("{as_of}*.parquet", output="scores/{as_of}")
    assert result.folder == str(world.root / "scores" / "2024-01-01")
