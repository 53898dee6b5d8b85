"""What a prediction service holds: who objects, as either kind of key table says, and keys to write with."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from lifecycle.core.errors import KeyMissingError, TamperedError, UnavailableError
from lifecycle.records import custody as custody_module
from lifecycle.records.consent import ConsentLedger
from lifecycle.records.custody import SystemCustody
from lifecycle.records.erasure import Erasure
from lifecycle.records.identifiers import Identifiers
from lifecycle.records.key_ring import SqlKeyRing
from lifecycle.records.key_table import KeyTable
from lifecycle.records.providers.local_file import LocalKeyFile
from lifecycle.records.rotation import Rotation
from lifecycle.records.segment_keys import SegmentKeys, log_group
from lifecycle.records.status import key_status
from tests.records.conftest import NOW, key_file, names

SYSTEM = "clinic"
PEOPLE = names(6)


@pytest.fixture
def people(table) -> Identifiers:
    return Identifiers(table, f"{SYSTEM}.number", SYSTEM)


@pytest.fixture
def custody(table) -> SystemCustody:
    return SystemCustody(table, SYSTEM, "number")


def test_without_a_key_table_nobody_is_served(custody):
    with pytest.raises(KeyMissingError, match="there is no key table"):
        custody.refresh()


def test_before_anybody_is_known_nobody_objects(table, custody):
    table.make()
    custody.refresh()
    assert custody.refused(PEOPLE, "scoring") == []
    assert custody.moved == 0


def test_who_withdrew_is_refused_for_that_purpose_until_they_agree_again(table, people, custody):
    refs, ledger = people.register(PEOPLE), ConsentLedger(table)
    ledger.withdraw(refs[1:3], "scoring", NOW)
    ledger.withdraw(refs[4:5], "logging", NOW)
    ledger.grant(refs[2:3], "scoring", NOW)  # the later word of one moment
    custody.refresh()
    assert custody.refused(PEOPLE, "scoring") == [1]
    assert custody.refused(PEOPLE, "logging") == [4]
    assert custody.refused(PEOPLE, "training") == []
    ledger.grant(refs[1:2], "scoring", NOW)
    assert custody.refused(PEOPLE, "scoring") == [1]  # not read again yet
    before = custody.moved
    custody.refresh()
    assert custody.refused(PEOPLE, "scoring") == []
    assert custody.moved > before


def test_a_withdrawal_holds_from_its_moment_on(table, people, custody, clock, monkeypatch):
    [ada] = people.register(["Ada"])
    ConsentLedger(table).withdraw([ada], "scoring", NOW + timedelta(days=1))
    custody.refresh()
    assert custody.refused(["Ada"], "scoring") == []
    clock.moment = NOW + timedelta(days=2)
    monkeypatch.setattr(custody_module, "_AGAIN_SECONDS", 0.0)
    custody.refresh()
    assert custody.refused(["Ada"], "scoring") == [0]


def test_who_was_erased_is_refused_for_everything_by_every_key_of_the_index(table, people, custody):
    first = people.register(PEOPLE[:3])
    people.rotate_index()
    second = people.register(PEOPLE[3:])
    Erasure(table).erase([first[0], second[0]])
    custody.refresh()
    for purpose in ("scoring", "logging"):
        assert custody.refused(PEOPLE, purpose) == [0, 3]
    people.register(PEOPLE[:1], again=True)
    again = SystemCustody(table, SYSTEM, "number")
    again.refresh()
    assert again.refused(PEOPLE, "scoring") == [3]


def test_one_spelling_is_one_person(table, people, custody):
    [zoe] = people.register(["Zoe\u0308"])
    ConsentLedger(table).withdraw([zoe], "scoring", NOW)
    custody.refresh()
    assert custody.refused(["Zo\u00eb", "Zoe"], "scoring") == [0]


def test_another_system_has_its_own_objections(table, people):
    [ada] = people.register(["Ada"])
    ConsentLedger(table).withdraw([ada], "scoring", NOW)
    other = SystemCustody(table, "hospital", "number")
    other.refresh()
    assert other.refused(["Ada"], "scoring") == []


def test_a_key_table_that_is_gone_is_told_and_what_is_known_counts(opened, sqlite_url):
    table = opened(sqlite_url)
    [ada] = Identifiers(table, f"{SYSTEM}.number", SYSTEM).register(["Ada"])
    ConsentLedger(table).withdraw([ada], "scoring", NOW)
    custody = SystemCustody(table, SYSTEM, "number")
    custody.refresh()
    for path in key_file(sqlite_url).parent.iterdir():
        path.unlink()
    with pytest.raises(KeyMissingError):
        custody.refresh()
    assert custody.refused(["Ada"], "scoring") == [0]
    with pytest.raises(KeyMissingError):
        custody.new_key()


def test_the_key_of_a_segment_is_found_by_its_name_and_gone_once_it_is_destroyed(table, custody, opened, url):
    key = custody.new_key()
    sealed = [key.seal(content) for content in (b"one", b"two")]
    assert [number for number, _ in sealed] == [0, 1]
    keys = SegmentKeys(opened(url), SYSTEM)
    found = keys.get(key.name)
    assert [found.open(*entry) for entry in sealed] == [b"one", b"two"]
    keys.destroy([key.name])
    keys.destroy([key.name])
    with pytest.raises(KeyMissingError, match=key.name.hex()):
        keys.get(key.name)
    assert key_status(table).subjects == 0


def test_an_entry_opens_in_its_own_place_alone(custody):
    key, other = custody.new_key(), custody.new_key()
    number, content = key.seal(b"one")
    for wrong in (
        (number + 1, content),
        (number, content[:-1]),
        (number, b""),
        (-1, content),
        (2**97, content),
    ):
        with pytest.raises(TamperedError):
            key.open(*wrong)
    with pytest.raises(TamperedError):
        other.open(number, content)
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1
        with pytest.raises(TamperedError):
            key.open(number, bytes(flipped))


def test_keys_of_segments_rotate_and_are_shredded_with_the_others(table, people, custody):
    key = custody.new_key()
    number, content = key.seal(b"one")
    people.register(["Ada"])
    before = {it.version for it in key_status(table).keys if it.purpose == f"subjects/{log_group(SYSTEM)}"}
    assert Rotation(table).rotate_system(SYSTEM) == 1
    after = {it.version: it.state for it in key_status(table).keys if it.purpose.startswith("subjects/log/")}
    assert {after[version] for version in before} == {"destroyed"}
    Rotation(table).shred()
    assert SegmentKeys(table, SYSTEM).get(key.name).open(number, content) == b"one"
    purposes = {it.purpose for it in key_status(table).keys if it.state == "active"}
    assert f"subjects/{log_group(SYSTEM)}" in purposes


def test_the_name_of_a_key_is_nobody(table, people, custody):
    people.register(["Ada"])
    key = custody.new_key()
    assert key_status(table).subjects == 1
    assert len(SqlKeyRing(table).every([key.name])) == 1  # a ref like any other, which no row names


def test_a_provider_that_does_not_answer_gives_no_key(tmp_path: Path, sqlite_url):
    class Down(LocalKeyFile):
        def wrap(self, *_args: object) -> None:
            raise UnavailableError("the provider does not answer", hint="wait")

    table = KeyTable(sqlite_url, Down(tmp_path / "keys" / "kek.json"))
    with pytest.raises(UnavailableError):
        SystemCustody(table, SYSTEM, "number").new_key()
