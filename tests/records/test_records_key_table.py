"""Subjects and their keys: registered once, found again, and safe wherever the database is read."""

from __future__ import annotations

import multiprocessing
import os
import stat
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest

from lifecycle.core.errors import (
    DeclarationError,
    IntegrityError,
    KeyMissingError,
    StateError,
    UnavailableError,
)
from lifecycle.records.identifiers import Identifiers
from lifecycle.records.key_ring import SqlKeyRing
from lifecycle.records.key_table import KeyTable
from lifecycle.records.providers.local_file import LocalKeyFile
from lifecycle.records.providers.vault import VaultTransit
from lifecycle.records.subject_keys import SubjectKey
from tests.records.conftest import dump, key_file, names, stranger
from tests.simulators.vault import TOKEN, VaultSimulator

_FORK = multiprocessing.get_context("fork")


def test_a_person_keeps_one_random_ref_however_often_registered(patients):
    [ada, bob, again] = patients.register(["Ada", "Bob", "Ada"])

    assert len(ada) == 16
    assert ada == again != bob
    assert patients.register(["Bob", "Ada"]) == [bob, ada]
    assert patients.find(["Ada", "nobody", "Bob"]) == [ada, None, bob]


def test_one_name_in_two_encodings_is_one_person(patients):
    [composed] = patients.register(["Jos\u00e9"])
    assert patients.find(["Jose\u0301"]) == [composed]


def test_columns_know_nothing_of_each_other(table, patients):
    [ref] = patients.register(["4711"])
    phones = Identifiers(table, "phone")
    assert phones.find(["4711"]) == [None]
    assert phones.register(["4711"]) != [ref]


def test_every_process_finds_the_same_keys(table, patients, opened, url):
    refs = patients.register(names(300))
    keys = SqlKeyRing(table).newest(refs)

    assert len({key.secret for key in keys}) == 300
    assert {(key.generation, len(key.secret)) for key in keys} == {(1, 32)}
    shuffled = [*reversed(refs), refs[0]]
    assert SqlKeyRing(opened(url)).newest(shuffled) == [*reversed(keys), keys[0]]
    assert SqlKeyRing(table).every(refs[:2]) == [(keys[0],), (keys[1],)]
    assert SqlKeyRing(table).every([]) == []


def test_a_small_cache_changes_no_answer(table, patients):
    refs = patients.register(names(20))
    small = SqlKeyRing(table, cached=3)
    keys = SqlKeyRing(table).newest(refs)
    for _ in range(2):
        assert small.newest(refs) == keys
        assert [small.newest([ref])[0] for ref in refs] == keys
    assert len(small._cache) == 3
    small.forget()
    assert small.newest(refs) == keys


def test_an_unknown_subject_is_an_error_and_not_an_erased_one(table, patients):
    refs = patients.register(names(2))
    with pytest.raises(KeyMissingError, match="1 of 3 subjects have no key and were not erased"):
        SqlKeyRing(table).every([*refs, os.urandom(16)])


def test_what_is_shown_of_a_key_is_its_generation():
    assert repr(SubjectKey(3, b"secret")) == "SubjectKey(generation=3)"


def test_a_column_that_names_nobody_is_not_indexed(patients, url):
    patients.register(["Ada"])
    before = dump(url)
    with pytest.raises(DeclarationError, match="2 different values in 400"):
        patients.register(["F", "M"] * 200)
    assert dump(url) == before
    assert len(set(patients.register(names(20) * 20))) == 20


def test_no_identifier_and_no_key_is_in_any_file(sqlite_url, opened):
    table = opened(sqlite_url)
    [ref] = Identifiers(table, "record_number").register(["a-marker-that-is-easily-found"])
    [key] = SqlKeyRing(table).newest([ref])
    folder = key_file(sqlite_url).parent
    content = b"".join(path.read_bytes() for path in folder.iterdir())
    assert b"a-marker" not in content
    assert key.secret not in content


def test_the_files_of_a_key_table_are_their_owners_alone(sqlite_url, opened):
    table = opened(sqlite_url)
    with table.at_work():
        Identifiers(table, "record_number").register(["Ada"])
        files = {
            path.name: stat.S_IMODE(path.stat().st_mode) for path in key_file(sqlite_url).parent.iterdir()
        }
    assert files == dict.fromkeys(["keys.db", "keys.db-wal", "keys.db-shm"], 0o600)


