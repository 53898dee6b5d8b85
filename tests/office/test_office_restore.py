"""An old key table comes back: what it opens then, what has to be done again, and what ends it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from lifecycle.core.settings import Settings
from lifecycle.wiring import open_office
from tests.office.conftest import Clinic

OPEN = ("open", "clinic", "scores", "--purpose", "care", "--columns", "age", "--output", "-", "--json")


@dataclass
class Kept:
    """A clinic whose key table is backed up and restored as its operator would.

    Attributes:
        clinic: The clinic.
        backup: Makes a copy of the key table as it is now.
        restore: Puts the copy in its place.
    """

    clinic: Clinic
    backup: Callable[[], None]
    restore: Callable[[], None]

    def rows(self, expect: int = 0) -> list[int]:
        """Rows that the scores give now, and rows of erased people that they do not."""
        done = self.clinic.run(*OPEN, expect=expect)
        told = json.loads(done.stderr)
        return [told["rows"], told["erased"]]


@pytest.fixture(params=["sqlite", "postgresql"])
def kept(request, tmp_path, monkeypatch) -> Kept:
    monkeypatch.chdir(tmp_path)
    if request.param == "sqlite":
        clinic = request.getfixturevalue("clinic")
        database, copy = clinic.settings.state / "records" / "keys.db", tmp_path / "copy.db"

        def backup() -> None:
            open_office(clinic.settings).table.database.scrub()  # as `.backup` of sqlite3 does
            shutil.copy(database, copy)

        def restore() -> None:
            for path in database.parent.iterdir():
                path.unlink()
            shutil.copy(copy, database)

        return Kept(clinic, backup, restore)
    url = request.getfixturevalue("postgres_url")
    monkeypatch.setenv("LIFECYCLE_KEYS_URL", url)
    server, name = request.getfixturevalue("postgres"), conninfo_to_dict(url)["dbname"]

    def clone(source: str, target: str) -> None:
        with psycopg.connect(server, autocommit=True) as connection:
            query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY(%s)"
            connection.execute(query, ([source, target],))
            connection.execute(f"DROP DATABASE IF EXISTS {target}".encode())
            connection.execute(f"CREATE DATABASE {target} TEMPLATE {source}".encode())

    clinic = request.getfixturevalue("clinic")
    return Kept(clinic, lambda: clone(name, f"{name}_copy"), lambda: clone(f"{name}_copy", name))


def scored(clinic) -> list[bytes]:
    """Three people with two sealed scores each; whoever acts here may open, erase and shred."""
    clinic.allow(["erase", "shred"], care=["clinical"])
    refs = clinic.admit(3)
    clinic.seal(clinic.root / "scores" / "part-00000.parquet", refs, rows=2)
    clinic.vault.close(clinic.root / "scores")
    return refs


def test_an_old_key_table_is_followed_by_erasing_again_and_dead_after_a_shred_epoch(kept):
    clinic, refs = kept.clinic, scored(kept.clinic)
    kept.backup()
    assert kept.rows() == [6, 0]
    clinic.run("erase", "clinic", refs[0].hex(), "--yes")
    assert kept.rows() == [4, 2]
    head = clinic.json("audit", "verify")["head"]

    kept.restore()
    assert kept.rows() == [6, 0], "said in docs/privacy.md"
    assert "not in it" in clinic.run("audit", "verify", "--head", head, expect=5).output
    [receipt] = (clinic.settings.receipts / "clinic").glob("*.json")
    clinic.run("erase", "clinic", receipt.stem, "--yes")
    assert kept.rows() == [4, 2]

    clinic.run("shred", "--yes")
    assert kept.rows() == [4, 2], "who was not erased is opened as before"
    kept.restore()
    dead = clinic.run(*OPEN, expect=8)
    assert dead.stdout == ""
    assert "version 1 of the key encryption key" in dead.stderr


def test_a_backup_from_after_the_shred_epoch_is_whole(kept):
    clinic, refs = kept.clinic, scored(kept.clinic)
    clinic.run("erase", "clinic", refs[0].hex(), "--yes")
    clinic.run("shred", "--yes")
    kept.backup()
    kept.restore()
    assert kept.rows() == [4, 2]
    assert open_office(Settings(project=clinic.root)).trail.verify().entries == 2 + 1
