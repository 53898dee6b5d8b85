"""`lifecycle records`: a person is found, agrees, is forgotten; keys turn; and nobody's name is shown."""

from __future__ import annotations

import json
import logging
import stat
from typing import get_args

import pytest

from flows import start
from lifecycle.core.errors import AccessDeniedError, IntegrityError
from lifecycle.records.entries import Verb
from lifecycle.steps.erase import read_receipt
from tests.office.conftest import MARKER, identifier

ELSE = "0123456789abcdef" * 2


@pytest.fixture(autouse=True)
def _own_log():
    """A verb that starts a flow sends the log to its own standard error."""
    log = logging.getLogger("lifecycle")
    kept = log.handlers[:], log.level, log.propagate
    yield
    log.handlers[:], log.level, log.propagate = kept


def test_a_ref_is_found_by_the_identifier_and_the_look_up_is_on_record(clinic):
    refs = clinic.admit(3)
    assert clinic.json("subjects", "find", "clinic", who=1) == {"ref": refs[1].hex()}

    found = clinic.json("audit", "who", "clinic", refs[1].hex())
    assert [(it["actor"], it["act"]) for it in found] == [("officer", "look-up")] * 2
    [own] = clinic.json("audit", "who", "clinic", refs[0].hex())
    assert own["id"] == 3  # that somebody asks for it now


@pytest.mark.parametrize(
    ("words", "who", "code", "said"),
    [
        (("subjects", "find", "clinic"), 77, 8, "knows no subject with this identifier"),
        (("audit", "who", "clinic", identifier(1)), None, 2, "a ref is 32 hex digits"),
        (("erase", "clinic"), 1, 2, "add --yes"),
        (("erase", "clinic", ELSE, "--yes"), None, 8, "nobody was erased"),
        (("consent", "grant", "clinic", ELSE, "--purpose", "training"), None, 8, "not in the key table"),
        (("subjects", "find", "clinci"), 1, 2, "did you mean"),
        (("rotate", "table", "clinci"), None, 6, "has no subjects"),
    ],
    ids=lambda it: " ".join(it[:2]) if isinstance(it, tuple) else "",
)
def test_what_cannot_be_done_is_said_without_saying_who(clinic, words, who, code, said):
    clinic.admit(2)
    assert said in clinic.run(*words, who=who, expect=code).output


def test_where_there_is_no_identifier_nothing_is_looked_up(clinic):
    clinic.admit(1)
    assert "no identifier was given" in clinic.run("subjects", "find", "clinic", expect=2).output


def test_an_erased_person_comes_back_only_when_it_is_their_wish(clinic):
    [old] = clinic.admit(1)
    clinic.office.erasure.erase([old])
    assert "were erased" in clinic.run("subjects", "register", "clinic", who=0, expect=8).output
    new = clinic.json("subjects", "register", "clinic", "--again", who=0)["ref"]
    assert new != old.hex()
    assert clinic.json("subjects", "register", "clinic", who=0)["ref"] == new
    assert clinic.office.ring.every([old]) == [None]


def test_consent_is_granted_withdrawn_and_remembered(clinic):
    [ref] = clinic.admit(1)
    clinic.run(
        "consent", "grant", "clinic", "--purpose", "training", "--since", "2026-01-01T00:00:00Z", who=0
    )
    clinic.run("consent", "withdraw", "clinic", ref.hex(), "--purpose", "training")
    said = clinic.json("consent", "history", "clinic", who=0)
    assert [(it["purpose"], it["granted"]) for it in said] == [("training", True), ("training", False)]
    assert said[0]["since"].startswith("2026-01-01")
    now = clinic.office.table.clock.now()
    assert clinic.office.consent.allowed([ref], "training", now) == [False]


