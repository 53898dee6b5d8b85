"""Recent-data splits: whatever the data, nothing from a later part is known in an earlier one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.core.errors import StateError, StorageError
from lifecycle.core.params import SplitParams
from lifecycle.core.record import Record, RecordSchema, schema_of
from lifecycle.core.roles import EventTime, Feature, Label, RecordId, SubjectId
from lifecycle.core.values import Split
from lifecycle.data.partitions import write_partition
from lifecycle.data.splits import make_split

START = date(2025, 1, 1)


def record(delay_days: int) -> RecordSchema:
    """A person's visits, one a day, whose outcome is known some days later."""

    class Visit(Record):
        visit: Annotated[str, RecordId()]
        person: Annotated[str | None, SubjectId()]
        on: Annotated[date, EventTime(), Feature()]
        ill: Annotated[bool, Label(delay=timedelta(days=delay_days))]

    return schema_of(Visit)


def snapshot(folder: Path, visits: list[tuple[int, str | None]]) -> Path:
    """Partitions of visits, each a day after ``START`` and a person."""
    rows = pl.DataFrame(
        {
            "visit": [f"v{i}" for i in range(len(visits))],
            "person": [person for _, person in visits],
            "on": [START + timedelta(days=day) for day, _ in visits],
            "ill": [False] * len(visits),
        },
        schema={"visit": pl.String, "person": pl.String, "on": pl.Date, "ill": pl.Boolean},
    )
    folder.mkdir(parents=True, exist_ok=True)
    month = rows["on"].dt.strftime("%Y-%m")
    for name in month.unique():
        write_partition(rows.filter(month == name), folder / f"{name}.parquet")
    return folder


def params(**given: Any) -> SplitParams:
    least = {"min_train_rows": 1, "min_validation_rows": 1, "min_test_rows": 1}
    return SplitParams.model_validate({"validation_days": 20, "test_days": 30} | least | given)


def days(count: int) -> list[tuple[int, str | None]]:
    return [(day, None) for day in range(count)]


def test_a_year_of_daily_visits(tmp_path: Path) -> None:
    data = snapshot(tmp_path / "data", days(365))
    split = make_split(record(10), params(embargo_days=5, half_life_days=100), data, tmp_path / "m.parquet")

    def at(day: int) -> datetime:
        return datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=day)

    assert split.ok
    assert split.reason == ""
    # The cut is the end of the last day, whatever the time is now.
    assert (split.test.start, split.test.end, split.test.rows) == (at(335), at(365), 30)
    # Ten of the twenty days have labels that were not known when the test window began.
    assert (split.validation.start, split.validation.end, split.validation.rows) == (at(315), at(335), 10)
    # 315 less ten days of delay and five of embargo.
    assert (split.train.start, split.train.end, split.train.rows) == (at(0), at(300), 300)
    assert (split.purged, split.embargoed, split.regrouped) == (10 + 10, 5, 0)
    manifest = pl.read_parquet(tmp_path / "m.parquet")
    assert manifest.columns == ["record_id", "part", "weight", "month"]
    assert manifest["record_id"].to_list() == [
        f"v{day}" for day in [*range(300), *range(315, 325), *range(335, 365)]
    ]
    assert manifest["weight"][299] == 1.0
    assert manifest["weight"][199] == pytest.approx(0.5)
    assert set(manifest["weight"][300:]) == {1.0}
    assert split.digest == hashlib.sha256((tmp_path / "m.parquet").read_bytes()).hexdigest()


def test_a_sliding_window_leaves_older_rows_out(tmp_path: Path) -> None:
    data = snapshot(tmp_path / "data", days(365))
    split = make_split(record(0), params(window_days=50), data, tmp_path / "m.parquet")
    assert split.train.rows == 50
    assert split.train.end - split.train.start == timedelta(days=50)
    assert (split.train.end, split.validation.end) == (split.validation.start, split.test.start)
    assert set(pl.read_parquet(tmp_path / "m.parquet")["weight"]) == {1.0}


def test_a_person_of_a_later_part_is_taken_out_of_earlier_ones(tmp_path: Path) -> None:
    visits = [
        (0, "ann"),
        (1, "bob"),
        (2, "cid"),
        (3, None),
        (55, "ann"),
        (56, "bob"),
        (57, None),
        (90, "ann"),
        (91, None),
    ]
    data = snapshot(tmp_path / "data", visits)
    split = make_split(record(0), params(), data, tmp_path / "m.parquet")
    manifest = pl.read_parquet(tmp_path / "m.parquet")
    parts = {part[0]: rows["record_id"].to_list() for part, rows in manifest.group_by("part")}
    assert parts == {"test": ["v7", "v8"], "validation": ["v5", "v6"], "train": ["v2", "v3"]}
    assert split.regrouped == 3


def test_too_little_data_is_skipped_with_the_counts(tmp_path: Path) -> None:
    data = snapshot(tmp_path / "data", days(80))
    split = make_split(
        record(4), params(min_train_rows=1000, min_test_rows=100), data, tmp_path / "m.parquet"
    )
    assert not split.ok
    assert split.reason == (
        "skipped: 26 training rows, at least 1000 are needed; 30 test rows, at least 100 are needed"
        " (8 purged)"
    )
    assert pl.read_parquet(tmp_path / "m.parquet").height == 26 + 16 + 30


