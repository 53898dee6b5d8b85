"""What can be relied on when a prediction is logged."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from functools import partial
from uuid import UUID

import pytest

from lifecycle.core.errors import ConfigError
from lifecycle.serving.log import commit, stream
from lifecycle.serving.log.commit import settled
from lifecycle.serving.log.entries import OutcomeEntry, PredictionEntry, SchemaEntry, UnloggedEntry
from lifecycle.serving.log.open_segment import AHEAD, OpenSegment
from lifecycle.serving.log.recovery import recover
from lifecycle.serving.log.sampling import sampled
from lifecycle.serving.log.segment import Header, frame, read_segment
from lifecycle.serving.log.terms import Limits, UnloggedError
from lifecycle.serving.log.writer import OUTCOMES, PREDICTIONS
from tests.serving.conftest import eventually
from tests.serving.log.conftest import RELEASE, SCHEMA, entries, ids, outcome, prediction, segments

WRITER = """
import itertools, os, sys
from pathlib import Path
from lifecycle.serving.log.terms import Limits
from lifecycle.serving.log.writer import PredictionLog
from tests.serving.log.conftest import RELEASE, SCHEMA, prediction
root, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
log = PredictionLog(root, limits=Limits(segment_bytes=20_000))
append = log.predictions("homes", RELEASE, SCHEMA, "process").append
for number in range(first, first + count):
    append(prediction(number, bytes(number % 700)))
    os.write(1, b"%d\\n" % number)
