"""`lifecycle records open`: whoever may gets what was asked for, and everything else stays sealed."""

from __future__ import annotations

import stat
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from lifecycle.core.record import SUBJECT_REF
from tests.office.conftest import MARKER, Clinic, identifier

OPEN = ("open", "clinic", "scores", "--purpose", "care")


@pytest.fixture
def night(clinic, monkeypatch) -> list[bytes]:
    """Scores of four people, three rows each in two files; the officer may see what is clinical."""
    monkeypatch.chdir(clinic.root)
    clinic.allow([], care=["clinical"])
    refs = clinic.admit(4)
    folder = clinic.root / "scores"
    folder.mkdir()
    for part, first in enumerate((1, 7)):
        owners = [refs[row % 4] for row in range(6)]
        rows = range(first, first + 6)
        table = {
            SUBJECT_REF: pa.array(owners, pa.binary(16)),
            "row": pa.array(rows, pa.int64()),
            "record_id": pa.array([f"{identifier(row)} record" for row in rows], pa.large_string()),
            "prediction": pa.array([row / 7 for row in rows], pa.float64()),
        }
        clinic.vault.seal(pa.table(table), folder / f"part-{part:05}.parquet")
    clinic.vault.close(folder)
    return refs


def told(clinic: Clinic, ref: bytes) -> list[tuple[object, ...]]:
    return [
        (it["actor"], it["purpose"], it["columns"], it["rows"], bool(it["denied"]))
        for it in clinic.office.trail.who(ref)
    ]


@pytest.mark.parametrize("name", ["night.csv", "night.parquet"])
def test_a_file_holds_what_was_asked_for_and_is_nobody_elses(clinic, night, name):
    said = clinic.run(*OPEN, "--columns", "prediction,row", "--output", name).output
    assert said == f"12 rows for care in {name}, in clear\n"
    found = pl.read_csv(name) if name.endswith("csv") else pl.read_parquet(name)
    assert found.columns == ["prediction", "row"]
    assert found["row"].to_list() == list(range(1, 13))
    assert found["prediction"].to_list() == [row / 7 for row in range(1, 13)]
    assert stat.S_IMODE(Path(name).stat().st_mode) == 0o600
    assert told(clinic, night[0]) == [("officer", "care", ["prediction", "row"], 12, False)]
    assert [path.name for path in clinic.root.glob(".night*")] == []


def test_standard_output_gets_csv_and_nothing_else(clinic, night):
    done = clinic.run(*OPEN, "--columns", "row", "--output", "-")
    assert done.stdout.split() == ["row", *map(str, range(1, 13))]
    assert "12 rows for care" in done.stderr


def test_rows_of_erased_people_are_left_out_and_counted(clinic, night):
    clinic.office.erasure.erase(night[:1])
    assert clinic.json(*OPEN, "--columns", "row", "--output", "night.csv") == {
        "rows": 8,
        "erased": 4,
        "columns": ["row"],
        "purpose": "care",
    }
    assert set(pl.read_csv("night.csv")["row"]) == {2, 3, 4, 6, 8, 9, 10, 12}


def test_one_file_of_a_folder_is_opened_alone(clinic, night):
    words = ["open", "clinic", "scores/part-00001.parquet", *OPEN[3:], "--columns", "row", "--output"]
    assert clinic.json(*words, "night.csv")["rows"] == 6


def test_identifiers_are_opened_for_those_alone_who_may_see_them(clinic, night):
    words = (*OPEN, "--columns", "row,record_id", "--output")
    denied = clinic.run(*words, "night.csv", expect=77)
    assert "may not open identifiers for 'care'" in denied.output
    assert not Path("night.csv").exists()
    assert told(clinic, night[1]) == [("officer", "care", ["row", "record_id"], 12, True)]

    clinic.allow([], care=["clinical", "identifiers"])
    # Not by Clinic.run, which sees that nobody is named.
    from click.testing import CliRunner

    from lifecycle.cli import main

    done = CliRunner().invoke(main, ["records", *words, "-"])
    assert done.exit_code == 0
    assert f"12,{identifier(12)} record" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--columns", "row", "--output", "night.xlsx"), 2, "neither .csv nor .parquet"),
        (("--columns", "row", "--output", "scores/night.parquet"), 2, "among the sealed files"),
        (("--columns", "row", "--output", "access.csv"), 6, "there already"),
        (("--columns", "row", "--output", "nowhere/night.csv"), 2, "no folder"),
        (("--columns", "rwo", "--output", "-"), 2, "did you mean 'row'"),
        (("--output", "-"), 2, "row (clinical), record_id (identifiers), prediction (clinical)"),
    ],
)
def test_what_cannot_be_opened_is_neither_opened_nor_on_record(clinic, night, words, code, said):
    (clinic.root / "access.csv").touch()
    assert said in clinic.run(*OPEN, *words, expect=code).output
    assert clinic.office.trail.verify().entries == 0


def test_an_actor_without_a_purpose_opens_nothing(clinic, night, monkeypatch):
    monkeypatch.setenv("LIFECYCLE_ACTOR", "clerk")
    denied = clinic.run(*OPEN, "--columns", "row", "--output", "-", expect=77)
    assert denied.stdout == ""
    assert "below actors: clerk: {care: [clinical]}" in denied.stderr
    assert told(clinic, night[0]) == [("clerk", "care", ["row"], 12, True)]


def test_nothing_of_a_folder_that_was_changed_is_opened(clinic, night):
    path = clinic.root / "scores" / "part-00001.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    done = clinic.run(*OPEN, "--columns", "row", "--output", "-", expect=5)
    assert done.stdout == ""
    assert clinic.office.trail.verify().entries == 0


def test_a_disk_that_is_full_leaves_nothing_in_clear(clinic, night, monkeypatch):
    import errno
    import os

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    clinic.run(*OPEN, "--columns", "row", "--output", "night.csv", expect=7)
    assert list(clinic.root.glob("*night*")) == []


def test_no_marker_is_where_it_was_not_asked_for(clinic, night):
    clinic.run(*OPEN, "--columns", "prediction", "--output", "night.parquet")
    files = [path for path in clinic.root.rglob("*") if path.is_file()]
    assert not any(MARKER.encode() in path.read_bytes() for path in files)
