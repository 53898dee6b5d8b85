"""A forked child uses no connection of its parent, and harms none."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable

import pytest

from lifecycle.core.sql.databases import Database, Use, open_database
from lifecycle.records.identifiers import Identifiers
from lifecycle.records.key_ring import SqlKeyRing
from lifecycle.records.key_table import KeyTable
from lifecycle.records.providers.local_file import LocalKeyFile

USE = Use("table", "A_TABLE")
KINDS = ["sqlite", "postgresql"]


@pytest.fixture(params=KINDS)
def url(request, tmp_path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'a.db'}"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def database(url) -> Database:
    made = open_database(url, USE)
    with made.writing() as connection:
        connection.execute("CREATE TABLE things (name TEXT PRIMARY KEY)")
    yield made
    made.close()


def add(database: Database, name: str) -> None:
    with database.writing() as connection:
        connection.execute("INSERT INTO things VALUES (?)", name)


def things(database: Database) -> list[str]:
    with database.reading() as connection:
        return [name for (name,) in connection.rows("SELECT name FROM things ORDER BY name")]


def begun(work: Callable[[], object]) -> tuple[int, int]:
    """A forked child that does some work; its id, and where its answer comes."""
    answer, told = os.pipe()
    child = os.fork()
    if child:
        os.close(told)
        return child, answer
    found: object = None
    try:
        signal.alarm(20)  # a deadlock is an answer, too
        found = work()
    except BaseException as error:  # noqa: BLE001  the parent looks at it
        found = type(error).__name__
    finally:
        os.write(told, json.dumps(found).encode())
        os._exit(0)


def ended(child: int, answer: int) -> object:
    with open(answer, "rb") as stream:
        content = stream.read()
    assert os.waitpid(child, 0)[1] == 0
    return json.loads(content)


def in_child(work: Callable[[], object]) -> object:
    return ended(*begun(work))


def test_a_child_connects_by_itself_and_ends_no_connection_of_its_parent(database, url):
    def backend() -> object:
        with database.reading() as connection:
            return connection.rows("SELECT pg_backend_pid()")[0][0]

    def work() -> object:
        add(database, "child")
        found = things(database), backend() if is_server else None
        database.close()
        return found

    is_server = url.startswith("postgresql")
    add(database, "parent")
    before = backend() if is_server else None
    found, other = in_child(work)
    assert found == ["child", "parent"]
    assert things(database) == ["child", "parent"]
    if is_server:
        assert backend() == before != other


def test_what_a_child_writes_is_not_lost_when_its_parent_lets_go(database):
    """SQLite: a child with its parent's memory of locks has none, and its log is taken from under it."""
    (go, let_go), (written, has_written) = os.pipe(), os.pipe()

    def work() -> object:
        with database.writing() as connection:
            connection.execute("INSERT INTO things VALUES ('child')")
            os.write(has_written, b"x")
            os.read(go, 1)
        return things(database)

    with database.kept_open():
        add(database, "parent")
        child = begun(work)
        os.read(written, 1)
        assert things(database) == ["parent"]
    os.write(let_go, b"x")
    assert ended(*child) == ["child", "parent"]
    assert things(database) == ["child", "parent"]
    for end in (go, let_go, written, has_written):
        os.close(end)


def test_a_child_of_a_transaction_neither_ends_it_nor_goes_on_with_it(database, url):
    def more() -> object:
        connection.execute("INSERT INTO things VALUES ('child')")
        return "went on"

    with database.writing() as connection:
        connection.execute("INSERT INTO things VALUES ('parent')")
        assert in_child(more) == ("StateError" if url.startswith("sqlite") else "OperationalError")
        alone = in_child(lambda: things(database))
    assert alone == ("StateError" if url.startswith("sqlite") else [])
    assert things(database) == ["parent"]


def test_a_child_that_leaves_the_transaction_it_was_forked_in_commits_nothing(database):
    answer, told = os.pipe()
    owner = os.getpid()
    try:
        with database.writing() as connection:
            connection.execute("INSERT INTO things VALUES ('twice')")
            child = os.fork()
            if child:
                with open(answer, "rb", closefd=False) as stream:
                    said = stream.read(1)
                connection.execute("INSERT INTO things VALUES ('parent')")
    except BaseException:
        if os.getpid() == owner:
            raise
        os.write(told, b"r")
        os._exit(0)
    if os.getpid() != owner:
        os.write(told, b"c")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert said == b"r"  # it was refused
    assert things(database) == ["parent", "twice"]
    os.close(answer)
    os.close(told)


@pytest.mark.parametrize("part", ["table", "ring"])
def test_a_child_waits_for_no_thread_of_its_parent(url, tmp_path, part):
    table = KeyTable(url, LocalKeyFile(tmp_path / "kek.json"))
    [ref] = Identifiers(table, "number").register(["Ada"])
    ring = SqlKeyRing(table)
    key = ring.every([ref])
    with {"table": table, "ring": ring}[part]._lock:  # as if another thread were in the middle of something
        assert in_child(lambda: ring.every([ref]) == key) is True
    assert ring.every([ref]) == key
    table.close()