def test_a_withdrawal_lists_the_models_that_were_trained_on_the_person(clinic):
    refs = clinic.admit(3)
    before = clinic.root / "tmp" / "2026-01.parquet"
    after = clinic.root / "tmp" / "2026-02.parquet"
    clinic.seal(before, refs[:1])
    clinic.seal(after, refs[:2])
    first, second = clinic.snapshot([before]), clinic.snapshot([before, after])
    clinic.deploy(first, "1", "first-deployment")
    clinic.deploy(second, "2")
    clinic.deploy(first, "1", "rollback")

    withdraw = ("consent", "withdraw", "clinic", "--purpose", "training")
    found = clinic.json(*withdraw, who=0)["versions"]
    assert [(it["version"], it["live"]) for it in found] == [("1", True), ("2", False)]
    assert found[1]["snapshot"] == second
    [held] = clinic.json(*withdraw, who=1)["versions"]
    assert (held["version"], held["live"]) == ("2", False)
    said = clinic.run(*withdraw, who=0).output
    assert "models trained on them: 1 (live), 2" in said
    assert "lifecycle update clinic --trigger withdrawal" in said
    assert "models trained on them: none" in clinic.run(*withdraw, who=2).output
    assert "versions" not in clinic.json("consent", "withdraw", "clinic", "--purpose", "scoring", who=0)


def test_the_status_counts_and_an_erasure_without_a_receipt_is_named(clinic):
    refs = clinic.admit(5)
    clinic.office.erasure.erase(refs[:1])
    found = clinic.json("status")
    assert (found["subjects"], found["tombstones"], found["refused"]) == (4, {"scrubbed": 1}, 1)
    assert found["without_receipt"] == [refs[0].hex()]
    assert [key["subject_keys"] for key in found["keys"] if key["purpose"] == "subjects/clinic"] == [4]
    assert refs[0].hex() in clinic.run("status").output


def test_keys_turn_and_everything_still_opens(clinic):
    refs = clinic.admit(20)
    before = clinic.office.ring.every(refs)
    assert clinic.json("rotate", "kek")["kek_version"] == 2
    assert clinic.json("rotate", "table", "clinic") == {"subject_keys": 20}
    assert clinic.office.ring.every(refs) == before
    assert clinic.json("rotate", "subjects", "clinic") == {"generation": 2, "renewed": 20}
    assert [keys[:1] for keys in clinic.office.ring.every(refs)] == before
    clinic.run("rotate", "index", "clinic")
    assert clinic.json("subjects", "find", "clinic", who=3) == {"ref": refs[3].hex()}
    clinic.run("shred", "--yes")
    assert clinic.json("status")["kek_versions"] == [3]
    assert [keys[:1] for keys in clinic.office.ring.every(refs)] == before


def test_an_interrupted_renewal_gives_a_key_to_those_who_lack_it(clinic):
    refs = clinic.admit(10)
    clinic.office.rotation.renew(refs[:4])
    assert clinic.json("rotate", "subjects", "clinic", "--to", "2") == {"generation": 2, "renewed": 6}
    assert {len(keys or ()) for keys in clinic.office.ring.every(refs)} == {2}


def test_an_exported_audit_trail_finds_an_older_copy_in_its_place(clinic, tmp_path):
    clinic.admit(1)
    for _ in range(3):
        clinic.run("subjects", "find", "clinic", who=0)
    database = clinic.root / ".lifecycle" / "records" / "keys.db"
    clinic.office.trail.checkpoint()
    clinic.office.table.database.scrub("subjects")
    old = database.read_bytes()
    clinic.run("subjects", "find", "clinic", who=0)
    exported = clinic.json("audit", "export", str(tmp_path / "trail.jsonl"))
    assert exported["entries"] == 4
    assert stat.S_IMODE((tmp_path / "trail.jsonl").stat().st_mode) == 0o600
    assert len((tmp_path / "trail.jsonl").read_text().splitlines()) == 4
    assert clinic.json("audit", "verify", "--head", exported["head"])["unsigned"] == 0

    for path in database.parent.iterdir():
        path.unlink()
    database.write_bytes(old)
    assert clinic.json("audit", "verify")["entries"] == 3
    assert "not in it" in clinic.run("audit", "verify", "--head", exported["head"], expect=5).output