log.close()
"""


def writer(root, first: int, count: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WRITER, str(root), str(first), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


@pytest.mark.parametrize("durability", ["process", "relaxed", "power"])
def test_every_prediction_stands_in_the_log_with_its_schema_ahead(open_log, tmp_path, durability):
    log = open_log(limits=Limits(segment_bytes=1000, buffer_bytes=1000, quick_sync_seconds=0))
    append = log.predictions("homes", RELEASE, SCHEMA, durability).append
    tickets = [append(prediction(number)) for number in range(40)]
    log.close()
    assert ids(tmp_path) == [str(number) for number in range(40)]
    assert len(segments(tmp_path)) > 3
    for path in segments(tmp_path):
        first, *others = read_segment(path)
        assert first == SchemaEntry(RELEASE, SCHEMA)
        assert all(isinstance(entry, PredictionEntry) for entry in others)
    assert {ticket and ticket.ok for ticket in tickets} == {durability == "power" or None}


def test_power_writes_into_room_that_was_made_and_leaves_none_of_it(open_log, tmp_path):
    log = open_log()
    append = log.predictions("homes", RELEASE, SCHEMA, "power").append
    append(prediction(0))
    [path] = (tmp_path / "homes" / PREDICTIONS).glob("*.open")
    made = path.stat().st_size
    assert made >= AHEAD
    for number in range(1, 20):
        append(prediction(number))
    assert path.stat().st_size == made, "a file that does not grow is synced without the journal"
    append(prediction(20, bytes(2 * AHEAD)))
    assert [entry.id for entry in read_segment(path) if isinstance(entry, PredictionEntry)] == [
        str(number) for number in range(21)
    ], "an open segment is read without its room"
    log.close()
    assert ids(tmp_path) == [str(number) for number in range(21)]


def test_room_that_a_dead_process_left_is_cut_off(open_log, tmp_path):
    folder = tmp_path / "homes" / PREDICTIONS
    folder.mkdir(parents=True)
    segment = OpenSegment(
        folder / "20240101T000000Z-dead-000001.open", header := Header("homes", UUID(int=1))
    )
    segment.make_room(100)
    segment.write(frame(prediction(0), header.seed))
    segment.abandon()
    assert [found.entries for found in recover(folder)] == [1]
    assert ids(tmp_path) == ["0"]


def test_on_a_quick_disk_an_entry_would_survive_a_power_cut_when_it_is_written(open_log, monkeypatch):
    synced: list[int] = []
    fdatasync = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda file: (fdatasync(file), synced.append(file))[0])
    append = (
        open_log(limits=Limits(quick_sync_seconds=60)).predictions("homes", RELEASE, SCHEMA, "power").append
    )
    assert [append(prediction(number)) for number in range(3)] == [None] * 3
    assert len(synced) == 3


def test_a_disk_that_is_slow_is_waited_for_in_the_thread_until_it_is_quick_again(open_log, monkeypatch):
    clock = iter(range(10**6))
    log = open_log(limits=Limits(quick_sync_seconds=0.5))
    append = log.predictions("homes", RELEASE, SCHEMA, "power").append
    append(prediction(0))
    monkeypatch.setattr(commit.time, "monotonic", lambda: float(next(clock)) * 8)  # each sync takes 8 s
    assert append(prediction(1)) is None, "nothing is known of the disk yet"
    ticket = append(prediction(2))
    assert ticket.wait()


def test_each_release_tells_its_schema_once_a_segment(open_log, tmp_path):
    log = open_log()
    one, two = (log.predictions("homes", digit * 64, digit.encode(), "process") for digit in "12")
    for appender in (one, two, one, two):
        appender.append(prediction(0))
    log.close()
    kinds = [type(entry).__name__ for entry in entries(tmp_path)]
    assert kinds == ["SchemaEntry", "PredictionEntry"] * 2 + ["PredictionEntry"] * 2


def test_outcomes_stand_in_segments_of_their_own_and_in_one_piece(open_log, tmp_path):
    log = open_log()
    log.outcomes("homes", "process").append(outcome("h1"))
    ticket = log.outcomes("homes", "power").extend([outcome("h2"), outcome("h3")])
    assert ticket.wait()
    log.close()
    records = [entry.record_id for entry in entries(tmp_path, OUTCOMES) if isinstance(entry, OutcomeEntry)]
    assert records == ["h1", "h2", "h3"]
    assert segments(tmp_path, PREDICTIONS) == []


def test_an_acknowledged_prediction_survives_the_death_of_its_process(tmp_path):
    acknowledged: list[str] = []
    for killing in range(6):
        process = writer(tmp_path, killing * 10_000, 10_000)
        with process:
            for _ in range(1 + killing**2 * 30):
                acknowledged.append(process.stdout.readline().decode().strip())
            process.send_signal(signal.SIGKILL)
            acknowledged += [line.decode().strip() for line in process.stdout if line.endswith(b"\n")]
        assert len(recover(tmp_path / "homes" / PREDICTIONS)) <= 1
        found = ids(tmp_path)
        assert len(found) == len(set(found))
        assert set(acknowledged) <= set(found)
        assert len(found) <= len(acknowledged) + killing + 1  # at most one was written and not acknowledged
    assert len(segments(tmp_path)) > 6


def test_processes_write_side_by_side_while_others_recover(tmp_path):
    processes = [writer(tmp_path, first, 300) for first in (0, 1000, 2000)]
    ended = threading.Event()

    def disturb():
        while not ended.is_set():
            recover(tmp_path / "homes" / PREDICTIONS)

    disturber = threading.Thread(target=disturb)
    disturber.start()
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    ended.set()
    disturber.join()
    expected = [str(first + number) for first in (0, 1000, 2000) for number in range(300)]
    assert sorted(ids(tmp_path)) == sorted(expected)


def test_threads_write_to_one_log(open_log, tmp_path):
    log = open_log(limits=Limits(segment_bytes=5000))
    append = log.predictions("homes", RELEASE, SCHEMA, "process").append

    def write(first):
        for number in range(first, first + 100):
            append(prediction(number))

    threads = [threading.Thread(target=write, args=[first]) for first in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert sorted(map(int, ids(tmp_path))) == list(range(300))


def test_a_clock_set_back_reorders_nothing(open_log, tmp_path):
    hours = iter(range(100, 0, -1))
    log = open_log(limits=Limits(segment_bytes=200), clock=lambda: next(hours) * 3600 * 10**9)
    append = log.predictions("homes", RELEASE, SCHEMA, "process").append
    for number in range(20):
        append(prediction(number))
    log.close()
    assert len(segments(tmp_path)) == 20
    assert ids(tmp_path) == [str(number) for number in range(20)]


def test_an_old_segment_is_closed_without_traffic(open_log, tmp_path):
    log = open_log(limits=Limits(segment_seconds=0, count_seconds=0.01))
    log.predictions("homes", RELEASE, SCHEMA, "process").append(prediction(1))
    eventually(lambda: segments(tmp_path))
    assert ids(tmp_path) == ["1"]


def test_relaxed_entries_are_written_without_further_ado(open_log, tmp_path):
    log = open_log()
    appender = log.predictions("homes", RELEASE, SCHEMA, "relaxed")
    appender.append(prediction(1))
    eventually(lambda: appender.state().bytes)
    assert appender.state().lag_seconds == 0
    [path] = (tmp_path / "homes" / PREDICTIONS).glob("*.open")
    assert [type(entry).__name__ for entry in read_segment(path)] == ["SchemaEntry", "PredictionEntry"]


class Disk:
    """Stands for ``os.fdatasync``: lets a sync end when told to, or fail."""

    def __init__(self, monkeypatch) -> None:
        self.started, self.ended = threading.Semaphore(0), threading.Semaphore(0)
        self.syncs = 0
        self.error: OSError | None = None
        real = os.fdatasync

        def fdatasync(descriptor: int) -> None:
            self.syncs += 1
            self.started.release()
            assert self.ended.acquire(timeout=10)
            if self.error is not None:
                raise self.error
            real(descriptor)

        monkeypatch.setattr(os, "fdatasync", fdatasync)


async def _reached(semaphore: threading.Semaphore) -> None:
    assert await asyncio.to_thread(partial(semaphore.acquire, timeout=10))


def test_power_answers_only_after_a_sync_that_began_after_the_write(open_log, monkeypatch):
    disk = Disk(monkeypatch)

    async def story():
        loop = asyncio.get_running_loop()
        log = open_log(deliver=loop.call_soon_threadsafe)
        append = log.predictions("homes", RELEASE, SCHEMA, "power").append
        first = append(prediction(1))
        await _reached(disk.started)
        later = [append(prediction(number)) for number in range(2, 50)]
        assert log.state()[0].lag_seconds > 0
        assert first.ok is None
        disk.ended.release()
        assert await settled(first)
        await _reached(disk.started)
        assert {ticket.ok for ticket in later} == {None}
        disk.ended.release()
        assert all([await settled(ticket) for ticket in later])
        assert disk.syncs == 2  # 48 entries shared the second
        assert log.state()[0].lag_seconds == 0

    asyncio.run(story())


def test_callbacks_run_on_the_loop_and_one_that_fails_disturbs_no_other(open_log, caplog):
    told: list[tuple[bool, int]] = []

    async def story():
        log = open_log(deliver=asyncio.get_running_loop().call_soon_threadsafe)
        append = log.predictions("homes", RELEASE, SCHEMA, "power").append
        append(prediction(1)).on_done(lambda ok: 1 // (not ok))
        ticket = append(prediction(2))
        ticket.on_done(lambda ok: told.append((ok, threading.get_ident())))
        await settled(ticket)
        ticket.on_done(lambda ok: told.append((ok, threading.get_ident())))

    asyncio.run(story())
    assert told == [(True, threading.get_ident())] * 2
    assert "could not be answered: ZeroDivisionError" in caplog.text


def test_a_failed_sync_acknowledges_nothing_and_the_segment_is_left(open_log, monkeypatch, tmp_path):
    disk = Disk(monkeypatch)
    disk.error = OSError(5, "Input/output error")
    log = open_log(limits=Limits(retry_seconds=60, quick_sync_seconds=0))
    appender = log.predictions("homes", RELEASE, SCHEMA, "power")
    first = appender.append(prediction(1))
    assert disk.started.acquire(timeout=10)
    second = appender.append(prediction(2))
    disk.ended.release(5)
    assert (first.wait(), second.wait()) == (False, False)
    assert "Input/output error" in appender.state().fault
    with pytest.raises(UnloggedError, match="Input/output error"):
        appender.append(prediction(3))
    assert disk.syncs == 1  # a second sync of the same file might seem to succeed
    assert len(segments(tmp_path)) == 1


def test_closing_settles_whoever_waits(open_log, monkeypatch):
    disk = Disk(monkeypatch)

    def stuck(call, *arguments):  # a loop that never comes to call the commit thread
        if call.__name__ != "put":
            call(*arguments)

    log = open_log(deliver=stuck)
    ticket = log.predictions("homes", RELEASE, SCHEMA, "power").append(prediction(1))
    disk.ended.release(5)
    log.close()
    assert ticket.ok
    assert disk.syncs == 1


def test_nothing_is_written_to_a_closed_log(open_log):
    log = open_log()
    appender = log.predictions("homes", RELEASE, SCHEMA, "process")
    log.close()
    with pytest.raises(UnloggedError, match="is closed"):
        appender.append(prediction(1))


def test_an_entry_that_exceeds_a_frame_is_refused_and_the_log_goes_on(open_log, monkeypatch, tmp_path):
    monkeypatch.setattr(stream, "_LONGEST", 500)
    log = open_log()
    appender = log.predictions("homes", RELEASE, SCHEMA, "process")
    with pytest.raises(UnloggedError, match="fewer rows"):
        appender.append(prediction(1, bytes(501)))
    appender.append(prediction(2))
    assert appender.state().fault is None
    log.close()
    assert ids(tmp_path) == ["2"]


@pytest.mark.parametrize("name", ["", ".", "..", "../b", "a/b", ".hidden"])
def test_no_system_writes_outside_its_folder(open_log, name):
    with pytest.raises(ConfigError, match="cannot name a folder"):
        open_log().outcomes(name, "process")


def test_what_is_not_logged_is_counted_in_the_log(open_log, tmp_path):
    log = open_log(limits=Limits(count_seconds=60, count_requests=10))
    appender = log.predictions("homes", RELEASE, SCHEMA, "process")
    for _ in range(13):
        appender.unlogged("sampled", rows=2)
    appender.unlogged("failed")
    assert appender.state().unlogged == {"sampled": 13, "failed": 1, "withdrawn": 0}
    log.close()
    counts = [
        (entry.reason, entry.requests, entry.rows)
        for entry in entries(tmp_path)
        if isinstance(entry, UnloggedEntry)
    ]
    assert sum(requests for reason, requests, _ in counts if reason == "sampled") == 13
    assert sum(rows for reason, _, rows in counts if reason == "sampled") == 26
    assert ("failed", 1, 1) in counts
    assert len(counts) > 2  # ten were written at once


def test_a_removed_segment_is_told_and_replaced(open_log, tmp_path, caplog):
    log = open_log(limits=Limits(count_seconds=0.01))
    append = log.predictions("homes", RELEASE, SCHEMA, "process").append
    append(prediction(1))
    [path] = (tmp_path / "homes" / PREDICTIONS).glob("*.open")
    path.unlink()
    eventually(lambda: "was removed while it was written" in caplog.text)
    append(prediction(2))
    log.close()
    assert ids(tmp_path) == ["2"]


def test_a_server_that_starts_closes_what_a_dead_one_left(open_log, tmp_path):
    process = writer(tmp_path, 0, 10_000)
    with process:
        process.stdout.readline()
        process.kill()
        process.communicate()
    log = open_log()
    log.predictions("homes", RELEASE, SCHEMA, "process")
    eventually(lambda: not list((tmp_path / "homes" / PREDICTIONS).glob("*.open")))
    assert "0" in ids(tmp_path)


FORKER = """
import os, sys
from pathlib import Path
from lifecycle.serving.log.terms import UnloggedError
from lifecycle.serving.log.writer import PredictionLog
from tests.serving.log.conftest import RELEASE, SCHEMA, prediction
append = PredictionLog(Path(sys.argv[1])).predictions("homes", RELEASE, SCHEMA, "process").append
append(prediction(1))
if os.fork():
    os._exit(0)
