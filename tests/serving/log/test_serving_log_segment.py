"""What can be relied on when a segment is read, whatever has happened to its file."""

from __future__ import annotations

import fcntl
import os
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from lifecycle.core.errors import IntegrityError
from lifecycle.serving.log.entries import Entry, OutcomeEntry, PredictionEntry, SchemaEntry, UnloggedEntry
from lifecycle.serving.log.recovery import adoptable, closed_segments, recover
from lifecycle.serving.log.segment import Damage, Header, frame, read_segment

HEADER = Header("homes", UUID(int=7))
_whole = some.integers(-(2**63), 2**63 - 1)
ENTRIES = some.lists(
    some.one_of(
        some.builds(SchemaEntry, some.text(), some.binary(max_size=50)),
        some.builds(
            PredictionEntry,
            *(some.text(max_size=8), _whole, some.text(max_size=8), some.text(max_size=8)),
            some.sampled_from(["champion", "canary", "shadow"]),
            *(_whole, some.text(max_size=8), some.text(max_size=8)),
            some.sampled_from(["record", "instances", "columns"]),
            *(some.binary(max_size=99), some.binary(max_size=16)),
        ),
        some.builds(
            OutcomeEntry,
            *(some.none() | some.text(max_size=8), some.none() | some.text(max_size=8)),
            some.floats(allow_nan=False),
            *(_whole, _whole),
        ),
        some.builds(UnloggedEntry, some.sampled_from(["sampled", "failed"]), _whole, _whole, _whole),
    ),
    max_size=8,
)
THREE: list[Entry] = [UnloggedEntry("sampled", requests, requests, 0) for requests in (1, 2, 3)]


def frames(entries: list[Entry]) -> list[bytes]:
    return [frame(msgspec.msgpack.encode(entry), HEADER.seed) for entry in entries]


def written(path: Path, entries: list[Entry]) -> Path:
    path.write_bytes(HEADER.encode() + b"".join(frames(entries)))
    return path


@given(ENTRIES)
@settings(max_examples=60, deadline=None)
def test_what_was_written_is_read(entries):
    with TemporaryDirectory() as folder:
        reader = read_segment(written(Path(folder, "a.seg"), entries))
        assert list(reader) == entries
        assert (reader.header, reader.entries, reader.torn, reader.damage) == (HEADER, len(entries), 0, [])


def ends_of(entries: list[Entry]) -> list[int]:
    """Where the header and each frame end."""
    return list(accumulate(map(len, frames(entries)), initial=len(HEADER.encode())))


def whole_before(entries: list[Entry], length: int) -> int:
    return sum(end <= length for end in ends_of(entries)[1:])


@given(ENTRIES, some.data())
@settings(max_examples=60, deadline=None)
def test_a_segment_cut_anywhere_gives_exactly_the_whole_entries_before(entries, data):
    ends = ends_of(entries)
    length = data.draw(some.integers(0, ends[-1]))
    with TemporaryDirectory() as folder:
        path = written(Path(folder, "a.open"), entries)
        os.truncate(path, length)
        reader = read_segment(path)
        whole = whole_before(entries, length)
        assert list(reader) == entries[:whole]
        assert reader.torn == length - (ends[whole] if length >= ends[0] else 0)
        assert reader.damage == []


