"""Rotation: keys are replaced under everybody's hands, and no subject loses theirs."""

from __future__ import annotations

import multiprocessing
import os
import random
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lifecycle.core.errors import ErasedError, KeyMissingError, StateError
from lifecycle.records import rotation
from lifecycle.records.erasure import Erasure
from lifecycle.records.identifiers import Identifiers
from lifecycle.records.key_ring import SqlKeyRing
from lifecycle.records.key_table import KeyTable
from lifecycle.records.providers.local_file import LocalKeyFile
from lifecycle.records.rotation import Rotation
from tests.records.conftest import dump, names

_FORK = multiprocessing.get_context("fork")


def test_a_new_table_key_wraps_every_subject_and_the_old_one_is_destroyed(table, patients, url, monkeypatch):
    monkeypatch.setattr(rotation, "BATCH", 40)
    refs = patients.register(names(100))
    keys = SqlKeyRing(table).every(refs)
    old = dump(url)
    seen: list[tuple[int, int]] = []

    moved = Rotation(table).rotate_tek(progress=lambda done, total: seen.append((done, total)))

    assert moved == 100
    assert seen == [(40, 100), (80, 100), (100, 100)]
    assert SqlKeyRing(table).every(refs) == keys
    [before], [after] = ({row[2] for row in rows["subjects"]} for rows in (old, dump(url)))
    assert after > before
    states = {row[0]: (row[2], row[4]) for row in dump(url)["table_keys"]}
    assert states[before] == ("destroyed", b"")
    assert states[after][0] == "active"


def test_a_group_is_rotated_by_itself(table, patients, url):
    patients.register(names(3))
    staff = Identifiers(table, "badge", group="staff").register(["B-1"])
    Rotation(table).rotate_tek("default")
    assert sorted(row[2] for row in dump(url)["subjects"]) == [4, 5, 5, 5]
    assert len(SqlKeyRing(table).newest(staff)) == 1
    with pytest.raises(StateError, match="group 'nobody' has no subjects"):
        Rotation(table).rotate_tek("nobody")


def test_a_new_version_of_the_providers_key_wraps_every_table_key(table, patients, provider, url):
    refs = patients.register(names(3))
    keys = SqlKeyRing(table).every(refs)
    seen: list[tuple[int, int]] = []
    with pytest.raises(StateError, match="2 table keys are wrapped with version 1 or older"):
        Rotation(table).retire_kek(1)

    assert Rotation(table).rotate_kek(progress=lambda done, total: seen.append((done, total))) == 2

    assert seen == [(1, 2), (2, 2)]
    assert {row[3] for row in dump(url)["table_keys"]} == {2}
    assert provider.versions() == (1, 2)
    Rotation(table).retire_kek(1)
    assert provider.versions() == (2,)
    assert SqlKeyRing(table).every(refs) == keys


def test_an_interrupted_rotation_of_the_providers_key_is_finished_before_another_begins(
    table, patients, provider, url
):
    patients.register(names(3))
    provider.rotate()  # and then the process died
    assert Rotation(table).rotate_kek() == 2
    assert {row[3] for row in dump(url)["table_keys"]} == {2}


def test_a_lost_version_of_the_providers_key_rotates_nothing(table, patients, provider, url):
    patients.register(names(3))
    before = dump(url)
    provider._path.unlink()
    with pytest.raises(KeyMissingError, match=r"version 1 .* is lost"):
        Rotation(table).shred()
    assert provider.versions() == ()
    assert dump(url) == before


def test_a_renewed_subject_writes_with_a_new_key_and_still_opens_what_is_old(table, patients, opened, url):
    refs = patients.register(names(3))
    other = SqlKeyRing(opened(url))
    old = other.newest(refs)

    Rotation(table).renew(refs[:2])

    [ada, bob, cleo] = other.every(refs)
    assert [key.generation for key in ada] == [1, 2]
    assert (ada[0], bob[0], cleo) == (old[0], old[1], (old[2],))
    assert other.newest(refs) == [ada[1], bob[1], old[2]]
    Rotation(table).rotate_tek()
    assert other.every(refs) == [ada, bob, cleo]
    Erasure(table).erase(refs[:1])
    assert other.every(refs)[0] is None
    with pytest.raises(ErasedError, match="1 of 3 subjects have no key"):
        Rotation(table).renew(refs)


def test_rotations_killed_at_any_moment_lose_no_key_under_a_reader(url, provider, opened, monkeypatch):
    monkeypatch.setattr(rotation, "BATCH", 25)
    table = opened(url)
    refs = Identifiers(table, "record_number").register(names(300))
    keys = SqlKeyRing(table).every(refs)
    # A process too: SQLite may not be in use while another is forked from here.
    over, (heard, said) = _FORK.Event(), _FORK.Pipe(duplex=False)
    table.close()
    reader = _FORK.Process(target=_read_on, args=(url, provider, refs, keys, over, said))
    reader.start()
    chance = random.Random(7)
    for _ in range(8):
        process = _FORK.Process(target=_rotate_for_ever, args=(url, provider))
        process.start()
        time.sleep(chance.uniform(0.02, 0.12))
        process.kill()
        process.join()
        assert SqlKeyRing(opened(url)).every(refs) == keys
    Rotation(table).shred()
    over.set()
    reads, wrong = heard.recv()
    reader.join()

    assert wrong == []
    assert reads > 5
    assert SqlKeyRing(table).every(refs) == keys
    assert len({row[2] for row in dump(url)["subjects"]}) == 1
    assert [row[2] for row in dump(url)["table_keys"]].count("active") == 2