def test_a_person_is_erased_with_a_receipt_that_verifies_until_it_is_changed(clinic):
    refs = clinic.admit(4)
    batch = clinic.root / "scores" / "part-00000.parquet"
    clinic.seal(batch, refs, rows=3)

    said = clinic.run("erase", "clinic", "--yes", who=2).output

    assert "3 rows lost for good in 1 of 1 sealed files, 9 rows of others stay" in said
    path = clinic.settings.receipts / "clinic" / f"{refs[2].hex()}.json"
    assert "keys destroyed" in clinic.run("receipt", str(path)).output
    for file in path.parent.iterdir():
        assert MARKER.encode() not in file.read_bytes()
    assert clinic.json("status")["without_receipt"] == []
    assert "was erased" in clinic.run("subjects", "find", "clinic", who=2, expect=8).output

    assert (
        clinic.json("erase", "clinic", refs[2].hex(), "--yes")["erased_at"]
        == json.loads(path.read_text())["erased_at"]
    )  # again: a new proof of the same erasure
    path.write_text(path.read_text().replace('"lost": 3', '"lost": 2'))
    with pytest.raises(IntegrityError):
        read_receipt(path, clinic.office.receipt_signer)
    clinic.run("receipt", str(path), expect=5)
    path.with_name(f"{path.name}.sig").unlink()
    assert "two files" in clinic.run("receipt", str(path), expect=5).output


def test_a_signature_for_another_purpose_is_no_receipt(clinic):
    from lifecycle.wiring import open_signer

    content = b"{}"
    path = clinic.root / "receipt.json"
    path.write_bytes(content)
    path.with_name("receipt.json.sig").write_bytes(open_signer(clinic.settings).sign(content))
    clinic.run("receipt", str(path), expect=5)


@pytest.mark.parametrize(
    ("words", "who", "act", "detail", "count"),
    [
        (("subjects", "find", "clinic"), 1, "look-up", "", None),
        (("consent", "history", "clinic"), 1, "look-up", "", None),
        (
            ("consent", "withdraw", "clinic", "{ref}", "--purpose", "training"),
            None,
            "consent",
            "training withdrawn",
            None,
        ),
        (("subjects", "register", "clinic", "--again"), 1, "register", "again", None),
        (("erase", "clinic", "{ref}", "--yes"), None, "erase", "", None),
        (("rotate", "kek"), None, "rotate", "kek", 2),
        (("rotate", "table", "clinic"), None, "rotate", "table", 3),
        (("rotate", "subjects", "clinic"), None, "rotate", "subjects, to generation 2", 3),
        (("rotate", "index", "clinic"), None, "rotate", "index", 1),
        (("shred", "--yes"), None, "shred", "", 3),
    ],
    ids=lambda it: " ".join(it[:2]) if isinstance(it, tuple) else "",
)
def test_whoever_administers_must_be_allowed_to_and_is_on_record_either_way(
    clinic, words, who, act, detail, count
):
    refs = clinic.admit(3)
    words = [word.format(ref=refs[1].hex()) for word in words]
    clinic.allow([it for it in get_args(Verb) if it != act])
    denied = clinic.run(*words, who=who, expect=77).output
    assert "administration: officer: [" in denied
    if count is None and act != "register":
        assert any(entry["denied"] for entry in clinic.office.trail.who(refs[1]))

    clinic.allow([act])
    clinic.run(*words, who=who)
    told = [json.loads(json.loads(line)["entry"]) for line in clinic.office.trail.export()]
    found = [it for it in told if it.get("act") == act and not it["denied"]]
    assert {(it["actor"], it["purpose"], it["detail"]) for it in found} == {
        ("officer", "administration", detail)
    }
    if count is None:
        assert found[-1] in clinic.office.trail.who(refs[1])
    else:
        assert [it["rows"] for it in found] == [count]
    assert MARKER not in str(told)


def test_who_may_not_look_up_learns_not_even_whether_there_is_such_a_person(clinic):
    clinic.admit(1)
    clinic.allow(["erase"])
    said = {clinic.run("audit", "who", "clinic", who=person, expect=77).output for person in (0, 77)}
    assert len(said) == 1
    assert clinic.office.trail.verify().entries == 2


def test_flows_that_administer_pass_the_same_gate(clinic):
    refs = clinic.admit(1)
    clinic.allow([])
    with pytest.raises(AccessDeniedError):
        start.erase_subject("clinic", refs[0].hex())
    with pytest.raises(AccessDeniedError):
        start.rotate_keys("clinic")
    assert clinic.office.ring.every(refs) != [None]
    assert clinic.office.status().kek_versions == (1,)
