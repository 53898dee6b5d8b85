"""What only a ledger on a disk or server can do wrong: crashes, races, locks, and what is not there."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import psycopg
import pytest

from lifecycle.core.errors import ConfigError, StateError, StorageError, UnavailableError
from lifecycle.core.sql import databases, postgresql, sqlite
from lifecycle.rollout import tables
from lifecycle.rollout.decisions import Trail
from lifecycle.rollout.ledger import SqlLedger
from tests.rollout.conftest import append, decision, ledger_file, stranger

SYSTEM = "house-prices"
_FORK = multiprocessing.get_context("fork")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE deployments SET actor = 'mallory'",
        "DELETE FROM deployments",
        "DELETE FROM deployments WHERE id = 1",
        "INSERT OR REPLACE INTO deployments SELECT * FROM deployments",
        "TRUNCATE deployments CASCADE",
    ],
)
def test_the_database_itself_refuses_to_change_history(url, change):
    ledger = SqlLedger(url)
    written = append(ledger, "first-deployment", "a")
    only_here = {"INSERT OR": "sqlite", "TRUNCATE": "postgresql"}
    backend = next((kind for words, kind in only_here.items() if change.startswith(words)), None)
    if backend is not None and not url.startswith(backend):
        change = "DELETE FROM deployments"

    errors = (sqlite3.Error, psycopg.Error)
    with pytest.raises(errors, match="append-only"), stranger(url) as connection:
        connection.execute(change)

    assert ledger.history(SYSTEM) == (written,)
    ledger.close()


def test_a_file_that_does_not_exist_says_nothing_is_live_and_is_not_made(sqlite_url):
    assert SqlLedger(sqlite_url).live(SYSTEM) is None
    assert not ledger_file(sqlite_url).parent.exists()


def test_a_file_without_tables_yet_says_nothing_is_live(sqlite_url):
    path = ledger_file(sqlite_url)
    path.parent.mkdir()
    path.touch()

    assert SqlLedger(sqlite_url).live(SYSTEM) is None
    assert path.stat().st_size == 0


def test_processes_that_start_together_make_one_ledger(url):
    gate = _FORK.Barrier(6)
    processes = [_FORK.Process(target=_first_or_refused, args=(url, gate)) for _ in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    ledger = SqlLedger(url)
    assert sorted(process.exitcode for process in processes) == [0, 6, 6, 6, 6, 6]
    assert len(ledger.history(SYSTEM)) == 1
    ledger.close()


def _first_or_refused(url: str, gate) -> None:
    ledger = SqlLedger(url)
    gate.wait()
    try:
        ledger.record(decision("first-deployment", "a"), expected=None)
    except StateError as error:
        os._exit(error.exit_code)
    os._exit(0)


def test_servers_read_while_a_flow_holds_the_ledger(url):
    ledger = SqlLedger(url)
    written = append(ledger, "first-deployment", "a")

    with _writing(url) as connection:
        connection.execute("DELETE FROM live")
        assert ledger.live(SYSTEM) == written
    assert ledger.live(SYSTEM) is None
    ledger.close()


@contextmanager
def _writing(url: str) -> Iterator[databases.Connection]:
    """Hold the ledger, as a flow does."""
    database = databases.open_database(url, databases.Use("ledger", "LIFECYCLE_LEDGER_URL"))
    with database.writing() as connection:
        for statement in database.dialect.lock(tables.LOCK):
            connection.execute(statement)
        yield connection


def test_a_writer_that_waits_too_long_is_told_to_try_again(url, monkeypatch):
    monkeypatch.setattr(databases, "WAIT_SECONDS", 1)
    ledger = SqlLedger(url)
    append(ledger, "first-deployment", "a")

    with _writing(url), pytest.raises(UnavailableError, match="locked by another writer"):
        append(ledger, "promote", "b")

    assert append(ledger, "promote", "b") == ledger.live(SYSTEM)
    ledger.close()


def test_a_ledger_that_vanishes_under_a_server_is_unavailable_and_not_empty(sqlite_url):
    ledger = SqlLedger(sqlite_url)
    append(ledger, "first-deployment", "a")
    ledger_file(sqlite_url).unlink()

    with pytest.raises(UnavailableError, match="is gone"):
        ledger.live(SYSTEM)


def test_a_server_sees_the_ledger_that_was_restored_and_not_the_one_it_replaced(sqlite_url, tmp_path):
    ledger = SqlLedger(sqlite_url)
    append(ledger, "first-deployment", "a")
    append(other := SqlLedger(f"sqlite:///{tmp_path}/other.db"), "first-deployment", "b")
    with closing(sqlite3.connect(tmp_path / "other.db")) as backup:
        backup.execute("PRAGMA journal_mode=DELETE")

    (tmp_path / "other.db").replace(ledger_file(sqlite_url))

    assert ledger.live(SYSTEM).version == "b"
    assert other.live is not None


def test_a_full_disk_records_nothing(sqlite_url):
    ledger = SqlLedger(sqlite_url)
    first = append(ledger, "first-deployment", "a")
    heavy = decision("promote", "b").model_copy(update={"evidence": {"report": "x" * 2_000_000}})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        with pytest.raises(StorageError, match="refuses to store") as refused:
            ledger.record(heavy, expected=first.id)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert "nothing was recorded" in refused.value.hint
    assert ledger.history(SYSTEM) == (first,)
    assert ledger.record(heavy, expected=first.id) == ledger.live(SYSTEM)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "state").write_text("a file where the folder should be")

    with pytest.raises(StorageError, match=r"state cannot be made: .*\n.*LIFECYCLE_LEDGER_URL"):
        append(SqlLedger(f"sqlite:///{tmp_path}/state/ledger.db"), "first-deployment", "a")


def test_a_file_that_is_no_database_is_refused(sqlite_url):
    path = ledger_file(sqlite_url)
    path.parent.mkdir()
    path.write_text("not a database, but a text that is long enough to be looked at\n" * 20)

    with pytest.raises(StorageError, match="not a SQLite database"):
        SqlLedger(sqlite_url).live(SYSTEM)


def test_a_ledger_of_a_newer_version_is_refused(url):
    ledger = SqlLedger(url)
    append(ledger, "first-deployment", "a")
    with stranger(url) as connection:
        connection.execute("UPDATE ledger_schema SET version = 9")

    newcomer = SqlLedger(url)
    with pytest.raises(StateError, match="version 9"):
        newcomer.live(SYSTEM)
    with pytest.raises(StateError, match="version 9"):
        newcomer.record(decision("promote", "b"), expected=1)
    ledger.close()
    newcomer.close()


@pytest.mark.parametrize("action", ["live", "record"])
def test_a_server_that_does_not_answer_is_unavailable_and_its_password_stays_secret(action):
    ledger = SqlLedger("postgresql://ada:hunter2@127.0.0.1:1/ledger?application_name=s3cret")

    with pytest.raises(UnavailableError) as refused:
        ledger.live(SYSTEM) if action == "live" else append(ledger, "first-deployment", "a")

    shown = "".join(traceback.format_exception(refused.value))
    assert "postgresql://127.0.0.1/ledger does not answer" in str(refused.value)
    assert "hunter2" not in shown
    assert "s3cret" not in shown


def test_a_server_that_comes_back_is_used_again(postgres_url, postgres):
    ledger = SqlLedger(postgres_url)
    written = append(ledger, "first-deployment", "a")
    name = psycopg.conninfo.conninfo_to_dict(postgres_url)["dbname"]
    with stranger(postgres) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )

    assert ledger.live(SYSTEM) == written
    ledger.close()


@pytest.mark.parametrize(
    "address",
    [
        "nonsense hunter2",
        "mysql://ada:hunter2@host/ledger",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///a?b=hunter2",
        "sqlite://hunter2/a",
        "postgresql://ada:%hunter2@host/ledger",
    ],
)
def test_an_address_that_cannot_hold_a_ledger_is_refused_without_showing_it(address):
    with pytest.raises(ConfigError) as refused:
        SqlLedger(address)

    assert "hunter2" not in str(refused.value)
    assert "LIFECYCLE_LEDGER_URL" in refused.value.hint


def test_a_flow_killed_before_any_statement_leaves_all_or_nothing(url):
    ledger = SqlLedger(url)
    append(ledger, "first-deployment", "a")
    survived = False
    statement = 0
    while not survived:
        statement += 1
        before = ledger.history(SYSTEM)
        letter = "bc"[statement % 2]
        process = _FORK.Process(target=_die_before_statement, args=(url, letter, statement))
        process.start()
        process.join()
        survived = process.exitcode == 0
        assert survived or process.exitcode == -signal.SIGKILL
        _consistent(ledger, before, added=1 if survived else 0)

    assert statement > 5
    ledger.close()


def _die_before_statement(url: str, letter: str, number: int) -> None:
    """Promote, but be killed before the given statement, or before the commit that follows the last."""
    seen = [0]

    def count() -> None:
        seen[0] += 1
        if seen[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)

    class Counted(databases.Connection):
        def execute(self, statement: str, *values: object) -> list[dict[str, object]]:
            count()
            return super().execute(statement, *values)

    ledger = SqlLedger(url)
    begin = ledger._database.writing

    @contextmanager
    def writing() -> Iterator[databases.Connection]:
        with begin() as connection:
            yield connection
            count()  # what follows is the commit

    sqlite.Connection = postgresql.Connection = Counted
    ledger._database.writing = writing
    append(ledger, "promote", letter)
    os._exit(0)


def test_flows_killed_at_any_moment_leave_a_ledger_that_agrees_with_itself(sqlite_url):
    ledger = SqlLedger(sqlite_url)
    append(ledger, "first-deployment", "a")
    for done in range(1, 13):
        before = ledger.history(SYSTEM)
        reader, writer = _FORK.Pipe(duplex=False)
        process = _FORK.Process(target=_promote_for_ever, args=(sqlite_url, writer))
        process.start()
        for _ in range(done % 4 + 1):
            promised = reader.recv()
        process.kill()
        process.join()
        history = _consistent(ledger, before)
        assert promised in [row.id for row in history]


def _promote_for_ever(url: str, done) -> None:
    """Report each promotion after it was made; the kill falls somewhere in the next."""
    ledger = SqlLedger(url)
    while True:
        live = ledger.live(SYSTEM)
        letter = "c" if live.version == "b" else "b"
        done.send(ledger.record(decision("promote", letter), expected=live.id).id)


def _consistent(ledger: SqlLedger, before, added: int | None = None):
    history = ledger.history(SYSTEM)
    assert history[: len(before)] == before
    assert ledger.live(SYSTEM) == Trail(SYSTEM, history).live == history[-1]
    assert added is None or len(history) == len(before) + added
    return history


def test_many_writers_and_readers_at_once_lose_nothing(url):
    ledger = SqlLedger(url)
    append(ledger, "first-deployment", "a")

    def hold(number: int) -> int:
        assert ledger.live(SYSTEM).version == "a"
        return ledger.record(decision("hold", "b"), expected=1).id

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(hold, range(40)))

    assert sorted(ids) == [row.id for row in ledger.history(SYSTEM)][1:]
    ledger.close()


def test_a_server_that_reads_the_ledger_loads_nothing_heavy():
    script = (
        "import sys, lifecycle.rollout.ledger\n"
        "heavy = {'pandas', 'mlflow', 'polars', 'pyarrow', 'prefect', 'dvc', 'psycopg', 'sqlalchemy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
