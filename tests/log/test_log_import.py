"""Outcomes from files: all or none, the same file once, and every bad row told without its values."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lifecycle.core.errors import ConfigError, LifecycleError, SourceError
from lifecycle.core.record import FieldSpec, RecordSchema
from lifecycle.data.outcome_file import OutcomeFile
from lifecycle.data.outcome_import import Imported, count_outcomes, import_outcomes
from lifecycle.steps.compact import compact
from tests.log.conftest import HOMES, NOON, Written, prediction

TIME = "2026-02-01T06:00:00+00:00"


def take(written: Written, path: Path, skip_bad: bool = False, utc: bool = False, **columns: str) -> Imported:
    return import_outcomes(written.log, OutcomeFile(path, HOMES, columns, utc=utc), NOON, skip_bad=skip_bad)


def csv(folder: Path, *lines: str, header: str = "prediction_id,record_id,value,observed_at") -> Path:
    path = folder / "outcomes.csv"
    path.write_text("\n".join([header, *lines, ""]))
    return path


def jsonl(folder: Path, *outcomes: Any) -> Path:
    path = folder / "outcomes.jsonl"
    path.write_text("\n".join(it if isinstance(it, str) else json.dumps(it) for it in outcomes))
    return path


GOOD = [("p", None, 1.5), (None, "h", 2.0)]


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet", "jsonl"])
def test_every_kind_of_file_gives_the_same_outcomes(written: Written, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"outcomes.{kind}"
    frame = pl.DataFrame(GOOD, schema=["prediction_id", "record_id", "value"], orient="row")
    moment = datetime(2026, 2, 1, 8, tzinfo=UTC)
    frame = frame.with_columns(observed_at=pl.lit(moment).dt.convert_time_zone("Europe/Berlin"))
    if kind == "parquet":
        frame.write_parquet(path)
    elif kind == "jsonl":
        frame.with_columns(pl.col("observed_at").dt.to_string("iso:strict")).write_ndjson(path)
    else:
        pl.DataFrame.write_csv(
            frame.with_columns(pl.col("observed_at").dt.to_string("iso:strict")),
            path,
            compression="gzip" if kind == "csv.gz" else "uncompressed",
        )
    assert take(written, path).rows == 2
    rows = written.rows("outcomes").rows()
    assert rows == [("p", None, 1.5, moment, NOON), (None, "h", 2.0, moment, NOON)]


def test_one_bad_row_stores_nothing_and_every_fault_is_told_without_its_value(
    written: Written, tmp_path: Path
) -> None:
    path = csv(
        tmp_path,
        f"p,,1,{TIME}",
        f"p,h,1,{TIME}",
        f",,1,{TIME}",
        f"p,,-77,{TIME}",
        f"p,,secret,{TIME}",
        f"p,,,{TIME}",
        f"p,,inf,{TIME}",
        "p,,1,2026-02-01T06:00:00",
        "p,,1,2026-03-01T12:05:01Z",
        "p,,1,",
        f"{'x' * 513},,1,{TIME}",
        "p,,1",
    )
    with pytest.raises(SourceError) as told:
        take(written, path)
    text = str(told.value)
    for line in (
        "11 of 12 rows of outcomes.csv cannot be taken, and nothing was stored",
        "row 2, (ids): two ids, must have a prediction_id or a record_id, not both",
        "row 3, (ids): no id",
        "row 4, value: below 0, must be at least 0",
        "row 5, value: text, must be a number",
        "row 6, value: null, must not be empty",
        "row 7, value: infinity",
        "row 8, observed_at: no time with an offset, must be a time with its offset",
        "row 9, observed_at: in the future",
        "row 10, observed_at: null",
        "row 11, prediction_id: longer than 512 characters",
        "--skip-bad",
    ):
        assert line in text
    assert "secret" not in text
    assert "77" not in text
    assert list(written.folder.rglob("*.parquet*")) == []
    done = take(written, path, skip_bad=True)
    assert (done.rows, done.refused, len(done.faults)) == (1, 11, 10)
    assert written.rows("outcomes").height == 1


def test_the_same_file_counts_once_and_may_come_again_after_its_days_are_gone(
    written: Written, tmp_path: Path
) -> None:
    path = csv(tmp_path, f"p,,1,{TIME}", f"q,,1,{TIME}", f"q,,1,{TIME}")
    assert take(written, path).rows == 3
    again = take(written, path)
    assert (again.rows, again.before) == (0, True)
    path = csv(tmp_path, f"q,,1,{TIME}", f"p,,1,{TIME}", "p,,2,2026-02-02T06:00:00Z")
    assert take(written, path).rows == 3
    written.segment(prediction("p"))
    compact(written.log, NOON)
    counts = count_outcomes(written.log)
    assert (counts.received, counts.repeated, counts.corrections) == (6, 3, 1)
    assert (counts.ids, counts.matched, counts.parked) == (2, 1, 1)
    compact(written.log, NOON + timedelta(days=9), retention_days=1)
    assert take(written, path).rows == 3


def test_columns_may_have_other_names_and_times_may_be_utc_by_agreement(
    written: Written, tmp_path: Path
) -> None:
    path = csv(tmp_path, "h,5,2026-02-01", header="sale,paid,day")
    done = take(written, path, utc=True, record_id="sale", value="paid", observed_at="day")
    assert done.rows == 1
    assert written.rows("outcomes").rows() == [(None, "h", 5.0, datetime(2026, 2, 1, tzinfo=UTC), NOON)]


def test_typed_times_without_a_zone_need_the_agreement_too(written: Written, tmp_path: Path) -> None:
    path = tmp_path / "outcomes.parquet"
    frame = pl.DataFrame(
        {"prediction_id": ["p", "q"], "value": [1, 2], "observed_at": [date(2026, 2, 1)] * 2}
    )
    frame.write_parquet(path)
    with pytest.raises(SourceError, match="2 of 2 rows"):
        take(written, path)
    assert take(written, path, utc=True).rows == 2


def test_lines_that_are_no_outcome_are_told_with_their_number(written: Written, tmp_path: Path) -> None:
    good = {"prediction_id": "p", "value": 1, "observed_at": TIME}
    path = jsonl(
        tmp_path, good, "", "{", "[1]", good | {"value": [1]}, good | {"value": True}, good | {"more": 1}
    )
    done = take(written, path, skip_bad=True)
    assert done.rows == 2
    told = "\n".join(done.faults)
    for line in ("row 3, (line): no JSON", "row 4, (line): list", "row 5, value: text", "row 6, value: text"):
        assert line in told


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("boolean", ["true", "0", "1", "false"], ["2", "maybe"]),
        ("integer", ["3", "4.0"], ["4.5", "x"]),
    ],
)
def test_a_value_must_be_what_the_label_is(
    written: Written, tmp_path: Path, kind: Any, good: list[str], bad: list[str]
) -> None:
    key = FieldSpec(name="id", kind="integer", record_id=True)
    schema = RecordSchema(name="Thing", fields=(key, FieldSpec(name="label", kind=kind, label=True)))
    lines = [f"0{i},{value},{TIME}" for i, value in enumerate([*good, *bad], 1)]
    path = csv(tmp_path, *lines, f"seven,{good[0]},{TIME}", header="record_id,value,observed_at")
    file = OutcomeFile(path, schema, {})
    done = import_outcomes(written.log, file, NOON, skip_bad=True)
    assert (done.rows, done.refused) == (len(good), len(bad) + 1)
    stored = written.rows("outcomes")
    assert stored["record_id"].to_list() == [str(i) for i in range(1, len(good) + 1)]
    assert set(stored["value"]) <= {0.0, 1.0, 3.0, 4.0}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "there is no file"),
        ("outcomes.xlsx", "x", "does not say what it is"),
        ("outcomes.csv", "", "is empty"),
        (
            "outcomes.csv",
            "a,b\n1,2\n",
            "lacks the columns prediction_id, record_id, value, observed_at; it has a, b",
        ),
        ("outcomes.parquet", "x", "not a readable Parquet file"),
    ],
)
def test_a_file_that_cannot_be_one_is_told_at_once(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(LifecycleError, match=message):
        OutcomeFile(path, HOMES, {})


def test_an_unknown_field_is_told_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'value'"):
        OutcomeFile(csv(tmp_path), HOMES, {"valeu": "x"})


def test_fifty_thousand_rows_in_blocks(written: Written, tmp_path: Path) -> None:
    rows = (f"p{i},,{i % 9},{TIME}" for i in range(50_000))
    assert take(written, csv(tmp_path, *rows)).rows == 50_000
    assert written.rows("outcomes")["value"].sum() == sum(i % 9 for i in range(50_000))
