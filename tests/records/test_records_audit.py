"""The audit trail and the gate: whatever is opened was allowed, and is on record for good."""

from __future__ import annotations

import json
import multiprocessing
import os
import sqlite3
from datetime import timedelta

import psycopg
import pytest
import yaml

from lifecycle.core.errors import AccessDeniedError, ConfigError, IntegrityError, StateError
from lifecycle.records import audit
from lifecycle.records.access import Gate, Policy, load_policy
from lifecycle.records.audit import PURPOSE, AuditTrail
from lifecycle.records.entries import Act, Read
from lifecycle.records.erasure import Erasure
from lifecycle.records.key_table import KeyTable
from lifecycle.records.signing import Ed25519Signer
from tests.records.conftest import names, stranger

_FORK = multiprocessing.get_context("fork")
POLICY = Policy(
    format=1,
    actors={"nightly": {"scoring": ("clinical",)}, "officer": {"review": ("identifiers",)}},
    administration={"officer": ("consent", "erase")},
)


@pytest.fixture
def signer(tmp_path) -> Ed25519Signer:
    return Ed25519Signer(tmp_path / "keys", PURPOSE)


@pytest.fixture
def trail(table, signer, monkeypatch) -> AuditTrail:
    monkeypatch.setattr(audit, "CHECKPOINT_EVERY", 3)
    return AuditTrail(table, signer)


def read(*segments: str, **more) -> Read:
    facts = {"actor": "nightly", "purpose": "scoring", "dataset": "patients", "groups": ("clinical",)}
    return Read(**facts, columns=("bmi", "age"), segments=segments, rows=10, **more)


def test_who_read_a_persons_data_can_be_told(trail, patients):
    [ada, bob, cleo] = patients.register(["Ada", "Bob", "Cleo"])
    trail.know_segment("s1", [ada, bob, ada])
    trail.know_segment("s2", [cleo])
    trail.record(read("s1"))
    trail.record(read("s2"))
    trail.record(read("s1", "s2"))
    trail.record(read(refs=(bob,)))

    assert [entry["id"] for entry in trail.who(ada)] == [1, 3]
    assert [entry["id"] for entry in trail.who(bob)] == [1, 3, 4]
    assert [entry["id"] for entry in trail.who(cleo)] == [2, 3]
    assert list(trail.who(os.urandom(16))) == []
    [first, *_] = trail.who(ada)
    assert (first["actor"], first["purpose"], first["columns"], first["rows"]) == (
        *("nightly", "scoring"),
        *(["bmi", "age"], 10),
    )


def test_what_was_read_after_an_erasure_was_not_of_that_person(trail, table, patients, clock):
    [ada, bob] = patients.register(["Ada", "Bob"])
    trail.know_segment("s1", [ada, bob])
    trail.record(read("s1"))
    Erasure(table).erase([ada])
    clock.moment += timedelta(seconds=1)
    trail.record(read("s1"))

    assert [entry["id"] for entry in trail.who(ada)] == [1]
    assert [entry["id"] for entry in trail.who(bob)] == [1, 2]


def test_a_segment_nobody_knows_is_not_read(trail, patients):
    trail.know_segment("s1", patients.register(names(2)))
    trail.know_segment("s1", patients.register(names(2)))
    with pytest.raises(StateError, match="whose records are in segment s9"):
        trail.record(read("s1", "s9"))
    with pytest.raises(StateError, match="known to hold other subjects"):
        trail.know_segment("s1", patients.register(names(3)))
    assert trail.verify().entries == 0


def test_a_whole_trail_verifies_and_says_how_much_of_it_is_signed(trail, patients):
    trail.know_segment("s1", patients.register(names(2)))
    for _ in range(5):
        trail.record(read("s1"))
    assert (trail.verify().entries, trail.verify().unsigned) == (5, 2)
    trail.checkpoint()
    trail.checkpoint()
    assert trail.verify().unsigned == 0
    head = trail.verify().head
    trail.record(read("s1"))
    assert trail.verify(head).entries == 6


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE audit SET entry = replace(entry, 'nightly', 'daytime') WHERE id = 2", "entry 2 was changed"),
        ("DELETE FROM audit_checkpoints WHERE id = 3", "checkpoint of entry 3 is missing"),
        ("DELETE FROM audit WHERE id = 2", "entry 2 was changed, or one before it is missing"),
        ("DELETE FROM audit WHERE id = 6", "entry 6 was signed, and is missing"),
        ("DELETE FROM audit_subjects", "list of subjects .* is missing"),
        ("UPDATE audit_subjects SET refs = substr(refs, 1, 16)", "list of subjects .* was changed"),
        (
            "UPDATE audit_checkpoints SET signature = replace(signature, 'ed25519', 'none')",
            "checkpoint of entry 3 does not verify: the signature file is malformed",
        ),
    ],
)
def test_whatever_is_changed_by_whoever_gets_past_the_triggers_is_found(trail, patients, url, change, words):
    trail.know_segment("s1", patients.register(names(2)))
    for _ in range(6):
        trail.record(read("s1"))
    with stranger(url) as connection:
        if url.startswith("sqlite"):
            query = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            for (name,) in connection.execute(query).fetchall():
                connection.execute(f"DROP TRIGGER {name}")
        else:
            connection.execute("SET session_replication_role = replica")  # no triggers, no foreign keys
        connection.execute(change)

    with pytest.raises(IntegrityError, match=words):
        trail.verify()


