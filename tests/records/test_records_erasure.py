"""Erasure: nothing of the person opens again, in any process, after any crash, from any shredded backup."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from lifecycle.core.errors import ErasedError, KeyMissingError, UnavailableError
from lifecycle.core.sql import databases, postgresql, sqlite
from lifecycle.records import key_ring
from lifecycle.records.erasure import Erasure
from lifecycle.records.identifiers import Identifiers
from lifecycle.records.key_ring import SqlKeyRing
from lifecycle.records.key_table import KeyTable
from lifecycle.records.rotation import Rotation
from tests.records.conftest import NOW, dump, key_file, names

_FORK = multiprocessing.get_context("fork")


def test_an_erased_subject_is_gone_and_the_others_are_not(table, patients, url):
    refs = patients.register(names(3))
    ring = SqlKeyRing(table)
    keys = ring.every(refs)

    Erasure(table).erase(refs[:1])

    assert ring.every(refs) == [None, *keys[1:]]
    assert patients.find(names(3)) == [None, *refs[1:]]
    assert patients.erased(names(4)) == [True, False, False, False]
    assert Erasure(table).erased_at(refs[0]) == NOW
    assert Erasure(table).erased_at(refs[1]) is None
    with pytest.raises(ErasedError, match="1 of 3 subjects were erased"):
        ring.newest(refs)
    Erasure(table).erase(refs[:1])  # once more is no error
    assert len(dump(url)["tombstones"]) == 1


def test_every_cache_in_every_process_forgets(table, patients, opened, url):
    refs = patients.register(names(2))
    other = SqlKeyRing(opened(url))
    assert None not in other.every(refs)

    Erasure(table).erase(refs[1:])

    assert other.every(refs)[1] is None


def test_an_erased_person_does_not_come_back_unasked(table, patients, url):
    [old, bob] = patients.register(["Ada", "Bob"])
    Erasure(table).erase([old])
    before = dump(url)

    with pytest.raises(ErasedError, match=r"2 of 4 records .* \(at positions 1, 3, counted") as refused:
        patients.register(["Cleo", "Ada", "Bob", "Ada"])

    assert "Ada" not in str(refused.value)
    assert dump(url) == before
    [new] = patients.register(["Ada"], again=True)
    assert new not in (old, bob)
    assert patients.register(["Ada"]) == [new]
    assert patients.erased(["Ada"]) == [False]
    assert SqlKeyRing(table).every([old]) == [None]


def test_an_erased_person_is_known_after_the_index_key_was_replaced(table, patients):
    refs = patients.register(names(2))
    patients.rotate_index()
    Erasure(table).erase(refs)
    assert patients.erased([*names(2), "Ada"]) == [True, True, False]


def test_what_stays_leads_to_nobody(table, patients, url):
    refs = patients.register(names(3))
    blinds = {row[2] for row in dump(url)["identifiers"]}

    Erasure(table).erase(refs)

    after = dump(url)
    assert after["subjects"] == after["identifiers"] == []
    assert {row[2] for row in after["refused_identifiers"]}.isdisjoint(blinds)
    assert {len(row) for row in after["refused_identifiers"]} == {3}


def test_a_ref_that_is_unknown_erases_nobody(table, patients, url):
    refs = patients.register(names(2))
    before = dump(url)
    with pytest.raises(KeyMissingError, match="1 of 3 subjects are not in this key table"):
        Erasure(table).erase([*refs, os.urandom(16)])
    assert dump(url) == before


def test_no_byte_of_a_deleted_key_stays_in_the_files(sqlite_url, opened):
    table = opened(sqlite_url)
    patients = Identifiers(table, "record_number")
    refs = patients.register(names(200))
    rows = dump(sqlite_url)
    doomed = {row[3] for row in rows["subjects"] if row[0] == refs[7]}
    doomed |= {row[2] for row in rows["identifiers"] if row[3] == refs[7]}
    assert len(doomed) == 2

    with table.at_work():  # as while a flow runs: the log is there
        assert (key_file(sqlite_url).parent / "keys.db-wal").exists()
        Erasure(table).erase([refs[7]])

    content = b"".join(path.read_bytes() for path in key_file(sqlite_url).parent.iterdir())
    assert not any(secret in content for secret in doomed)
    assert refs[7] in content  # the tombstone


def test_while_somebody_reads_the_old_state_success_is_not_reported(sqlite_url, opened, monkeypatch):
    monkeypatch.setattr(databases, "WAIT_SECONDS", 0.05)
    table = opened(sqlite_url)
    refs = Identifiers(table, "record_number").register(names(2))
    with closing(sqlite3.connect(key_file(sqlite_url))) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM subjects").fetchall()
        with pytest.raises(UnavailableError, match="its log still holds what was deleted"):
            Erasure(table).erase(refs[:1])
        assert SqlKeyRing(table).every(refs)[0] is None

    assert Erasure(table).resume() == 1
    assert Erasure(table).resume() == 0


def test_an_erasure_killed_before_any_statement_is_finished_by_the_next(url, provider, opened):
    patients = Identifiers(opened(url), "record_number")
    people = names(40)
    refs = patients.register(people)
    ring = SqlKeyRing(opened(url))
    killed = 0
    for ref in refs:
        process = _FORK.Process(target=_die_before_statement, args=(url, provider, ref, killed + 1))
        process.start()
        process.join()
        found = ring.every([ref])[0]
        if process.exitcode == 0:
            assert found is None
            break
        assert process.exitcode == -signal.SIGKILL
        killed += 1
        requested = {row[0]: row[1] for row in dump(url)["tombstones"]}.get(ref)
        assert (found is None) == (requested in ("erased", "scrubbed"))  # all of it, or nothing
        Erasure(opened(url)).resume()
        assert (ring.every([ref])[0] is None) == (requested is not None)
    assert killed > 10
    assert {row[1] for row in dump(url)["tombstones"]} == {"scrubbed"}


def _die_before_statement(url: str, provider, ref: bytes, number: int) -> None:
    """Erase, but be killed before the given statement."""
    seen = [0]

    def count() -> None:
        seen[0] += 1
        if seen[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)

    class Counted(databases.Connection):
        def execute(self, *asked):
            count()
            return super().execute(*asked)

        def rows(self, *asked):
            count()
            return super().rows(*asked)

        def execute_many(self, *asked):
            count()
            return super().execute_many(*asked)

    table = KeyTable(url, provider)
    begin = table.database.writing

    @contextmanager
    def writing() -> Iterator[databases.Connection]:
        with begin() as connection:
            yield connection
            count()  # what follows is the commit

    sqlite.Connection = postgresql.Connection = Counted
    table.database.writing = writing
    Erasure(table).erase([ref])
    os._exit(0)


def test_a_backup_from_before_opens_erased_subjects_until_a_shred_epoch(url, opened, backup, provider):
    table = opened(url)
    patients = Identifiers(table, "record_number")
    refs = patients.register(names(5))
    Identifiers(table, "badge", group="staff").register(["B-1"])
    keys = SqlKeyRing(table).every(refs)
    table.close()
    old = backup()
    Erasure(table).erase(refs[:1])
    assert SqlKeyRing(opened(old)).every(refs) == keys  # said in the documentation

    Rotation(table).shred()

    with pytest.raises(KeyMissingError, match="version 1 of the key encryption key"):
        SqlKeyRing(opened(old)).every(refs)
    assert SqlKeyRing(table).every(refs) == [None, *keys[1:]]
    assert provider.versions() == (2,)
    # Nor do the table keys of today open it.
    with table.reading() as connection:
        today = {row[0] for row in connection.rows("SELECT version FROM table_keys WHERE state = 'active'")}
    assert today.isdisjoint(row[2] for row in dump(old)["subjects"])


def test_within_a_read_of_many_files_an_erasure_counts_a_second_later_at_most(
    opened, sqlite_url, monkeypatch
):
    table = opened(sqlite_url)
    [ada, bob] = Identifiers(table, "record_number").register(["Ada", "Bob"])
    ring = SqlKeyRing(table)
    moment = [100.0]
    monkeypatch.setattr(key_ring.time, "monotonic", lambda: moment[0])
    with ring.steady():
        [_, before] = ring.every([ada, bob])
        Erasure(opened(sqlite_url)).erase([ada])
        assert ring.every([bob]) == [before]
        moment[0] += 1.0
        assert ring.every([ada, bob]) == [None, before]
    Erasure(opened(sqlite_url)).erase([bob])
    assert ring.every([ada, bob]) == [None, None]  # between reads at once