def test_a_segment_cut_at_any_byte_is_recovered(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # three hundred times
    ends = ends_of(THREE)
    for length in range(ends[-1] + 1):
        os.truncate(written(tmp_path / "a.open", THREE), length)
        whole = whole_before(THREE, length)
        [done] = recover(tmp_path)
        if not whole:
            assert (done.outcome, list(tmp_path.iterdir())) == ("empty", [])
            continue
        assert (done.outcome, done.entries, done.cut) == ("closed", whole, length - ends[whole])
        reader = read_segment(tmp_path / "a.seg")
        assert (list(reader), reader.torn) == (THREE[:whole], 0)
        reader.path.unlink()


@given(ENTRIES.filter(bool), some.data())
@settings(max_examples=60, deadline=None)
def test_no_flipped_bit_goes_unseen(entries, data):
    with TemporaryDirectory() as folder:
        path = written(Path(folder, "a.seg"), entries)
        content = bytearray(path.read_bytes())
        place = data.draw(some.integers(0, len(content) - 1))
        content[place] ^= 1 << data.draw(some.integers(0, 7))
        path.write_bytes(content)
        reader = read_segment(path)
        if place < len(HEADER.encode()):
            try:
                assert list(reader) == []
                assert reader.torn == len(content)  # the name's length points beyond the end
            except IntegrityError:
                pass
            return
        ends, hit = ends_of(entries), whole_before(entries, place)
        assert list(reader) == entries[:hit] + entries[hit + 1 :]
        lost = ends[hit + 1] - ends[hit]
        last = hit == len(entries) - 1
        assert reader.damage == ([] if last else [Damage(ends[hit], lost)])
        assert reader.torn == (lost if last else 0)


def test_damage_amid_a_segment_is_told_and_refused_by_who_relies_on_it(tmp_path):
    first, second, third = frames(THREE)
    path = tmp_path / "a.seg"
    path.write_bytes(HEADER.encode() + first + bytes(len(second)) + third)
    reader = read_segment(path)
    assert list(reader) == [THREE[0], THREE[2]]
    with pytest.raises(IntegrityError, match=f"{len(second)} bytes in 1 places are damaged"):
        reader.verify()


def test_a_frame_of_another_process_left_on_the_disk_is_no_entry(tmp_path):
    other = Header("homes", UUID(int=8))
    path = written(tmp_path / "a.seg", THREE)
    with path.open("ab") as stream:
        stream.write(frame(msgspec.msgpack.encode(THREE[0]), other.seed))
    reader = read_segment(path)
    assert list(reader) == THREE
    assert reader.torn > 0


def test_a_length_that_promises_more_than_the_file_holds_costs_no_memory(tmp_path):
    path = written(tmp_path / "a.seg", THREE)
    with path.open("ab") as stream:
        stream.write(b"\xff\xff\xff\x0f" + bytes(100))
    reader = read_segment(path)
    assert list(reader) == THREE
    assert reader.torn == 104


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PAR1" + bytes(50), "is not a segment"),
        (HEADER.encode()[:8] + b"\x63\x00" + HEADER.encode()[10:], "has version 99"),
        (HEADER.encode().replace(b"homes", b"hopes"), "checksum of its header"),
        (HEADER.encode() + frame(b"\x92\xa6cheese\x01", HEADER.seed), "none that this version knows"),
    ],
)
def test_a_file_that_is_no_segment_of_this_version_is_refused(tmp_path, content, message):
    path = tmp_path / "a.seg"
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=message):
        list(read_segment(path))


def test_only_segments_whose_writer_is_dead_are_closed(tmp_path, caplog):
    alive, dead = written(tmp_path / "a.open", THREE), written(tmp_path / "b.open", THREE)
    with dead.open("ab") as stream:
        stream.write(b"torn")
    with alive.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert adoptable(tmp_path) == [dead]
        [done] = recover(tmp_path)
        assert (done.path, done.entries, done.cut) == (tmp_path / "b.seg", 3, 4)
        assert "the 4 bytes behind them were cut" in caplog.text
        assert recover(tmp_path) == []
        assert closed_segments(tmp_path) == [tmp_path / "b.seg"]
    assert adoptable(tmp_path) == [alive]


def test_a_segment_with_a_damaged_header_is_kept_for_people_and_stops_nobody(tmp_path):
    written(tmp_path / "a.open", THREE).write_bytes(bytes(4096))
    written(tmp_path / "b.open", THREE)
    assert [done.outcome for done in recover(tmp_path)] == ["unreadable", "closed"]
    assert (tmp_path / "a.damaged").stat().st_size == 4096


def test_a_folder_that_is_not_there_holds_no_segments(tmp_path):
    nowhere = tmp_path / "nowhere"
    assert (closed_segments(nowhere), adoptable(nowhere), recover(nowhere)) == ([], [], [])