def test_a_tail_that_was_cut_off_is_found_by_its_exported_head(trail, patients, url):
    trail.know_segment("s1", patients.register(names(2)))
    for _ in range(2):
        trail.record(read("s1"))
    head = trail.verify().head
    with stranger(url) as connection:
        if url.startswith("sqlite"):
            connection.execute("DROP TRIGGER audit_no_delete")
        else:
            connection.execute("SET session_replication_role = replica")
        connection.execute("DELETE FROM audit WHERE id = 2")
    assert trail.verify().entries == 1
    with pytest.raises(IntegrityError, match="exported head is not in it"):
        trail.verify(head)


@pytest.mark.parametrize("table_name", ["audit", "audit_checkpoints"])
def test_the_database_itself_refuses_to_change_the_trail(trail, patients, url, table_name):
    trail.know_segment("s1", patients.register(names(2)))
    for _ in range(3):
        trail.record(read("s1"))
    with pytest.raises((sqlite3.Error, psycopg.Error), match="append-only"), stranger(url) as connection:
        connection.execute(f"DELETE FROM {table_name}")


def test_an_export_can_be_checked_without_the_database(trail, patients, signer):
    trail.know_segment("s1", patients.register(["a marker"]))
    for _ in range(3):
        trail.record(read("s1"))
    lines = [json.loads(line) for line in trail.export()]
    assert [json.loads(line["entry"])["previous"] for line in lines[1:]] == [x["digest"] for x in lines[:-1]]
    assert [audit._digest(line["entry"].encode()) for line in lines] == [line["digest"] for line in lines]
    signer.verify(f"3 {lines[2]['digest']}".encode(), lines[2]["signature"].encode())
    assert "a marker" not in str(lines)


def test_processes_that_read_at_once_make_one_chain(url, provider, opened, signer, patients):
    trail = AuditTrail(opened(url), signer)
    trail.know_segment("s1", patients.register(names(2)))
    processes = [_FORK.Process(target=_record_some, args=(url, provider, signer)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert trail.verify().entries == 30


def _record_some(url: str, provider, signer: Ed25519Signer) -> None:
    trail = AuditTrail(KeyTable(url, provider), signer)
    for _ in range(10):
        trail.record(read("s1"))
    os._exit(0)


def test_the_gate_lets_through_what_is_allowed_once_it_is_on_record(trail, patients):
    trail.know_segment("s1", patients.register(names(2)))
    Gate(POLICY, trail).admit(read("s1"))
    assert trail.verify().entries == 1


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"actor": "nightyl"}, "knows no actor 'nightyl'.*did you mean 'nightly'"),
        ({"purpose": "training"}, "has no purpose 'training'"),
        ({"groups": ("clinical", "identifiers")}, "may not open identifiers for 'scoring'"),
    ],
)
def test_what_is_not_allowed_is_denied_and_on_record(trail, patients, facts, words):
    refs = patients.register(names(2))
    trail.know_segment("s1", refs)
    asked = {"actor": "nightly", "purpose": "scoring", "dataset": "patients", "groups": ("clinical",)}

    with pytest.raises(AccessDeniedError, match=words) as denied:
        Gate(POLICY, trail).admit(Read(**{**asked, **facts}, segments=("s1", "s9")))

    [entry] = trail.who(refs[0])
    assert entry["denied"] == denied.value.message


def act(**facts) -> Act:
    return Act(**{"actor": "officer", "act": "erase", "dataset": "patients", **facts})


