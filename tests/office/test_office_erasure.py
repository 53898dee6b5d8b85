"""Erasure as a step: what was where is proved, whatever crashes in between is finished by the next run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time

import pytest
from dvc_objects.fs import MemoryFileSystem

from flows import order
from flows.start import directly
from lifecycle.core.errors import StateError
from lifecycle.data.dvc_remote import RemoteObjects
from lifecycle.steps.erase import read_receipt
from lifecycle.wiring import open_eraser, open_lineage
from tests.office.conftest import Clinic


class Scheduler:
    """Takes updates, each name once."""

    def __init__(self) -> None:
        self.taken: dict[str, str] = {}

    def __call__(self, _system: str, name: str) -> str:
        self.taken.setdefault(name, f"update-{len(self.taken) + 1}")
        return self.taken[name]


def many_ages(clinic: Clinic, refs: list[bytes], count: int) -> list[str]:
    """Monthly snapshots, each with all months so far; nobody but the last person is in the first."""
    parts, ids = [], []
    for month in range(count):
        path = clinic.root / "tmp" / f"{month:02}.parquet"
        clinic.seal(path, refs[-1:] if month == 0 else refs, rows=2)
        parts.append(path)
        ids.append(clinic.snapshot(parts))
    for path in parts:
        path.unlink()
    return ids


def test_every_place_is_looked_through_and_affected_models_are_listed(clinic):
    refs = clinic.admit(10)
    clinic.office.erasure.erase(refs[4:5])
    refs.remove(refs[4])
    ids = many_ages(clinic, refs, 4)
    clinic.seal(clinic.settings.log / "clinic" / "parts" / "p-1.parquet", refs[:2], rows=5)
    clinic.seal(clinic.settings.state / "worktrees" / "clinic" / "data" / "2026-01.parquet", refs[:1])
    (clinic.root / "half.parquet").write_bytes(b"PAR1 and then the power went")
    clinic.deploy(ids[0], "1", "first-deployment")
    clinic.deploy(ids[2], "2")
    clinic.deploy(ids[3], "3")
    scheduler = Scheduler()

    receipt = order.erase_subject(directly, "clinic", refs[0].hex(), scheduler)

    found = {
        place.place: (place.sealed, len(place.held), place.lost, place.others)
        for place in receipt.proof.places
    }
    assert found == {
        "DVC cache": (4, 3, 6, 48),
        "DVC remote": (0, 0, 0, 0),
        "worktree": (1, 1, 1, 0),
        "prediction log": (1, 1, 5, 5),
        "other state": (0, 0, 0, 0),
        "project: inputs, batch results, checkouts": (0, 0, 0, 0),
    }
    assert receipt.proof.places[-1].unreadable == ("half.parquet",)
    assert set(receipt.proof.snapshots) == set(ids[1:])
    assert [(it.version, it.live) for it in receipt.versions] == [("2", False), ("3", True)]
    assert (receipt.update.status, receipt.update.reason) == ("queued", "erasure")
    assert list(scheduler.taken) == [f"erasure-{refs[0].hex()}"]
    path = clinic.settings.receipts / "clinic" / f"{refs[0].hex()}.json"
    assert read_receipt(path, clinic.office.receipt_signer) == receipt


@pytest.fixture
def bucket(clinic, monkeypatch) -> MemoryFileSystem:
    """The remote of a clinic whose cache is empty: in memory, behind the filesystem that DVC has for that."""
    files = MemoryFileSystem(global_store=False)
    objects = RemoteObjects(files, "/bucket")
    monkeypatch.setenv("LIFECYCLE_DVC_REMOTE", "s3://ann:pw@bucket/records")
    monkeypatch.setattr("lifecycle.data.dvc_remote.open_remote", lambda _settings: objects)
    return files


def test_a_remote_elsewhere_is_looked_through_and_its_models_are_listed(clinic, bucket):
    refs = clinic.admit(5)
    ids = many_ages(clinic, refs, 3)
    clinic.deploy(ids[2], "1", "first-deployment")
    bucket.makedirs("/bucket")
    bucket.fs.put(str(clinic.root / ".dvc" / "cache" / "files"), "/bucket/files", recursive=True)
    shutil.rmtree(clinic.root / ".dvc")

    receipt = order.erase_subject(directly, "clinic", refs[0].hex(), Scheduler())

    [remote] = [place for place in receipt.proof.places if place.place == "DVC remote"]
    assert (remote.scanned, remote.where) == (True, "s3://***@bucket/records")
    assert (remote.sealed, remote.lost, remote.others) == (3, 4, 16)
    assert set(receipt.proof.snapshots) == set(ids[1:])
    assert [(it.version, it.snapshot) for it in receipt.versions] == [("1", ids[2])]


def test_a_remote_that_fails_is_said_not_to_be_looked_through_until_it_answers(clinic, bucket, monkeypatch):
    [ref] = clinic.admit(1)

    def fails(*_arguments, **_keywords):
        raise ConnectionError("ann:pw@bucket is not there")

    with monkeypatch.context() as patch:
        patch.setattr(bucket.fs, "ls", fails)
        receipt = order.erase_subject(directly, "clinic", ref.hex(), Scheduler())
    [remote] = [place for place in receipt.proof.places if not place.scanned]
    again = f"lifecycle records erase clinic {ref.hex()}"
    assert remote.reason == f"ConnectionError; when it answers: {again}"
    page = clinic.settings.receipts / "clinic" / f"{ref.hex()}.html"
    assert again in page.read_text()
    assert clinic.office.ring.every([ref]) == [None]

    bucket.makedirs("/bucket")
    receipt = order.erase_subject(directly, "clinic", ref.hex(), Scheduler())
    assert all(place.scanned for place in receipt.proof.places)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("gs://bucket/records", "gs is supported, but requires 'dvc-gs'"),
        ("http://127.0.0.1:9/records", "kind http cannot be listed"),
    ],
)
def test_a_remote_that_dvc_itself_cannot_reach_is_said_to_be_so(clinic, monkeypatch, url, said):
    [ref] = clinic.admit(1)
    (clinic.root / ".dvc").mkdir(exist_ok=True)
    monkeypatch.setenv("LIFECYCLE_DVC_REMOTE", url)
    receipt = order.erase_subject(directly, "clinic", ref.hex(), Scheduler())
    [remote] = [place for place in receipt.proof.places if not place.scanned]
    assert said in remote.reason


def test_who_was_erased_before_is_told_apart(clinic):
    refs = clinic.admit(3)
    clinic.seal(clinic.root / "scores" / "part.parquet", refs, rows=4)
    clinic.office.erasure.erase(refs[:1])
    receipt = order.erase_subject(directly, "clinic", refs[1].hex(), Scheduler())
    [held] = receipt.proof.places[-1].held
    assert (held.lost, held.others, held.erased_before) == (4, 4, 4)
    assert receipt.update.status == "not needed"


def test_a_release_that_is_gone_is_listed_as_not_known(clinic):
    refs = clinic.admit(2)
    [snapshot] = many_ages(clinic, refs[1:], 1)
    clinic.deploy(snapshot, "1", "first-deployment")
    for file in clinic.settings.releases.rglob("manifest.sig"):
        file.unlink()
    receipt = order.erase_subject(directly, "clinic", refs[0].hex(), lambda *_: None)
    assert [(it.version, it.snapshot) for it in receipt.versions] == [("1", "")]
    assert (receipt.update.status, receipt.update.detail) == (
        "by hand",
        "run: lifecycle update clinic --trigger erasure",
    )


def test_a_version_whose_snapshot_is_gone_is_never_ruled_out(clinic):
    refs = clinic.admit(2)
    first, second = many_ages(clinic, refs[1:], 2)
    clinic.deploy(first, "1", "first-deployment")
    clinic.deploy(second, "2")
    store = clinic.root / ".dvc" / "cache" / "files" / "md5"
    [newest] = {it["md5"] for it in json.loads((store / second[:2] / second[2:]).read_bytes())} - {
        it["md5"] for it in json.loads((store / first[:2] / first[2:]).read_bytes())
    }
    (store / newest[:2] / newest[2:]).unlink()
    found = open_lineage(clinic.settings, "clinic").of(refs[0])
    assert [(it.version, it.snapshot) for it in found] == [("2", "")]


def test_nothing_is_proved_of_somebody_who_was_not_erased(clinic):
    [ref] = clinic.admit(1)
    with pytest.raises(StateError, match="was not erased"):
        open_eraser(clinic.settings, "clinic", ref.hex(), Scheduler()).prove()


KILLED = """
import os, signal
from pydoc import locate
from flows import order
from flows.start import directly
kind, name = locate("{kind}"), "{name}"
done, left = getattr(kind, name), {times}
def dies(*arguments, **keywords):
    global left
    done(*arguments, **keywords)
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
setattr(kind, name, dies)
order.erase_subject(directly, "clinic", "{ref}", lambda system, name: os.getppid() and "update-1")
"""
BEFORE, DURING, AFTER = (), ("requested",), ("erased", "scrubbed")


@pytest.mark.parametrize(
    ("kind", "name", "times", "state"),
    [
        ("lifecycle.wiring.records.Office", "admit", 1, BEFORE),
        ("lifecycle.records.erasure.Erasure", "_request", 1, BEFORE),  # a transaction that was not committed
        ("lifecycle.records.key_table.KeyTable", "changed", 1, DURING),
        ("lifecycle.records.erasure.Erasure", "_destroy", 1, AFTER),
        ("lifecycle.core.sql.sqlite.Sqlite", "scrub", 1, AFTER),
        ("lifecycle.steps.erase", "scan", 1, AFTER),
        ("lifecycle.rollout.ledger.SqlLedger", "history", 1, AFTER),  # the models are listed
        ("os", "getppid", 1, AFTER),  # the update is queued
        ("lifecycle.steps.erase", "_store", 1, AFTER),  # the page
        ("lifecycle.steps.erase", "_store", 2, AFTER),  # and its signature
    ],
    ids=lambda it: str(it) if isinstance(it, str | int) else "",
)
def test_an_erasure_that_was_killed_is_finished_by_the_next_run(clinic, kind, name, times, state):
    refs = clinic.admit(3)
    part = clinic.root / "scores" / "part.parquet"
    clinic.seal(part, refs)
    clinic.deploy(clinic.snapshot([part]), "1", "first-deployment")
    ended = clinic.python(KILLED.format(kind=kind, name=name, times=times, ref=refs[0].hex()))
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    path = clinic.settings.receipts / "clinic" / f"{refs[0].hex()}.json"
    assert not path.exists()
    found = set(clinic.office.status().tombstones)
    assert found <= set(state)
    assert bool(found) == bool(state)
    assert clinic.office.without_receipt() == refs[: len(found)]

    receipt = order.erase_subject(directly, "clinic", refs[0].hex(), Scheduler())

    assert receipt.lost == 2
    assert [it.version for it in receipt.versions] == ["1"]
    assert clinic.office.ring.every(refs)[0] is None
    assert read_receipt(path, clinic.office.receipt_signer) == receipt
    assert sorted(file.name for file in path.parent.iterdir() if not file.name.startswith(".")) == [
        path.with_suffix(".html").name,
        path.name,
        f"{path.name}.sig",
    ]
    acts = [entry.get("act") for entry in clinic.office.trail.who(refs[0])]
    assert acts == ["erase"] * 2


def test_one_erasure_over_two_years_of_snapshots_takes_moments(clinic):
    refs = clinic.admit(300)
    many_ages(clinic, refs, 24)
    begun = time.monotonic()
    receipt = order.erase_subject(directly, "clinic", refs[7].hex(), Scheduler())
    assert time.monotonic() - begun < 5
    assert receipt.lost == 23 * 2
    assert len(receipt.proof.snapshots) == 23


def test_a_pipe_that_nobody_writes_to_is_no_trap(clinic):
    refs = clinic.admit(1)
    os.mkfifo(clinic.root / "pipe.parquet")
    assert order.erase_subject(directly, "clinic", refs[0].hex(), Scheduler()).lost == 0
