"""Where rows come from: every kind of source brings the same rows."""

from __future__ import annotations

import gzip
import sqlite3
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

Line = Callable[..., str]

RIDES = {
    "ride": ["a", "b"],
    "rider": ["r1", None],
    "began": [datetime(2026, 1, 5, 8, tzinfo=UTC), datetime(2026, 2, 5, 8, tzinfo=UTC)],
    "bike": ["city", "race"],
    "gears": [7, 21],
    "km": [4.5, 80.0],
    "helmet": [None, True],
    "cost": [3.5, 0.0],
}


def sqlite(path: Path, *statements: str) -> Path:
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    return path


def test_csv_gzip_parquet_arrow_and_sql_give_the_same_bytes(project: Any) -> None:
    frame = pl.DataFrame(RIDES)
    frame.write_parquet(project.root / "rides.parquet")
    frame.write_ipc(project.root / "rides.arrow")
    frame.write_ipc_stream(project.root / "rides.arrows")
    text = frame.with_columns(pl.col("began").dt.to_string("%Y-%m-%d %H:%M:%S"))
    text.write_csv(project.root / "rides.csv")
    (project.root / "rides.csv.gz").write_bytes(gzip.compress((project.root / "rides.csv").read_bytes()))
    columns = "ride, rider, began, bike, gears, km, helmet, cost"
    values = "('a', 'r1', '2026-01-05T08:00', 'city', 7, 4.5, NULL, 3.5), " + (
        "('b', NULL, '2026-02-05 09:00+01:00', 'race', 21, 80, 1, 0)"
    )
    sqlite(
        project.root / "rides.db",
        f"CREATE TABLE rides ({columns})",
        f"INSERT INTO rides VALUES {values}",
    )
    sources: list[dict[str, Any]] = [
        {"path": "rides.csv"},
        {"path": "rides.csv.gz"},
        {"path": "rides.parquet", "kind": "parquet"},
        {"path": "rides.arrow", "kind": "arrow"},
        {"path": "rides.arrows", "kind": "arrow"},
        {"kind": "sql", "url": "sqlite:///rides.db", "query": f"SELECT {columns} FROM rides ORDER BY ride"},
    ]
    digests = []
    for source in sources:
        assert project.ingest(source).counts.kept == 2
        digests.append(project.digest())
    assert all(digest == digests[0] for digest in digests)
    assert project.rows().drop("origin").to_dict(as_series=False) == RIDES


def test_columns_and_formats_bring_foreign_names_and_dates(project: Any) -> None:
    foreign = (
        pl.DataFrame(RIDES)
        .rename({"km": "DIST", "ride": "No"})
        .with_columns(began=pl.Series([10426, 260205]))
    )
    foreign.write_parquet(project.root / "foreign.parquet")
    project.ingest(
        {
            "kind": "parquet",
            "path": "foreign.parquet",
            "columns": {"km": "DIST", "ride": "No"},
            "formats": {"began": "%y%m%d"},
        }
    )
    assert project.rows()["began"].dt.date().to_list() == [date(2001, 4, 26), date(2026, 2, 5)]
    assert project.rows()["km"].to_list() == [4.5, 80.0]


def test_a_glob_is_read_in_the_order_of_names(project: Any, ride_line: Line) -> None:
    project.csv(ride_line("a", km=2), name="rides/2026-02.csv")
    project.csv(ride_line("a", km=1), name="rides/2026-01.csv")
    assert project.ingest({"path": "rides/*.csv"}).counts.corrections == 1
    assert project.rows()["km"].to_list() == [2.0]


def test_an_optional_column_may_be_declared_absent(project: Any, ride_line: Line) -> None:
    project.csv("a,2026-01-05,city,7,4,1", header="ride,began,bike,gears,km,cost")
    project.ingest({"path": "rides.csv", "columns": {"rider": "", "helmet": ""}})
    assert project.rows().select("rider", "helmet").row(0) == (None, None)


def test_row_numbers_become_ids_that_hold_when_rows_are_appended(project: Any, ride_line: Line) -> None:
    header = "rider,began,bike,gears,km,helmet,cost"
    lines = [ride_line("", km=n).removeprefix(",") for n in range(3)]
    source = {"path": "log.csv", "number_rows_as": "ride"}
    project.csv(*lines[:2], name="log.csv", header=header)
    project.ingest(source)
    assert project.rows()["ride"].to_list() == ["log-0000001", "log-0000002"]
    project.csv(*lines, name="log.csv", header=header)
    project.csv(ride_line("own", km=9))
    project.ingest({"path": "rides.csv"}, source)  # another source beside it changes no id either
    assert project.rows().select("ride", "km").rows() == [
        ("log-0000001", 0.0),
        ("log-0000002", 1.0),
        ("log-0000003", 2.0),
        ("own", 9.0),
    ]


def test_a_broken_line_is_quarantined_and_still_counts_as_a_row(project: Any, ride_line: Line) -> None:
    project.csv(ride_line("a"), "b,city", ride_line("c") + ",more", ride_line("d", km=-1), "", ride_line("e"))
    ingested = project.ingest(max_share=0.75)
    assert (ingested.counts.read, ingested.counts.kept, ingested.counts.quarantined) == (5, 2, 3)
    described = pl.read_ndjson(ingested.quarantine)
    assert described.rows() == [
        ("rides.csv", 2, "(line)", "2 values", "the line has 2 values and the header 8"),
        ("rides.csv", 3, "(line)", "9 values", "the line has 9 values and the header 8"),
        ("rides.csv", 4, "km", "below 0", "must be at least 0"),
    ]


def test_a_file_of_broken_lines_alone_is_quarantined_whole(project: Any) -> None:
    project.csv("a", "b")
    assert project.ingest(max_share=1).counts.quarantined == 2


def test_a_header_alone_is_no_rows(project: Any) -> None:
    project.csv()
    assert project.ingest().counts.read == 0
    (project.root / "rides.csv").write_text(project.csv().read_text().strip())
    assert project.ingest().counts.read == 0


def test_values_of_mixed_types_in_sqlite_are_parsed_one_by_one(project: Any) -> None:
    sqlite(
        project.root / "rides.db",
        "CREATE TABLE rides (ride, rider, began, bike, gears, km, helmet, cost)",
        "INSERT INTO rides VALUES ('a','r','2026-01-05','city',7,4.5,1,2)",
        "INSERT INTO rides VALUES ('b','r','2026-01-05','city','6',3,'no',1)",
        "INSERT INTO rides VALUES ('c','r','2026-01-05','city','six',2.5,0,1)",
    )
    source = {"kind": "sql", "url": "sqlite:///rides.db", "query": "SELECT * FROM rides ORDER BY ride"}
    assert project.ingest(source, max_share=0.5).counts.quarantined == 1
    assert project.rows()["gears"].to_list() == [7, 6]


def test_decimals_and_categories_of_parquet_are_understood(project: Any) -> None:
    typed = pl.DataFrame(RIDES).with_columns(
        km=pl.Series([Decimal("4.50"), Decimal("80.00")]), bike=pl.col("bike").cast(pl.Categorical)
    )
    typed.write_parquet(project.root / "typed.parquet")
    project.ingest({"kind": "parquet", "path": "typed.parquet"})
    assert project.rows().select("km", "bike").rows() == [(4.5, "city"), (80.0, "race")]
