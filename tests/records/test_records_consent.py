"""Consent: nothing said is nothing allowed, the latest word counts, and none is ever lost."""

from __future__ import annotations

import os
import sqlite3
from datetime import timedelta

import psycopg
import pytest

from lifecycle.core.errors import ErasedError, KeyMissingError
from lifecycle.records.consent import Consent, ConsentLedger
from lifecycle.records.erasure import Erasure
from tests.records.conftest import NOW, dump, names, stranger

DAY = timedelta(days=1)


@pytest.fixture
def ledger(table) -> ConsentLedger:
    return ConsentLedger(table)


def test_consent_holds_from_its_moment_on_for_its_purpose_alone(ledger, patients):
    [ada, bob] = patients.register(["Ada", "Bob"])

    ledger.grant([ada, ada], "training", NOW)

    assert ledger.allowed([ada, bob, ada], "training", NOW) == [True, False, True]
    assert ledger.allowed([ada], "training", NOW - DAY) == [False]
    assert ledger.allowed([ada], "scoring", NOW) == [False]


def test_the_latest_word_counts_whatever_order_it_came_in(ledger, patients, clock):
    [ada] = patients.register(["Ada"])
    ledger.grant([ada], "training", NOW)
    ledger.withdraw([ada], "training", NOW + 2 * DAY)
    clock.moment = NOW + 9 * DAY
    ledger.grant([ada], "training", NOW + DAY)  # a form that was found later

    days = [ledger.allowed([ada], "training", NOW + day * DAY)[0] for day in range(-1, 4)]

    assert days == [False, True, True, False, False]
    ledger.grant([ada], "training", NOW + 2 * DAY)  # a correction
    assert ledger.allowed([ada], "training", NOW + 2 * DAY) == [True]
    assert [(c.granted, c.since) for c in ledger.history(ada)] == [
        *((True, NOW), (False, NOW + 2 * DAY)),
        *((True, NOW + DAY), (True, NOW + 2 * DAY)),
    ]


def test_the_history_outlives_the_subject_and_nothing_is_added_to_it(ledger, table, patients, url):
    [ada, bob] = patients.register(["Ada", "Bob"])
    ledger.grant([ada], "training", NOW)
    Erasure(table).erase([ada])
    before = dump(url)

    with pytest.raises(ErasedError, match="1 of 2 subjects were erased"):
        ledger.grant([ada, bob], "training", NOW)
    with pytest.raises(KeyMissingError, match="1 of 2 subjects are not in the key table"):
        ledger.withdraw([os.urandom(16), bob], "training", NOW)

    assert dump(url) == before
    assert ledger.history(ada) == [Consent("training", True, NOW, NOW)]


@pytest.mark.parametrize("change", ["UPDATE consents SET granted = 1", "DELETE FROM consents"])
def test_the_database_itself_refuses_to_change_what_was_said(ledger, patients, url, change):
    ledger.withdraw(patients.register(names(1)), "training", NOW)
    with pytest.raises((sqlite3.Error, psycopg.Error), match="append-only"), stranger(url) as connection:
        connection.execute(change)


def test_many_subjects_are_asked_at_once(ledger, patients):
    refs = patients.register(names(9_000))
    ledger.grant(refs[::2], "scoring", NOW)
    assert ledger.allowed(refs, "scoring", NOW) == [True, False] * 4_500
