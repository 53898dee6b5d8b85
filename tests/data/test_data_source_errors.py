"""What is said when a source is not what it was declared to be."""

from __future__ import annotations

import gzip
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lifecycle.core.errors import ConfigError, LifecycleError, SourceError, UnavailableError

Line = Callable[..., str]


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
        " (or, when scoring, --column FIELD=COLUMN)"
    )


def test_a_missing_optional_column_is_not_passed_over_in_silence(project: Any) -> None:
    project.csv(header="ride,rider,began,bike,gears,km,cost")
    assert refusal(project).hint.endswith('or, for an optional field that it does not have, helmet: ""')


@pytest.mark.parametrize(
    ("kind", "name"),
    [("csv", "rides.csv"), ("csv", "rides.csv.gz"), ("parquet", "rides.parquet"), ("arrow", "rides.arrow")],
)
def test_a_file_of_0_bytes(project: Any, kind: str, name: str) -> None:
    (project.root / name).touch()
    error = refusal(project, {"kind": kind, "path": name})
    assert str(error) == (f"{name} is empty (0 bytes)\n  → write the file again, or leave it out")


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


def test_a_parquet_file_of_another_schema(project: Any, ride_line: Line) -> None:
    project.csv(ride_line("a"))
    rides = pl.read_csv(project.root / "rides.csv", try_parse_dates=True)
    rides.write_parquet(project.root / "1.parquet")
    other = rides.with_columns(km=pl.lit("far"), helmet=pl.lit(0.5), began=pl.lit(5), bike=pl.lit([1]))
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
    hint = f"paths are relative to {project.root}"
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
