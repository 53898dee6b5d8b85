"""Where rows come from, and what is said when a source is not what it was declared to be."""

from __future__ import annotations

import gzip
import sqlite3
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lifecycle.core.errors import ConfigError, LifecycleError, SourceError, UnavailableError

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


def refusal(project: Any, *sources: dict[str, Any]) -> LifecycleError:
    """The error an ingest of the sources ends with; it leaves no file behind."""
    with pytest.raises(LifecycleError) as refused:
        project.ingest(*sources)
    assert not project.out.exists()
    assert not list(project.root.rglob(".*"))
    return refused.value


def sqlite(path: Path, *statements: str) -> Path:
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    return path


# ---------------------------------------------------------------- the same rows from every kind of source


def test_csv_gzip_parquet_and_sql_give_the_same_bytes(project: Any) -> None:
    frame = pl.DataFrame(RIDES)
    frame.write_parquet(project.root / "rides.parquet")
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


# ---------------------------------------------------------------- refused, each with its message


def test_a_renamed_column_names_the_nearest_and_the_mapping_to_add(project: Any, ride_line: Line) -> None:
    project.csv(ride_line("a"), header="ride,rider,began,bike,gears_n,distance,helmet,COST")
    error = refusal(project)
    assert isinstance(error, SourceError)
    assert error.message == (
        "rides.csv lacks 3 columns:\n"
        "  - 'gears' for the field gears; did you mean 'gears_n'?\n"
        "  - 'km' for the field km\n"
        "  - 'cost' for the field cost; did you mean 'COST'?"
    )
    assert error.hint == (
        "say in params.yaml, in this source, where it is: columns: {gears: gears_n, km: COLUMN, cost: COST}"
    )


def test_a_missing_optional_column_is_not_passed_over_in_silence(project: Any) -> None:
    project.csv(header="ride,rider,began,bike,gears,km,cost")
    assert refusal(project).hint.endswith('or, for an optional field that it does not have, helmet: ""')


@pytest.mark.parametrize(
    ("kind", "name"), [("csv", "rides.csv"), ("csv", "rides.csv.gz"), ("parquet", "rides.parquet")]
)
def test_a_file_of_0_bytes(project: Any, kind: str, name: str) -> None:
    (project.root / name).touch()
    error = refusal(project, {"kind": kind, "path": name})
    assert str(error) == (
        f"{name} is empty (0 bytes)\n  → write the file again, or take the source out of params.yaml"
    )


def test_a_compressed_file_of_nothing(project: Any) -> None:
    (project.root / "rides.csv.gz").write_bytes(gzip.compress(b""))
    assert (
        refusal(project, {"path": "rides.csv.gz"}).message == "rides.csv.gz is empty: it has no header line"
    )


@pytest.mark.parametrize("compressed", [False, True])
def test_a_csv_that_is_not_utf8_says_where(project: Any, ride_line: Line, compressed: bool) -> None:
    path = project.csv(ride_line("a"), ride_line("b", rider="Zoë"))
    content = path.read_text(encoding="utf-8").encode("windows-1252")
    offset = content.index(b"\xeb")
    name = "rides.csv.gz" if compressed else "rides.csv"
    (project.root / name).write_bytes(gzip.compress(content) if compressed else content)
    error = refusal(project, {"path": name})
    assert error.message == f"{name} is not UTF-8: line 3, byte {offset} cannot be decoded"
    assert error.hint == "re-encode it, e.g. iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW"


def test_a_utf16_csv_is_recognised(project: Any, ride_line: Line) -> None:
    path = project.csv(ride_line("a"))
    path.write_text(path.read_text(), encoding="utf-16")
    error = refusal(project)
    assert error.message == "rides.csv is not UTF-8: line 1, byte 0 cannot be decoded"
    assert "iconv -f UTF-16" in error.hint


def test_a_utf8_csv_with_a_byte_order_mark_is_fine(project: Any, ride_line: Line) -> None:
    path = project.csv(ride_line("a", rider="Zoë"))
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8-sig")
    project.ingest()
    assert project.rows()["rider"].to_list() == ["Zoë"]