def test_a_validation_window_shorter_than_the_delay_says_so(tmp_path: Path) -> None:
    data = snapshot(tmp_path / "data", days(200))
    split = make_split(record(20), params(), data, tmp_path / "m.parquet")
    assert split.reason == (
        "skipped: 0 validation rows, at least 1 are needed; validation_days 20 must exceed the label's delay"
        " of 20 days (40 purged)"
    )


def test_an_empty_snapshot_is_skipped(tmp_path: Path) -> None:
    data = snapshot(tmp_path / "data", [])
    split = make_split(record(0), params(), data, tmp_path / "m.parquet")
    assert split.reason == (
        "skipped: no row with a known label; 0 training rows, at least 1 are needed; 0 validation rows, at"
        " least 1 are needed; 0 test rows, at least 1 are needed"
    )
    assert pl.read_parquet(tmp_path / "m.parquet").height == 0


def test_without_a_snapshot_it_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"there is no snapshot in .*\n.*lifecycle data checkout"):
        make_split(record(0), params(), tmp_path / "none", tmp_path / "m.parquet")


def test_a_manifest_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    data = snapshot(tmp_path / "data", days(100))
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="the split could not be stored"):
        make_split(record(0), params(), data, tmp_path / "file" / "m.parquet")


PEOPLE = st.sampled_from(["ann", "bob", "cid", "dee", None])
VISITS = st.lists(st.tuples(st.integers(0, 200), PEOPLE), max_size=80)
SPLITS = st.fixed_dictionaries(
    {
        "validation_days": st.integers(1, 60),
        "test_days": st.integers(1, 60),
        "embargo_days": st.integers(0, 20),
        "window_days": st.none() | st.integers(1, 100),
        "half_life_days": st.none() | st.floats(1, 1000),
    }
)


def split_of(
    delay: int, given_params: dict[str, Any], visits: list[tuple[int, str | None]]
) -> tuple[Split, pl.DataFrame]:
    """The split of some visits, and its rows with day, person and part."""
    with TemporaryDirectory() as folder:
        data = snapshot(Path(folder) / "data", visits)
        manifest = Path(folder) / "manifest.parquet"
        split = make_split(record(delay), params(**given_params), data, manifest)
        order = {f"v{i}": visit for i, visit in enumerate(visits)}
        rows = pl.read_parquet(manifest)
        day = pl.Series("day", [order[name][0] for name in rows["record_id"]], dtype=pl.Int64)
        person = pl.Series("person", [order[name][1] for name in rows["record_id"]], dtype=pl.String)
        return split, rows.with_columns(day, person)


def day_of(moment: datetime) -> int:
    return (moment.date() - START).days


def pairs(rows: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Each part with every later one."""
    parts = [rows.filter(pl.col("part") == part) for part in ("train", "validation", "test")]
    yield from ((parts[i], parts[j]) for i in range(3) for j in range(i + 1, 3))


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 30), SPLITS, VISITS)
def test_nothing_of_a_later_part_is_known_in_an_earlier_one(
    delay: int, given_params: dict[str, Any], visits: list[tuple[int, str | None]]
) -> None:
    split, rows = split_of(delay, given_params, visits)
    assert rows["record_id"].is_unique().all()
    for earlier, later in pairs(rows):
        if earlier.height and later.height:
            assert earlier["day"].max() + delay < later["day"].min()
        assert not set(earlier["person"].drop_nulls()) & set(later["person"].drop_nulls())
    train, validation, test = (
        rows.filter(pl.col("part") == part) for part in ("train", "validation", "test")
    )
    embargo = given_params["embargo_days"]
    for day in train["day"]:
        assert day_of(split.train.start) <= day < day_of(split.train.end)
        assert day + delay + embargo < day_of(split.validation.start)
    for day in validation["day"]:
        assert day_of(split.validation.start) <= day
        assert day + delay < day_of(split.test.start)
    assert test.height == sum(day >= day_of(split.test.start) for day, _ in visits)
    assert (split.train.rows, split.validation.rows, split.test.rows) == (
        train.height,
        validation.height,
        test.height,
    )
    if given_params["window_days"] is None:
        left_out = split.purged + split.embargoed + split.regrouped
        assert rows.height + left_out == len(visits)
    assert rows["weight"].is_between(0, 1).all()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 30), SPLITS, VISITS, st.randoms())
def test_the_split_depends_on_the_rows_alone(
    delay: int, given_params: dict[str, Any], visits: list[tuple[int, str | None]], random: Any
) -> None:
    """Not on the order of rows in a partition, nor on when it is made."""
    with TemporaryDirectory() as folder:
        data = snapshot(Path(folder) / "data", visits)
        first = make_split(record(delay), params(**given_params), data, Path(folder) / "1.parquet")
        for path in data.iterdir():
            rows = pl.read_parquet(path)
            order = random.sample(range(rows.height), rows.height)
            write_partition(rows[order], path)
        assert make_split(record(delay), params(**given_params), data, Path(folder) / "2.parquet") == first