def test_an_act_about_a_person_is_told_beside_the_reads_and_after_the_erasure_too(
    trail, table, patients, clock
):
    [ada, bob] = patients.register(["Ada", "Bob"])
    trail.know_segment("s1", [ada, bob])
    gate = Gate(POLICY, trail)
    gate.admit(read("s1"))
    gate.admit(act(refs=(ada,)))
    Erasure(table).erase([ada])
    clock.moment += timedelta(seconds=1)
    gate.admit(read("s1"))
    gate.admit(act(refs=(ada,)))
    trail.record(act(actor="nightly", act="rotate", detail="table", count=2))

    told = [(entry["id"], entry.get("act", "")) for entry in trail.who(ada)]
    assert told == [(1, ""), (2, "erase"), (4, "erase")]
    assert [entry["id"] for entry in trail.who(bob)] == [1, 3]
    assert trail.verify().entries == 5
    last = json.loads(json.loads(list(trail.export())[-1])["entry"])
    assert (last["purpose"], last["act"], last["rows"]) == ("administration", "rotate", 2)


@pytest.mark.parametrize(
    ("facts", "words", "line"),
    [
        (
            {"actor": "officier"},
            "lets 'officier' administer nothing; did you mean 'officer'",
            "officier: [erase]",
        ),
        ({"act": "shred"}, "'officer' may not shred", "officer: [consent, erase, shred]"),
        ({"actor": "no: one"}, "administer nothing", '"no: one": [erase]'),
    ],
)
def test_an_act_that_is_not_allowed_is_denied_and_the_missing_line_is_told(
    trail, patients, facts, words, line
):
    refs = patients.register(names(1))
    with pytest.raises(AccessDeniedError, match=words) as denied:
        Gate(POLICY, trail).admit(act(refs=tuple(refs), **facts))
    assert denied.value.hint.startswith(f"if they may, write in access.yaml, below administration: {line}\n")
    [entry] = trail.who(refs[0])
    assert entry["denied"] == denied.value.message


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({"actor": "ann"}, "below actors: ann: {scoring: [clinical]}"),
        ({"purpose": "care"}, "below actors, nightly: care: [clinical]"),
        ({"groups": ("identifiers",)}, "below actors, nightly: scoring: [clinical, identifiers]"),
    ],
)
def test_the_line_that_would_allow_a_read_allows_it(trail, patients, facts, line):
    trail.know_segment("s1", patients.register(names(2)))
    asked = Read(
        **{"actor": "nightly", "purpose": "scoring", "dataset": "d", "groups": ("clinical",), **facts}
    )
    with pytest.raises(AccessDeniedError) as denied:
        Gate(POLICY, trail).admit(asked)
    assert line in denied.value.hint
    where, _, told = line.partition(": ")
    allowed = POLICY.model_dump()["actors"]
    (allowed["nightly"] if "," in where else allowed).update(yaml.safe_load(told))
    Gate(Policy(format=1, actors=allowed), trail).admit(asked)


def test_a_trail_of_before_there_were_acts_verifies_and_goes_on(trail, patients, url, signer):
    """Entries as they were written then."""
    entry = (
        '{"id":1,"at":"2026-01-01T00:00:00+00:00","actor":"nightly","purpose":"scoring","denied":"",'
        '"dataset":"patients","segments":{},"subjects":"","columns":["bmi"],"groups":["clinical"],"rows":10,'
        f'"previous":"{"0" * 64}"}}'
    )
    refs = patients.register(names(1))
    mark = "?" if url.startswith("sqlite") else "%s"
    with stranger(url) as connection:
        connection.execute(
            f"INSERT INTO audit (id, entry, digest) VALUES (1, {mark}, {mark})",
            (entry, audit._digest(entry.encode())),
        )
    Gate(POLICY, trail).admit(act(refs=tuple(refs)))
    assert trail.verify().entries == 2


def test_where_nothing_can_be_recorded_nothing_is_let_through(trail, patients):
    patients.register(names(2))
    with pytest.raises(StateError):
        Gate(POLICY, trail).admit(read("s1"))


def test_a_policy_file_says_who_may_what(tmp_path):
    path = tmp_path / "access.yaml"
    path.write_text("format: 1\nactors:\n  nightly:\n    scoring: [clinical, free text]\n")
    policy = load_policy(path)
    assert policy.objection("nightly", "scoring", ["free text"]) == ""
    assert policy.objection("nightly", "scoring", ["identifiers"])
    assert policy.objection_to("nightly", "erase"), "nobody administers unless it is said"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("a: [", "is not YAML"),
        ("format: 2\nactors: {}", "format"),
        ("format: 1\nactors: {a: {b: [everything]}}\nrules: 1", r"actors.a.b.0: .*\n.*rules"),
        ("format: 1\nactors: {}\nadministration: {a: [everything]}", "administration.a.0: "),
        ("", "the file"),
    ],
)
def test_a_policy_file_with_faults_allows_nothing(tmp_path, content, words):
    path = tmp_path / "access.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=words):
        load_policy(path)
