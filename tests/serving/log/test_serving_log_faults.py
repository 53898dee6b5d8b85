"""What can be relied on when the disk refuses: nothing is silent, nothing is torn, and writing resumes."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import subprocess

import pytest

from lifecycle.serving.log.entries import UnloggedEntry
from lifecycle.serving.log.recovery import recover
from lifecycle.serving.log.terms import Limits, UnloggedError
from lifecycle.serving.log.writer import PREDICTIONS
from tests.serving.conftest import eventually
from tests.serving.log.conftest import RELEASE, SCHEMA, entries, ids, outcome, prediction

SOON = Limits(retry_seconds=0.02, count_seconds=0.02)


def written_until_refused(appender, first: int = 0) -> list[str]:
    """Append until the disk refuses; the ids that were accepted."""
    accepted: list[str] = []
    with contextlib.suppress(UnloggedError):
        for number in range(first, first + 10_000):
            appender.append(prediction(number, bytes(700)))
            accepted.append(str(number))
    assert len(accepted) < 10_000
    return accepted


def unlogged(root) -> list[tuple[str, int, int]]:
    return [
        (entry.reason, entry.requests, entry.rows)
        for entry in entries(root)
        if isinstance(entry, UnloggedEntry)
    ]


def test_a_full_disk_refuses_then_writes_again_and_says_what_is_missing(open_log, small_disk, caplog):
    caplog.set_level(logging.WARNING)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(24_000))
    log = open_log(small_disk, limits=SOON)
    appender = log.predictions("homes", RELEASE, SCHEMA, "process")
    accepted = written_until_refused(appender)
    assert "No space left on device" in appender.state().fault
    with pytest.raises(UnloggedError, match="No space left on device"):
        appender.append(prediction(0, bytes(9000)))
    appender.unlogged("failed", rows=3)  # a system that serves unlogged
    assert appender.state().lag_seconds > 0
    ballast.unlink()
    eventually(lambda: appender.state().fault is None)  # without traffic
    accepted += written_until_refused(appender, 20_000)
    log.close()
    assert ids(small_disk) == accepted
    assert ("failed", 1, 3) in unlogged(small_disk)
    assert caplog.text.count("is written again") >= 1


def test_a_disk_that_refuses_is_not_asked_for_every_request(
    open_log, tmp_path, file_limit, monkeypatch, caplog
):
    file_limit(5000)
    log = open_log(limits=Limits(retry_seconds=60))
    appender = log.predictions("homes", RELEASE, SCHEMA, "process")
    written_until_refused(appender)
    opened: list[object] = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda *a, **k: opened.append(a) or real(*a, **k))
    for _ in range(1000):
        with pytest.raises(UnloggedError):
            appender.append(prediction(0))
    assert opened == []
    assert appender.state().refused == 1001
    assert caplog.text.count("cannot be written") == 1


@pytest.mark.parametrize("durability", ["process", "power"])
def test_a_file_that_may_not_grow_is_left_whole(open_log, tmp_path, file_limit, durability):
    file_limit(5000)
    log = open_log(limits=Limits(retry_seconds=0, count_seconds=60, segment_bytes=4000))
    appender = log.predictions("homes", RELEASE, SCHEMA, durability)
    for number in range(8):
        appender.append(prediction(number, bytes(700)))
    with contextlib.suppress(UnloggedError):
        appender.append(prediction(8, bytes(9000)))
    log.close()
    assert ids(tmp_path) == [str(number) for number in range(8)]


def test_a_batch_that_does_not_fit_leaves_nothing_of_itself(open_log, tmp_path, file_limit):
    file_limit(5000)
    log = open_log(limits=SOON)
    outcomes = log.outcomes("homes", "process")
    with pytest.raises(UnloggedError, match="File too large"):
        outcomes.extend([outcome(f"h{number}") for number in range(1000)])
    assert outcomes.state().refused == 1000
    eventually(lambda: outcomes.state().fault is None)
    outcomes.extend([outcome("h1")])
    log.close()
    assert [entry.record_id for entry in entries(tmp_path, "outcome-segments")] == ["h1"]


def test_a_tail_that_cannot_be_cut_is_left_to_recovery(open_log, tmp_path, file_limit, monkeypatch, caplog):
    file_limit(5000)
    log = open_log(limits=Limits(retry_seconds=60))

    def refuse(descriptor: int, length: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", refuse)
        accepted = written_until_refused(log.predictions("homes", RELEASE, SCHEMA, "process"))
    log.close()
    recover(tmp_path / "homes" / PREDICTIONS)  # unless the log's own thread has, at its start
    assert re.search("the [1-9][0-9]* bytes behind them were cut", caplog.text)
    assert ids(tmp_path) == accepted


def test_what_relaxed_has_accepted_waits_for_room(open_log, tmp_path, file_limit):
    log = open_log(limits=Limits(retry_seconds=0.02, flush_seconds=0.02))
    appender = log.predictions("homes", RELEASE, SCHEMA, "relaxed")
    file_limit(100)
    accepted = 0
    with contextlib.suppress(UnloggedError):
        for number in range(100_000):
            appender.append(prediction(number))
            accepted += 1
    assert appender.state().fault is not None
    file_limit(-1)
    eventually(lambda: appender.state().lag_seconds == 0)
    log.close()
    assert ids(tmp_path) == [str(number) for number in range(accepted)]


def test_what_relaxed_could_never_write_is_told_and_counted_at_the_end(
    open_log, tmp_path, file_limit, caplog
):
    log = open_log(limits=Limits(retry_seconds=60, flush_seconds=60))
    appender = log.predictions("homes", RELEASE, SCHEMA, "relaxed")
    file_limit(100)
    appender.append(prediction(1))
    log.close()
    assert unlogged(tmp_path) == [("failed", 1, 1)]
    assert "1 entries of homes were answered and could not be logged" in caplog.text


def test_a_read_only_folder_refuses_until_it_may_be_written(open_log, tmp_path):
    folder = tmp_path / "log"
    folder.mkdir()
    if os.geteuid():
        folder.chmod(0o555)
        mend = ["chmod", "755", str(folder)]
    else:
        mount = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)], capture_output=True, check=False
        )
        if mount.returncode and not os.environ.get("CI"):
            pytest.skip("a tmpfs cannot be mounted here")
        assert mount.returncode == 0
        mend = ["mount", "-o", "remount,rw", str(folder)]
    try:
        log = open_log(folder, limits=SOON)
        appender = log.predictions("homes", RELEASE, SCHEMA, "process")
        with pytest.raises(UnloggedError, match=r"Read-only file system|Permission denied"):
            appender.append(prediction(1))
        assert appender.state().refused == 1
        subprocess.run(mend, check=True)
        eventually(lambda: appender.state().fault is None)
        appender.append(prediction(2))
        log.close()
        assert ids(folder) == ["2"]
    finally:
        if not os.geteuid():
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