try:
    append(prediction(2))
except UnloggedError as error:
    print(error.message, flush=True)
sys.stdin.read()
"""


def test_a_forked_child_neither_writes_to_the_segment_nor_keeps_it_open(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", FORKER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert b"before this process was forked" in parent.stdout.readline()
        parent.wait()
        assert [done.outcome for done in recover(tmp_path / "homes" / PREDICTIONS)] == ["closed"]
        parent.stdin.close()  # ends the child
        parent.stdout.read()
    assert ids(tmp_path) == ["1"]


@pytest.mark.parametrize(
    ("key", "fraction"),
    [
        (b"", 0.9540768245651896),
        (b"h1", 0.09713731462524204),
        (b"request-7", 0.7108865803767811),
        ("é".encode(), 0.9893600002755206),
        (bytes(range(256)), 0.4681139264489652),
    ],
)
def test_sampling_decides_alike_in_every_version(key, fraction):
    assert sampled(key, fraction + 1e-9)
    assert not sampled(key, fraction - 1e-9)


def test_sampling_takes_its_share():
    keys = [b"%d" % number for number in range(20_000)]
    assert all(sampled(key, 1.0) for key in keys)
    assert not any(sampled(key, 0.0) for key in keys)
    assert sum(sampled(key, 0.3) for key in keys) == pytest.approx(6000, abs=300)
    assert all(sampled(key, 0.4) for key in keys if sampled(key, 0.3))
