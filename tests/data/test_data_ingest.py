"""What becomes of rows: kept, refused, not yet there, repeated or corrected; and of a disk that refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest

from lifecycle.core.errors import ConfigError, DeclarationError, QuarantineError
from lifecycle.core.params import load_params
from lifecycle.core.record import Record, schema_of
from lifecycle.core.roles import Consent, EventTime, Feature, Label, RecordId, Sensitive, SubjectId
from lifecycle.core.values import Counts
from lifecycle.data.ingest import ingest
from systems.house_prices import SYSTEM

Line = Callable[..., str]
ROOT = Path(__file__).parents[2]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def faults(path: Path | None) -> list[dict[str, Any]]:
    assert path is not None
    return [json.loads(text) for text in path.read_text().splitlines()]


def test_good_rows_land_in_monthly_partitions(project: Any, ride_line: Line) -> None:
    project.csv(ride_line("b", "2026-03-02T07:00:00Z"), ride_line("a", "2026-01-05T23:30:00-02:00"))
    ingested = project.ingest()
    assert ingested.counts == Counts(read=2, kept=2)
    assert ingested.months == ("2026-01", "2026-03")  # February is empty, which is fine
    assert ingested.last_event == moment("2026-03-02T07:00:00")
    assert (ingested.origins, ingested.quarantine) == ({"user": 2}, None)
    assert names(project.out) == ["2026-01.parquet", "2026-03.parquet"]
    assert project.rows()["began"].to_list() == [moment("2026-01-06T01:30:00"), moment("2026-03-02T07:00:00")]
    assert names(project.out.parent) == ["rides"]


def test_every_fault_of_a_bad_row_is_described_and_no_value_is_shown(project: Any, ride_line: Line) -> None:
    project.csv(
        ride_line("good"),
        ride_line("bad-1", bike="velocipede", gears="4.5", km="-77.25", helmet="perhaps"),
        ride_line("bad-2", began="yesterday", rider="", cost="secret"),
        ride_line("this-id-is-much-too-long", gears="", km="NaN"),
        ride_line("good-2", rider="", helmet="", gears=" 8.0 "),
    )
    ingested = project.ingest(max_share=0.6)
    assert ingested.counts == Counts(read=5, kept=2, quarantined=3)
    described = faults(ingested.quarantine)
    assert {(fault["source"], fault["row"]) for fault in described} == {("rides.csv", n) for n in (2, 3, 4)}
    assert [(f["row"], f["field"], f["value"], f["reason"]) for f in described] == [
        (2, "bike", "not one of 3 choices", "must be one of city, cargo, race"),
        (2, "gears", "a fraction", "must be a whole number"),
        (2, "km", "below 0", "must be at least 0"),
        (2, "helmet", "text", "must be true or false"),
        (3, "began", "text", "must be a time, as 2026-01-31T06:00:00+00:00"),
        (3, "cost", "text", "must be a number"),
        (4, "ride", "longer than 16 characters", "must have at most 16 characters"),
        (4, "gears", "null", "must not be empty"),
        (4, "km", "NaN", "must be a finite number"),
    ]
    written = ingested.quarantine.read_text() if ingested.quarantine else ""
    assert not [value for value in ("velocipede", "77", "secret", "yesterday", "perhaps") if value in written]


def test_too_many_bad_rows_stop_the_flow_and_leave_the_snapshot_alone(project: Any, ride_line: Line) -> None:
    project.csv(*(ride_line(f"ok{i}") for i in range(7)))
    project.ingest()
    before = project.digest()
    project.csv(
        *(ride_line(f"ok{i}") for i in range(7)),
        ride_line("x", km=999),
        ride_line("y", km=888),
        ride_line("z", cost="?"),
    )
    with pytest.raises(QuarantineError) as stopped:
        project.ingest(max_share=0.25)
    assert stopped.value.message == (
        "3 of 10 rows were refused: 30.00%, and 25.00% is allowed\n"
        "  - km: above 300, must be at most 300: 2 × (first: row 8 of rides.csv)\n"
        "  - cost: text, must be a number: 1 × (first: row 10 of rides.csv)"
    )
    assert str(project.quarantine) in stopped.value.hint
    assert len(faults(project.quarantine)) == 3
    assert project.digest() == before


def test_a_quarantine_file_disappears_when_its_rows_are_mended(project: Any, ride_line: Line) -> None:
    project.csv(ride_line("a"), ride_line("b", km=-1))
    assert project.ingest(max_share=0.5).quarantine == project.quarantine
    project.csv(ride_line("a"), ride_line("b", km=1))
    assert project.ingest().quarantine is None
    assert names(project.quarantine.parent) == []


def test_a_nan_or_infinite_target_is_refused_and_a_missing_one_has_not_arrived(
    project: Any, ride_line: Line
) -> None:
    project.csv(
        ride_line("a", cost="NaN"), ride_line("b", cost="inf"), ride_line("c", cost=""), ride_line("d")
    )
    ingested = project.ingest(max_share=0.5)
    assert ingested.counts == Counts(read=4, kept=1, quarantined=2, immature=1)
    assert [(f["row"], f["field"], f["value"]) for f in faults(ingested.quarantine)] == [
        (1, "cost", "NaN"),
        (2, "cost", "infinity"),
    ]


def test_the_future_does_not_exist_yet_not_even_its_faults(project: Any, ride_line: Line) -> None:
    project.csv(
        ride_line("known", "2026-01-21T00:00:00Z"),
        ride_line("just-known", "2026-01-22T00:00:00Z"),
        ride_line("not-due", "2026-01-22T00:00:01Z", cost="not looked at"),
        ride_line("at-as-of", "2026-02-01T00:00:00Z"),
        ride_line("ahead", "2126-02-01T00:00:00Z", km="nonsense"),
    )
    ingested = project.ingest(as_of=moment("2026-02-01"))
    assert ingested.counts == Counts(read=5, kept=2, immature=1, future=2)
    assert project.rows()["ride"].to_list() == ["known", "just-known"]


def test_a_fault_beside_the_label_counts_before_the_label_is_due(project: Any, ride_line: Line) -> None:
    project.csv(ride_line("a", "2026-01-30T00:00:00Z", km="nonsense"))
    assert project.ingest(as_of=moment("2026-02-01"), max_share=1).counts == Counts(read=1, quarantined=1)


def test_when_no_label_has_matured_there_is_no_partition(project: Any, ride_line: Line) -> None:
    project.csv(ride_line("a", cost=""), ride_line("b", "2026-06-30T00:00:00Z"))
    ingested = project.ingest()
    assert ingested.counts == Counts(read=2, immature=2)
    assert (ingested.months, ingested.last_event, ingested.origins) == ((), None, {})
    assert list(project.out.iterdir()) == []


def test_a_later_moment_with_nothing_newly_known_changes_no_byte(project: Any, ride_line: Line) -> None:
    project.csv(*(ride_line(f"{i}", f"2026-0{1 + i % 3}-11T00:00:00Z", km=i) for i in range(50)))
    first = project.ingest(as_of=moment("2026-04-01"))
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in project.out.iterdir()}
    later = project.ingest(as_of=moment("2026-06-01"))
    assert later == first
    after = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in project.out.iterdir()}
    assert after == before  # not even written again, so DVC has nothing to hash


def test_the_same_rows_in_another_order_and_file_make_the_same_bytes(project: Any, ride_line: Line) -> None:
    rows = [ride_line(f"{i:03}", f"2026-01-{1 + i % 28:02}T00:00:00Z", km=i) for i in range(300)]
    project.csv(*rows)
    project.ingest()
    before = project.digest()
    project.csv(*rows[::-2], name="one.csv")
    project.csv(*rows[::2], name="two.csv")
    project.ingest({"path": "two.csv"}, {"path": "one.csv"})
    assert project.digest() == before


def test_a_row_that_comes_again_is_a_duplicate_and_a_changed_one_a_correction(
    project: Any, ride_line: Line
) -> None:
    project.csv(ride_line("a", km=1), ride_line("b", km=2), ride_line("c", km=3), name="bought.csv")
    project.csv(
        ride_line("a", km=1),
        ride_line("b", km=9),
        ride_line("b", "2026-05-01T00:00:00Z", km=8),
        ride_line("b", "2026-05-01T00:00:00Z", km=8),
        name="own.csv",
    )
    ingested = project.ingest({"path": "bought.csv", "origin": "licensed"}, {"path": "own.csv"})
    assert ingested.counts == Counts(read=7, kept=3, duplicates=2, corrections=2)
    assert ingested.origins == {"licensed": 2, "user": 1}
    assert project.rows().select("ride", "km", "origin").rows() == [
        ("a", 1.0, "licensed"),
        ("c", 3.0, "licensed"),
        ("b", 8.0, "user"),
    ]


def test_sources_win_in_the_order_they_are_listed(project: Any, ride_line: Line) -> None:
    project.csv(ride_line("a", km=1), name="one.csv")
    project.csv(ride_line("a", km=2), name="two.csv")
    project.ingest({"path": "one.csv"}, {"path": "two.csv"})
    assert project.rows()["km"].to_list() == [2.0]
    project.ingest({"path": "two.csv"}, {"path": "one.csv"})
    assert project.rows()["km"].to_list() == [1.0]


def test_a_correction_that_moves_a_row_changes_both_months_and_no_other(
    project: Any, ride_line: Line
) -> None:
    rows = [ride_line(name, f"2026-0{month}-03T00:00:00Z") for month, name in enumerate("abcd", start=1)]
    project.csv(*rows)
    project.ingest()
    before = project.digest()
    project.csv(*rows, ride_line("a", "2026-03-20T00:00:00Z"))
    ingested = project.ingest()
    assert ingested.counts.corrections == 1
    assert ingested.months == ("2026-02", "2026-03", "2026-04")
    after = project.digest()
    assert sorted(after) == ["2026-02.parquet", "2026-03.parquet", "2026-04.parquet"]
    assert {name for name in after if after[name] != before[name]} == {"2026-03.parquet"}


def test_without_keys_a_sensitive_field_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    class Patient(Record):
        patient: Annotated[str, RecordId(), SubjectId()]
        seen: Annotated[datetime, EventTime()]
        age: Annotated[int, Feature()]
        note: Annotated[str, Sensitive()]
        ill: Annotated[bool, Label()]

    params = load_params(ROOT).system("house-prices")
    with pytest.raises(ConfigError, match="Patient has sensitive fields, and no keys were given"):
        ingest(schema_of(Patient), params, tmp_path, moment("2026-01-01"), tmp_path / "o", tmp_path / "q")
    assert list(tmp_path.iterdir()) == []


def test_consent_of_nobody_is_refused(tmp_path: Path) -> None:
    class Visit(Record):
        visit: Annotated[str, RecordId()]
        seen: Annotated[datetime, EventTime()]
        age: Annotated[int, Feature()]
        agreed: Annotated[bool, Consent()]
        ill: Annotated[bool, Label()]

    params = load_params(ROOT).system("house-prices")
    with pytest.raises(DeclarationError, match="asks for consent with agreed, and has no sensitive field"):
        ingest(schema_of(Visit), params, tmp_path, moment("2026-01-01"), tmp_path / "o", tmp_path / "q")


def test_a_record_cannot_have_the_column_that_partitions_add(tmp_path: Path) -> None:
    class Parcel(Record):
        parcel: Annotated[str, RecordId()]
        sent: Annotated[datetime, EventTime()]
        origin: Annotated[str, Feature()]
        days: Annotated[float, Label()]

    params = load_params(ROOT).system("house-prices")
    with pytest.raises(DeclarationError, match="has a field named origin"):
        ingest(schema_of(Parcel), params, tmp_path, moment("2026-01-01"), tmp_path / "o", tmp_path / "q")


@pytest.mark.parametrize(
    ("as_of", "kept", "immature", "last"),
    [("1996-01-01", 10_830, 279, "1995-12-01"), ("1998-01-01", 20_603, 376, "1997-12-02")],
)
def test_real_house_sales_as_of_a_day(
    tmp_path: Path, as_of: str, kept: int, immature: int, last: str
) -> None:
    params = load_params(ROOT).system("house-prices")
    ingested = ingest(SYSTEM.schema, params, ROOT, moment(as_of), tmp_path / "out", tmp_path / "q.jsonl")
    counts = ingested.counts
    assert (counts.read, counts.kept, counts.immature, counts.quarantined) == (25_357, kept, immature, 0)
    assert counts.kept + counts.immature + counts.future == counts.read
    assert ingested.last_event == moment(last)
    assert ingested.last_event + timedelta(days=30) <= moment(as_of)
