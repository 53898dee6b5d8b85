"""Segments become Parquet: every row exactly once, with its types; what cannot be trusted stays put."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import polars as pl
import pytest

from lifecycle.core.errors import BusyError, IntegrityError
from lifecycle.core.record import FieldSpec
from lifecycle.data import log_writing
from lifecycle.data.log_files import ClearLog
from lifecycle.data.log_parts import CompactedLog, Unlogged
from lifecycle.data.predictions import prediction_table
from lifecycle.serving.log.entries import OutcomeEntry, UnloggedEntry, row_ids
from lifecycle.serving.log.retention import deleted_days
from lifecycle.serving.log.writer import PredictionLog
from lifecycle.steps import segments as reading
from lifecycle.steps.compact import compact
from lifecycle.steps.log_status import as_text, log_status
from tests.log.conftest import HOMES, NOON, RELEASE, Written, micros, outcome, prediction
from tests.log.people import OWNED, People


def test_every_prediction_keeps_its_id_its_answer_and_typed_features(written: Written) -> None:
    seen = {"seen": "2026-01-01T02:00:00+02:00", "home_id": "h1", "note": 'quoted "\n'}
    written.segment(
        prediction("one", {**seen, "beds": 4}),
        prediction("two", {}, {"home_id": "h2", "garden": False}, at=NOON + timedelta(days=1)),
        prediction("three", {"seen": "2026-01-01T00:00:00"}, {"area": 99}, shape="columns", share="shadow"),
    )
    done = compact(written.log, NOON)
    assert (done.segments, done.predictions, done.outcomes, done.parts) == (1, 5, 0, 2)
    rows = written.rows().sort("prediction_id")
    assert rows.schema["feature.seen"] == pl.Datetime("us", "UTC")
    assert rows["prediction_id"].to_list() == ["one", "three-0", "three-1", "two-0", "two-1"]
    assert rows["prediction"].to_list() == [100, 100, 101, 100, 101]
    assert rows["record_id"].to_list() == ["h1", None, None, None, "h2"]
    assert rows["share"].to_list() == ["champion", "shadow", "shadow", "champion", "champion"]
    assert rows["feature.area"].to_list() == [120.5, 120.5, 99, 120.5, 120.5]
    assert rows["feature.beds"].to_list() == [4, 3, 3, 3, 3]
    assert rows["feature.garden"].to_list() == [True, True, True, True, False]
    assert rows["feature.built"].to_list() == [date(1996, 1, 31)] * 5
    midnight = datetime(2026, 1, 1, tzinfo=UTC)
    assert rows["feature.seen"].to_list() == [midnight, midnight, None, None, None]
    assert rows["feature.note"][0] == 'quoted "\n'
    assert rows.row(0, named=True)["at"] == NOON
    assert rows["release"].unique().to_list() == [RELEASE]
    assert rows["request_id"].to_list()[0] == "request-one"
    assert sorted(path.name for path in (written.folder / "predictions").iterdir()) == [
        "2026-03-01",
        "2026-03-02",
    ]


def test_the_ids_of_rows_are_those_that_clients_are_given(written: Written) -> None:
    entries = [
        prediction("a"),
        prediction("b", {}, shape="instances"),
        prediction("c", {}, {}, shape="columns"),
    ]
    written.segment(*entries)
    compact(written.log, NOON)
    given = [
        key for it, rows in zip(entries, (1, 1, 2), strict=True) for key in row_ids(it.id, it.shape, rows)
    ]
    assert sorted(written.rows()["prediction_id"]) == given


def test_what_the_endpoint_forgave_is_read_as_it_was_understood(written: Written) -> None:
    written.segment(
        prediction("a", {"beds": "3", "area": True | 100, "built": "1996-01-31T00:00:00"}),
        prediction("b", {"beds": 4.0}, {"garden": "yes"}, shape="columns"),
    )
    compact(written.log, NOON)
    rows = written.rows().sort("prediction_id")
    assert rows["feature.beds"].to_list() == [3, 4, 3]
    assert rows["feature.built"].to_list() == [date(1996, 1, 31)] * 3
    assert rows["feature.garden"].to_list() == [True, True, True]


def test_a_number_beyond_64_bits_is_null_and_holds_nothing_up(written: Written) -> None:
    wide = FieldSpec(name="beds", kind="integer", feature=True)
    fields = tuple(wide if spec.name == "beds" else spec for spec in HOMES.fields)
    written.schemas[RELEASE] = HOMES.model_copy(update={"fields": fields})
    written.segment(prediction("a", {"beds": 2**70}), prediction("b", {"beds": 5}))
    compact(written.log, NOON)
    assert written.rows().sort("prediction_id")["feature.beds"].to_list() == [None, 5]


def test_releases_with_different_records_share_a_log(written: Written) -> None:
    fields = tuple(spec for spec in HOMES.fields if spec.name != "note")
    written.schemas["b2" * 32] = HOMES.model_copy(update={"fields": fields})
    written.segment(prediction("old", release="b2" * 32), prediction("new", {"note": "n"}))
    assert compact(written.log, NOON).parts == 2
    assert written.rows().sort("prediction_id")["feature.note"].to_list() == ["n", None]


def test_a_second_compaction_finds_nothing_and_changes_nothing(written: Written) -> None:
    written.segment(prediction("a"))
    compact(written.log, NOON)
    before = {path: path.read_bytes() for path in written.folder.rglob("*.parquet")}
    done = compact(written.log, NOON)
    assert (done.segments, done.predictions, done.parts) == (0, 0, 0)
    assert {path: path.read_bytes() for path in written.folder.rglob("*.parquet")} == before
    assert written.segments() == []


def test_a_dead_servers_segment_is_taken_without_its_torn_tail_and_a_living_ones_is_left(
    written: Written,
) -> None:
    written.segment(prediction("dead"), closed=False, tail=b"half an entry")
    living = written.segment(prediction("living"), closed=False)
    with living.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert compact(written.log, NOON).predictions == 1
        assert written.rows()["prediction_id"].to_list() == ["dead"]
        assert written.segments() == [living.name]


def test_rows_that_do_not_all_arrive_are_told_and_nothing_is_deleted(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    written.segment(prediction("a"), prediction("b"))
    monkeypatch.setattr(reading, "prediction_table", lambda *it: prediction_table(*it).head(1))
    with pytest.raises(
        IntegrityError, match="the parts hold 1 predictions and 0 outcomes, and 2 predictions"
    ):
        compact(written.log, NOON)
    assert len(written.segments()) == 1
    assert list(written.folder.rglob("*.parquet*")) == []
    monkeypatch.undo()
    assert compact(written.log, NOON).predictions == 2


def test_a_damaged_segment_stays_and_holds_up_no_other(written: Written) -> None:
    damaged = written.segment(*(prediction(f"d{i}") for i in range(9)))
    written.segment(prediction("sound"))
    content = bytearray(damaged.read_bytes())
    content[-400] ^= 0xFF
    damaged.write_bytes(content)
    with pytest.raises(IntegrityError, match=f"{damaged.name}: .* damaged"):
        compact(written.log, NOON)
    assert written.segments() == [damaged.name]
    assert written.rows()["prediction_id"].to_list() == ["sound"]


def test_a_dead_servers_segment_without_a_header_is_kept_and_told(written: Written) -> None:
    written.segment(prediction("sound"))
    path = written.segment(prediction("lost"), closed=False)
    path.write_bytes(b"?" * 100)
    with pytest.raises(IntegrityError, match=r"it is kept as .*\.damaged"):
        compact(written.log, NOON)
    assert written.segments() == [path.with_suffix(".damaged").name]
    assert written.rows()["prediction_id"].to_list() == ["sound"]


def test_a_request_that_cannot_be_read_is_told_without_its_values(written: Written) -> None:
    entry = msgspec.structs.replace(prediction("a"), inputs=b'{"beds": "secret"}')
    path = written.segment(entry)
    with pytest.raises(IntegrityError) as told:
        compact(written.log, NOON)
    assert "secret" not in str(told.value)
    assert written.segments() == [path.name]


def test_a_request_with_fewer_answers_than_rows_is_told(written: Written) -> None:
    entry = prediction("a", {}, {})
    written.segment(msgspec.structs.replace(entry, predictions=entry.predictions[:8]))
    with pytest.raises(IntegrityError, match="holds 2 rows and 1 predictions"):
        compact(written.log, NOON)


def test_a_segment_that_comes_back_with_other_bytes_is_not_deleted(written: Written) -> None:
    path = written.segment(prediction("a"))
    written.log.commit([], {f"segments/{path.name}": path.stat().st_size + 1})
    with pytest.raises(IntegrityError, match="was compacted with"):
        compact(written.log, NOON)
    assert path.exists()


def test_one_compaction_at_a_time(written: Written) -> None:
    with (
        written.log.held(),
        pytest.raises(BusyError, match="homes: another flow holds the prediction log"),
    ):
        compact(written.log, NOON)


def test_large_segments_become_several_parts_in_bounded_memory(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "ROWS_AT_ONCE", 10)
    monkeypatch.setattr(log_writing.PartWriter.__init__, "__kwdefaults__", {"source": "", "rows_a_part": 20})
    written.segment(*(prediction(f"p{i:03}") for i in range(95)))
    written.segment(*(prediction(f"q{i:03}", {}, {}) for i in range(10)))
    done = compact(written.log, NOON)
    assert (done.predictions, done.parts) == (115, 6)
    assert written.rows()["prediction_id"].n_unique() == 115


def test_retention_deletes_whole_days_and_says_which(written: Written) -> None:
    for days in range(5):
        written.segment(prediction(f"p{days}", at=NOON - timedelta(days=days)))
        written.outcomes(outcome(1.0, NOON - timedelta(days=days), of=f"p{days}"))
    done = compact(written.log, NOON, retention_days=2)
    assert done.deleted_days == ("2026-02-25", "2026-02-26")
    assert written.rows()["prediction_id"].sort().to_list() == ["p0", "p1", "p2"]
    assert written.rows("outcomes")["prediction_id"].sort().to_list() == ["p0", "p1", "p2"]
    kept = sorted(path.name for path in (written.folder / "predictions").iterdir())
    assert kept == ["2026-02-27", "2026-02-28", "2026-03-01"]
    told = [(day.kind, day.day, day.rows) for day in deleted_days(written.folder)]
    assert told == [(kind, day, 1) for day in done.deleted_days for kind in ("outcomes", "predictions")]
    assert compact(written.log, NOON, retention_days=2).deleted_days == ()


def test_a_part_that_is_gone_or_changed_is_never_read_past(written: Written) -> None:
    written.segment(prediction("a"))
    compact(written.log, NOON)
    [path] = written.log.paths("predictions")
    path.write_bytes(path.read_bytes() + b"?")
    with pytest.raises(IntegrityError, match="were written"):
        written.log.paths("predictions")
    path.unlink()
    with pytest.raises(IntegrityError, match="is missing"):
        written.log.paths("predictions")


def test_a_list_that_is_none_is_told(written: Written) -> None:
    written.segment(prediction("a"))
    (written.folder / "compacted.json").write_text("{")
    with pytest.raises(IntegrityError, match="not a list of compacted parts"):
        compact(written.log, NOON)
    assert len(written.segments()) == 1


def test_the_status_counts_what_is_stored_waits_and_was_never_logged(written: Written) -> None:
    written.segment(prediction("a"), UnloggedEntry("sampled", 3, 7, 0), UnloggedEntry("failed", 1, 1, 0))
    written.segment(UnloggedEntry("sampled", 1, 1, 0))
    compact(written.log, NOON)
    written.segment(prediction("b", {}, {}), UnloggedEntry("sampled", 10, 10, 0))
    written.segment(prediction("c"), closed=False)
    written.outcomes(outcome(1.0, NOON, of="a"))
    status = log_status(written.log, parked=4)
    assert (status.stored["predictions"].rows, status.stored["predictions"].days) == (1, 1)
    assert status.unlogged == {
        "sampled": Unlogged(requests=14, rows=18),
        "failed": Unlogged(requests=1, rows=1),
    }
    waiting = status.waiting
    assert (waiting.open, waiting.closed, waiting.predictions, waiting.outcomes) == (1, 2, 3, 1)
    assert "18 predictions of 14 requests: sampled" in as_text(status)
    assert "4 outcomes wait for their prediction" in as_text(status)


def test_a_log_that_nobody_wrote_yet_is_empty(written: Written) -> None:
    assert "no day yet" in as_text(log_status(written.log, parked=0))
    assert compact(written.log, NOON).segments == 0
    assert written.log.paths("predictions") == []


def test_killed_at_any_step_the_next_compaction_ends_with_every_row_once(tmp_path: Path) -> None:
    """Every change of the file system is a place to die; `crashes.py` dies at each of them in turn."""
    root = tmp_path / "root"
    written = Written(CompactedLog(root / "log" / "homes", "homes", ClearLog()))
    written.segment(prediction("a"), prediction("b", {}, {}), UnloggedEntry("sampled", 2, 3, 0))
    written.segment(
        prediction("c", at=NOON + timedelta(days=1)), prediction("old", at=NOON - timedelta(days=9))
    )
    written.segment(prediction("dead"), closed=False, tail=b"torn")
    written.outcomes(outcome(1.0, NOON, of="a"))
    _die_everywhere(root)


def test_killed_at_any_step_a_log_about_people_is_whole_and_leaves_no_key(tmp_path: Path) -> None:
    root = tmp_path / "root"
    people = People(root)
    schema = OWNED.model_dump_json().encode()
    served = [
        [prediction("a", {"owner": "ada"}), prediction("b", {"owner": "ada"}, {"owner": "bob"})],
        [
            prediction("c", {"owner": "bob"}, at=NOON + timedelta(days=1)),
            prediction("old", {"owner": "eve"}, at=NOON - timedelta(days=9)),
        ],
        [prediction("dead", {"owner": "ada"})],
    ]
    for entries in served:
        log = PredictionLog(root / "log")
        appender = log.predictions("homes", RELEASE, schema, "process", people.custody)
        appender.extend([msgspec.msgpack.encode(entry) for entry in entries])
        if entries is served[0]:
            appender.unlogged("sampled", 2, 3)
            truth = OutcomeEntry("a", None, 1.0, micros(NOON), micros(NOON), "ada")
            log.outcomes("homes", "process", people.custody).extend([msgspec.msgpack.encode(truth)])
        log.close()
    last = max((root / "log" / "homes" / "segments").iterdir())
    last.write_bytes(last.read_bytes() + b"torn")
    last.rename(last.with_suffix(".open"))
    _die_everywhere(root, step=5)


def _die_everywhere(root: Path, step: int = 1) -> None:
    script = Path(__file__).with_name("crashes.py")
    done = subprocess.run(
        [sys.executable, str(script), str(root), str(step)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    died, *faults = done.stdout.splitlines()
    assert int(died) > 25
    assert faults == []


def test_what_the_servers_own_writer_wrote_is_compacted(tmp_path: Path) -> None:
    written = Written(CompactedLog(tmp_path / "homes", "homes", ClearLog()))
    log = PredictionLog(tmp_path)
    predictions = log.predictions("homes", RELEASE, HOMES.model_dump_json().encode(), "process")
    predictions.append(msgspec.msgpack.encode(prediction("a")))
    predictions.append(msgspec.msgpack.encode(prediction("b", {}, {})))
    log.outcomes("homes", "process").extend([msgspec.msgpack.encode(outcome(1.0, NOON, of="a"))])
    assert compact(written.log, NOON).segments == 0  # it is still writing
    log.close()
    assert compact(written.log, NOON).segments == 2
    assert written.rows()["prediction_id"].sort().to_list() == ["a", "b-0", "b-1"]
    assert written.rows("outcomes").height == 1