def test_those_who_register_the_same_people_at_once_agree(url, opened):
    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(lambda _: Identifiers(opened(url), "record_number").register(names(50)), range(8))
        )
    assert answers.count(answers[0]) == 8
    assert len(dump(url)["subjects"]) == len(dump(url)["identifiers"]) == 50
    assert len(dump(url)["table_keys"]) == 2


def test_processes_that_register_at_once_agree(url, provider, opened):
    gate = _FORK.Barrier(3)
    processes = [_FORK.Process(target=_register, args=(url, provider, gate)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    refs = Identifiers(opened(url), "record_number").find(names(200))
    assert len(set(refs)) == 200
    assert None not in refs
    assert len(dump(url)["subjects"]) == 200


def _register(url: str, provider: LocalKeyFile, gate) -> None:
    patients = Identifiers(KeyTable(url, provider), "record_number")
    gate.wait()
    for start in range(0, 200, 40):
        patients.register(names(200)[: start + 40])
    os._exit(0)


def test_an_index_key_can_be_replaced_and_everybody_is_still_found(table, patients, url):
    old = patients.register(names(3))
    patients.rotate_index()
    new = patients.register(["Ada"])
    assert patients.find([*names(3), "Ada"]) == [*old, *new]
    assert patients.register(names(3)) == old
    assert {row[1] for row in dump(url)["identifiers"]} == {1, 3}


@pytest.mark.parametrize("what", ["ref", "generation"])
def test_a_row_that_was_changed_opens_nothing(table, patients, url, what):
    refs = patients.register(names(2))
    with stranger(url) as connection:
        if what == "generation":
            connection.execute("UPDATE subjects SET generation = 2")
        else:
            connection.execute(
                "UPDATE subjects SET wrapped = (SELECT o.wrapped FROM subjects o "
                "WHERE o.subject_ref <> subjects.subject_ref)"
            )
    with pytest.raises(IntegrityError, match="does not open: it was changed"):
        SqlKeyRing(table).every(refs)


def test_a_lost_key_writes_nothing(url, opened, patients, provider):
    patients.register(names(2))
    before = dump(url)
    provider._path.unlink()

    with pytest.raises(KeyMissingError, match="version 1 of the key encryption key is not in"):
        Identifiers(opened(url), "record_number").register(names(3))
    with pytest.raises(KeyMissingError):
        Identifiers(opened(url), "phone").register(["4711"])

    assert dump(url) == before
    assert provider.versions() == ()


def test_a_wrong_key_writes_nothing(url, opened, patients, provider):
    patients.register(names(2))
    before = dump(url)
    provider._path.unlink()
    provider.rotate()

    with pytest.raises(IntegrityError, match="is not the one that wrapped this key"):
        Identifiers(opened(url), "record_number").register(names(3))

    assert dump(url) == before


def test_a_slow_key_writes_nothing_and_holds_nobody_up(url, opened, provider):
    server = VaultSimulator()
    vault = VaultTransit(server.address, "kek", lambda: TOKEN, timeout=0.2)
    table = KeyTable(url, vault)
    Identifiers(table, "record_number").register(names(2))
    table.close()
    before = dump(url)
    server.fault = "slow"

    with pytest.raises(UnavailableError, match=r"does not answer within 0.2 s") as refused:
        Identifiers(table, "record_number").register(names(3))

    assert TOKEN not in "".join(traceback.format_exception(refused.value))
    assert dump(url) == before
    server.close()
    table.close()


def test_a_key_table_that_is_not_there_is_said_to_be_missing(table, patients, sqlite_url, url):
    with pytest.raises(KeyMissingError, match="there is no key table"):
        SqlKeyRing(table).every([os.urandom(16)])
    patients.register(["Ada"])
    if url == sqlite_url:
        key_file(url).unlink()
        for action in (patients.find, patients.register):
            with pytest.raises(KeyMissingError, match="there is no key table"):
                action(["Bob"])
        assert not key_file(url).exists()


@pytest.mark.parametrize("version", [1, 9])
def test_a_key_table_of_another_version_is_refused(patients, url, opened, version):
    patients.register(["Ada"])
    with stranger(url) as connection:
        connection.execute(f"UPDATE key_schema SET version = {version}")
    newcomer = Identifiers(opened(url), "record_number")
    for action in (newcomer.find, newcomer.register):
        with pytest.raises(StateError, match=f"version {version}"):
            action(["Ada"])