def test_a_cut_off_gzip_file(project: Any, ride_line: Line) -> None:
    path = project.csv(*(ride_line(str(n), km=n % 300) for n in range(9000)))
    content = gzip.compress(path.read_bytes())
    (project.root / "rides.csv.gz").write_bytes(content[: len(content) // 2])
    error = refusal(project, {"path": "rides.csv.gz"})
    assert error.message == "rides.csv.gz cannot be read to its end: Truncated compressed stream"


@pytest.mark.parametrize(("field", "rows"), [("rider", 30), ("rider", 150_000), ("cost", 30_000)])
def test_a_quotation_mark_that_never_closes(project: Any, ride_line: Line, field: str, rows: int) -> None:
    """It would swallow all rows after it into one value, of a broken line or of a good one."""
    after = [ride_line(str(n)) for n in range(rows)]
    project.csv(ride_line("ok"), ride_line("a", **{field: '"open'}), *after)
    error = refusal(project)
    assert error.message == "rides.csv is not a readable CSV file: a value runs on over many lines"
    assert error.hint == "look for a quotation mark that is opened and never closed"


def test_a_parquet_file_of_another_schema(project: Any) -> None:
    pl.DataFrame(RIDES).write_parquet(project.root / "1.parquet")
    other = pl.DataFrame(RIDES).with_columns(
        km=pl.lit("far"), helmet=pl.lit(0.5), began=pl.lit(5), bike=pl.lit([1])
    )
    other.write_parquet(project.root / "2.parquet")
    error = refusal(project, {"kind": "parquet", "path": "*.parquet"})
    assert error.message == (
        "2.parquet is of another schema:\n"
        "  - 'began' is Int32; began needs times\n"
        "  - 'bike' is List(Int64); bike needs text\n"
        "  - 'km' is String; km needs a number\n"
        "  - 'helmet' is Float64; helmet needs true and false (or 1 and 0)"
    )


def test_a_file_that_is_no_parquet(project: Any) -> None:
    (project.root / "rides.parquet").write_text("ride,km\n")
    error = refusal(project, {"kind": "parquet", "path": "rides.parquet"})
    assert error.message.startswith(
        "rides.parquet is not a readable Parquet file: Parquet magic bytes not found"
    )


def test_a_missing_file_and_a_glob_without_match(project: Any) -> None:
    hint = f"paths in params.yaml are relative to {project.root}"
    error = refusal(project, {"path": "riddes.csv"})
    assert (error.message, error.hint) == ("there is no file riddes.csv", hint)
    error = refusal(project, {"path": "rides/*.csv"})
    assert (error.message, error.hint) == ("no file matches rides/*.csv", hint)


def test_a_column_that_is_there_twice(project: Any) -> None:
    project.csv(header="ride,rider,began,bike,gears,km,helmet,cost,km")
    assert refusal(project).message == "rides.csv has two columns named 'km'"


def test_sql_that_fails_says_why(project: Any) -> None:
    sqlite(project.root / "rides.db", "CREATE TABLE other (ride)")
    source = {"kind": "sql", "url": "sqlite:///rides.db"}
    error = refusal(project, source | {"query": "SELECT * FROM rides"})
    assert error.message == "source 1 (sqlite): the query failed: no such table: rides"
    error = refusal(project, source | {"query": "SELECT * FROM other"})
    assert error.message.startswith("source 1 (sqlite) lacks 7 columns:\n  - 'rider' for the field rider\n")


def test_sql_that_answers_no_rows_is_checked_for_its_columns(project: Any) -> None:
    sqlite(
        project.root / "rides.db", "CREATE TABLE rides (ride, rider, began, bike, gears, km, helmet, price)"
    )
    error = refusal(project, {"kind": "sql", "url": "sqlite:///rides.db", "query": "SELECT * FROM rides"})
    assert error.message.startswith("source 1 (sqlite) lacks 1 column:\n  - 'cost' for the field cost")


def test_an_sqlite_file_that_is_not_there_is_not_made(project: Any) -> None:
    error = refusal(project, {"kind": "sql", "url": "sqlite:///rides.db", "query": "SELECT 1"})
    assert error.message == "there is no SQLite file rides.db"
    assert list(project.root.iterdir()) == []


def test_the_url_may_come_from_the_environment(
    project: Any, ride_line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = {"kind": "sql", "url": "$RIDES_URL", "query": "SELECT * FROM rides"}
    error = refusal(project, source)
    assert error.message == (
        "the environment variable RIDES_URL is not set, and a sql source reads its URL from it"
    )
    sqlite(
        project.root / "rides.db", "CREATE TABLE rides (ride, rider, began, bike, gears, km, helmet, cost)"
    )
    monkeypatch.setenv("RIDES_URL", f"sqlite:///{project.root / 'rides.db'}")
    assert project.ingest(source).counts.read == 0


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("postgresql+psycopg://ann:t0p-secret@127.0.0.1:9/rides?connect_timeout=2", UnavailableError),
        ("nosuchdb://ann:t0p-secret@127.0.0.1/rides", SourceError),
        ("ann:t0p-secret", ConfigError),
    ],
)
def test_no_message_shows_a_password(
    project: Any, monkeypatch: pytest.MonkeyPatch, url: str, kind: type[LifecycleError]
) -> None:
    monkeypatch.setenv("RIDES_URL", url)
    error = refusal(project, {"kind": "sql", "url": "$RIDES_URL", "query": "SELECT 1"})
    assert type(error) is kind
    assert "t0p-secret" not in str(error)
    assert error.__suppress_context__


def test_everything_wrong_with_the_declaration_is_said_at_once(project: Any) -> None:
    error = refusal(
        project,
        {"path": "a.csv", "columns": {"kms": "KM", "bike": ""}, "formats": {"km": "%d", "began": "%H"}},
        {"kind": "sql", "url": "sqlite://", "query": "SELECT 1", "number_rows_as": "ride"},
        {"path": "c.csv", "number_rows_as": "km", "formats": {"began": "DD.MM.YY"}},
        {"path": "d.csv", "number_rows_as": "number"},
    )
    assert isinstance(error, ConfigError)
    assert error.message == (
        "params.yaml does not fit the record:\n"
        "  - source 1: columns: the record has no field 'kms'; did you mean 'km'?\n"
        "  - source 1: columns: bike is not optional, so it needs a column\n"
        "  - source 1: formats: km is number; only dates and datetimes have a format\n"
        "  - source 1: formats: began: '%H' is not a strptime format\n"
        "  - source 2: number_rows_as: a query has no row numbers that last; select an id instead\n"
        "  - source 3: formats: began: 'DD.MM.YY' is not a strptime format\n"
        "  - source 3: number_rows_as: km is number; a row number is text or an integer\n"
        "  - source 4: number_rows_as: the record has no field 'number'"
    )


def test_two_files_that_would_number_their_rows_alike_are_refused(project: Any) -> None:
    header = "rider,began,bike,gears,km,helmet,cost"
    for year in ("2025", "2026"):
        project.csv(name=f"{year}/rides.csv", header=header)
    error = refusal(project, {"path": "*/rides.csv", "number_rows_as": "ride"})
    assert error.message == (
        "number_rows_as would give the rows of 2025/rides.csv and 2026/rides.csv the same rides"
    )
