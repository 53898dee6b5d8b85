"""From the manifest to arrays: only what is needed is read, and one encoder serves every part."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest

from lifecycle.core.errors import IntegrityError
from lifecycle.core.params import SplitParams
from lifecycle.core.record import Record, schema_of
from lifecycle.core.roles import EventTime, Feature, Label, RecordId
from lifecycle.core.rows import encode_records
from lifecycle.data.reading import Part, read_records, read_rows
from lifecycle.data.splits import make_split

Line = Callable[..., str]


@pytest.fixture
def split_project(project: Any, ride_line: Line) -> Any:
    """Rides of half a year, ingested and split."""
    days = [(month, day) for month in range(1, 7) for day in range(1, 29)]
    lines = [
        ride_line(
            f"{month}/{day}",
            f"2026-{month:02}-{day:02}T12:00:00Z",
            rider="" if day % 2 else f"r{month}",
            helmet="" if day == 3 else "true",
            bike="cargo" if day % 3 else "race",
            km=day / 3,
            cost=month,
        )
        for month, day in days
    ]
    project.csv(*reversed(lines))
    project.ingest()
    small = {"min_train_rows": 1, "min_validation_rows": 1, "min_test_rows": 1, "half_life_days": 30}
    params = SplitParams(validation_days=30, test_days=30, **small)
    project.manifest = project.root / "manifest.parquet"
    assert make_split(project.schema, params, project.out, project.manifest).ok
    return project


def test_rows_come_encoded_in_order_of_event_time(split_project: Any) -> None:
    rows = read_rows(split_project.schema, split_project.out, split_project.manifest, "test")
    assert rows.ids.tolist() == [f"5/{day}" for day in range(22, 29)] + [f"6/{day}" for day in range(1, 21)]
    assert rows.event_time[0] == np.datetime64("2026-05-22T12:00:00")
    assert rows.label.tolist() == [5.0] * 7 + [6.0] * 20
    assert rows.label.dtype == rows.weight.dtype == np.float64
    assert rows.tensors.categories[1:3].tolist() == [["cargo"], ["race"]]
    third = rows.tensors.numbers[rows.ids.tolist().index("6/3")]
    began = (datetime(2026, 6, 3, 12, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() / 86_400
    np.testing.assert_array_equal(third, np.array([began, 7, 1.0, np.nan], np.float32))


def test_the_parts_are_apart_and_weights_reach_training(split_project: Any) -> None:
    parts: tuple[Part, ...] = ("train", "validation", "test")
    read = {
        part: read_rows(split_project.schema, split_project.out, split_project.manifest, part)
        for part in parts
    }
    ids = [set(rows.ids) for rows in read.values()]
    assert not ids[0] & ids[1]
    assert not ids[1] & ids[2]
    assert all(np.all(np.diff(rows.event_time.astype(np.int64)) > 0) for rows in read.values())
    weight = read["train"].weight
    assert weight[-1] == 1.0
    assert np.all(np.diff(weight) > 0)
    assert set(read["test"].weight) == {1.0}


def test_months_that_a_part_does_not_touch_are_not_read(split_project: Any) -> None:
    for month in ("2026-01", "2026-02", "2026-03"):
        (split_project.out / f"{month}.parquet").write_bytes(b"not even parquet")
    assert len(read_rows(split_project.schema, split_project.out, split_project.manifest, "test")) == 27


def test_records_are_request_bodies_that_encode_as_the_rows_do(split_project: Any) -> None:
    records = read_records(split_project.schema, split_project.out, split_project.manifest, "test", 10)
    assert len(records) == 10
    assert records[0] == {
        "ride": "5/22",
        "began": "2026-05-22T12:00:00+00:00",
        "bike": "cargo",
        "gears": 7,
        "km": 22 / 3,
        "helmet": True,
    }
    request = split_project.schema.request_model()
    validated = [request.model_validate_json(json.dumps(body)).model_dump() for body in records]
    online = encode_records(split_project.schema, validated)
    batch = read_rows(split_project.schema, split_project.out, split_project.manifest, "test").tensors.take(
        slice(10)
    )
    np.testing.assert_array_equal(online.numbers, batch.numbers)
    np.testing.assert_array_equal(online.categories, batch.categories)


def test_a_snapshot_that_is_not_the_one_that_was_split_is_refused(
    split_project: Any, ride_line: Line
) -> None:
    split_project.csv(ride_line("other", "2026-05-23T12:00:00Z"), ride_line("new", "2026-06-01T12:00:00Z"))
    split_project.ingest()
    with pytest.raises(IntegrityError, match="holds 0 of the 27 records that the split names"):
        read_rows(split_project.schema, split_project.out, split_project.manifest, "test")
    with pytest.raises(IntegrityError, match=r"has no 2026-01\.parquet, which the split names"):
        read_rows(split_project.schema, split_project.out, split_project.manifest, "train")


def test_ids_may_be_integers(project: Any, tmp_path: Path) -> None:
    class Count(Record):
        number: Annotated[int, RecordId()]
        on: Annotated[date, EventTime(), Feature()]
        cars: Annotated[int, Label()]

    schema = project.schema = schema_of(Count)
    project.csv(*(f"2026-01-{day:02},{day}" for day in range(1, 21)), header="on,cars")
    project.ingest({"path": "rides.csv", "number_rows_as": "number"})
    params = SplitParams(
        validation_days=2, test_days=3, min_train_rows=1, min_validation_rows=1, min_test_rows=1
    )
    assert make_split(schema, params, project.out, tmp_path / "m.parquet").ok
    rows = read_rows(schema, project.out, tmp_path / "m.parquet", "test")
    assert (rows.ids.tolist(), rows.label.tolist()) == (["18", "19", "20"], [18.0, 19.0, 20.0])
    assert read_records(schema, project.out, tmp_path / "m.parquet", "test", 1) == [
        {"number": 18, "on": "2026-01-18"}
    ]


def test_fields_may_be_called_as_the_columns_of_the_manifest(project: Any, tmp_path: Path) -> None:
    class Parcel(Record):
        number: Annotated[int, RecordId()]
        on: Annotated[date, EventTime()]
        weight: Annotated[float, Feature(unit="kg")]
        month: Annotated[int, Feature()]
        record_id: Annotated[int, Feature()]
        part: Annotated[str, Feature()]
        late: Annotated[int, Label()]

    schema = project.schema = schema_of(Parcel)
    lines = (f"2026-01-{day:02},{day / 4},{day + 100},{day + 200},p{day},{day % 2}" for day in range(1, 21))
    project.csv(*lines, header="on,weight,month,record_id,part,late")
    project.ingest({"path": "rides.csv", "number_rows_as": "number"})
    small = {"min_train_rows": 1, "min_validation_rows": 1, "min_test_rows": 1}
    params = SplitParams(validation_days=2, test_days=2, **small)
    assert make_split(schema, params, project.out, tmp_path / "m.parquet").ok
    rows = read_rows(schema, project.out, tmp_path / "m.parquet", "test")
    assert rows.tensors.numbers.tolist() == [[4.75, 119.0, 219.0], [5.0, 120.0, 220.0]]
    assert rows.tensors.categories.tolist() == [["p19"], ["p20"]]
    assert rows.weight.tolist() == [1.0, 1.0]
    [record] = read_records(schema, project.out, tmp_path / "m.parquet", "test", 1)
    assert (record["weight"], record["month"]) == (4.75, 119)


def test_a_part_without_rows_is_empty_arrays(project: Any) -> None:
    project.csv()
    project.ingest()
    manifest = project.root / "manifest.parquet"
    make_split(project.schema, SplitParams(validation_days=30, test_days=30), project.out, manifest)
    rows = read_rows(project.schema, project.out, manifest, "train")
    assert (len(rows), rows.tensors.numbers.shape, rows.tensors.categories.shape) == (0, (0, 4), (0, 1))
    assert read_records(project.schema, project.out, manifest, "test", 5) == []