def _rotate_for_ever(url: str, provider: LocalKeyFile) -> None:
    keys = Rotation(KeyTable(url, provider))
    while True:
        keys.rotate_tek()
        keys.rotate_kek()
        keys.shred()


def _read_on(url: str, provider: LocalKeyFile, refs, keys, over, said) -> None:
    reads, wrong = 0, []
    table = KeyTable(url, provider)
    while not over.is_set():
        reads += 1
        try:
            if SqlKeyRing(table).every(refs) != keys:
                wrong.append("other keys")
        except Exception as error:  # noqa: BLE001  whatever it is, the test shows it
            wrong.append(str(error))
    said.send((reads, wrong))


def test_erasing_and_registering_during_a_rotation_leave_neither_too_much_nor_too_little(
    url, provider, opened, monkeypatch
):
    monkeypatch.setattr(rotation, "BATCH", 20)
    table = opened(url)
    patients = Identifiers(table, "record_number")
    refs = patients.register(names(200))
    process = _FORK.Process(target=_rotate_for_ever, args=(url, provider))
    process.start()
    try:
        for number in range(10):
            Erasure(table).erase([refs[number]])
            refs += patients.register([f"new-{number}"])
    finally:
        process.kill()
        process.join()

    Rotation(table).shred()

    found = SqlKeyRing(table).every(refs)
    assert [position for position, key in enumerate(found) if key is None] == list(range(10))
    assert len(dump(url)["subjects"]) == 200


def test_two_rotations_at_once_share_the_work(url, provider, opened, monkeypatch):
    monkeypatch.setattr(rotation, "BATCH", 10)
    table = opened(url)
    refs = Identifiers(table, "record_number").register(names(200))
    keys = SqlKeyRing(table).every(refs)
    processes = [_FORK.Process(target=_rotate, args=(url, provider)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert SqlKeyRing(table).every(refs) == keys
    Rotation(table).rotate_tek()
    assert len({row[2] for row in dump(url)["subjects"]}) == 1


def _rotate(url: str, provider: LocalKeyFile) -> None:
    for _ in range(3):
        Rotation(KeyTable(url, provider)).rotate_tek(anew=True)
    os._exit(0)


class Keys(RuleBasedStateMachine):
    """Whatever is done, in any order: the erased have no key, and everybody else keeps all of theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.home = tempfile.TemporaryDirectory()
        folder = Path(self.home.name)
        self.table = KeyTable(f"sqlite:///{folder}/keys.db", LocalKeyFile(folder / "kek.json"))
        self.patients = Identifiers(self.table, "record_number")
        self.rotation = Rotation(self.table)
        self.ring = SqlKeyRing(self.table, cached=2)
        self.people: dict[str, bytes] = {}
        self.model: dict[bytes, tuple | None] = {}
        self.buried: set[str] = set()

    @rule(people=st.sets(st.sampled_from("abcdef"), min_size=1), again=st.booleans())
    def register(self, people, again) -> None:
        if people & self.buried and not again:
            with pytest.raises(ErasedError):
                self.patients.register(sorted(people))
            return
        for person, ref in zip(
            sorted(people), self.patients.register(sorted(people), again=again), strict=True
        ):
            assert self.people.get(person, ref) == ref
            self.people[person] = ref
            self.model.setdefault(ref, self.ring.every([ref])[0])
        self.buried -= people

    @precondition(lambda self: self.people)
    @rule(data=st.data())
    def erase(self, data) -> None:
        person = data.draw(st.sampled_from(sorted(self.people)))
        self.buried.add(person)
        ref = self.people.pop(person)
        Erasure(self.table).erase([ref])
        self.model[ref] = None

    @precondition(lambda self: self.people)
    @rule(data=st.data())
    def renew(self, data) -> None:
        ref = self.people[data.draw(st.sampled_from(sorted(self.people)))]
        self.rotation.renew([ref])
        newest = self.ring.newest([ref])[0]
        assert newest not in self.model[ref]
        self.model[ref] = (*self.model[ref], newest)

    @precondition(lambda self: self.model)
    @rule(what=st.sampled_from(["rotate_tek", "rotate_kek", "shred"]))
    def rotate(self, what) -> None:
        getattr(self.rotation, what)()

    @invariant()
    def everybody_has_what_is_theirs(self) -> None:
        if self.model:
            assert self.ring.every(list(self.model)) == list(self.model.values())
            assert self.patients.find(sorted(self.people)) == [
                self.people[name] for name in sorted(self.people)
            ]
            assert self.patients.erased(list("abcdef")) == [name in self.buried for name in "abcdef"]

    def teardown(self) -> None:
        self.table.close()
        self.home.cleanup()


Keys.TestCase.settings = settings(max_examples=12, stateful_step_count=15, deadline=None)
TestKeys = Keys.TestCase
