"""Predictions about people: sealed before they are on disk, kept of those who agree, gone when they ask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import polars as pl
import pytest

from lifecycle.core.errors import IntegrityError, KeyMissingError, UnavailableError
from lifecycle.data.log_files import SealedLog
from lifecycle.data.log_parts import CompactedLog
from lifecycle.data.outcome_file import OutcomeFile
from lifecycle.data.outcome_import import count_outcomes, import_outcomes
from lifecycle.data.source_predictions import Logged, chunks
from lifecycle.records import audit, manifest
from lifecycle.records.access import Gate, Policy
from lifecycle.records.audit import AuditTrail
from lifecycle.records.consent import ConsentLedger
from lifecycle.records.custody import SystemCustody
from lifecycle.records.erasure import Erasure
from lifecycle.records.identifiers import Identifiers
from lifecycle.records.key_table import KeyTable
from lifecycle.records.providers.local_file import LocalKeyFile
from lifecycle.records.rotation import Rotation
from lifecycle.records.segment_keys import log_group
from lifecycle.records.signing import Ed25519Signer
from lifecycle.records.status import key_status
from lifecycle.records.vault import SystemVault
from lifecycle.serving.app import create_app
from lifecycle.serving.log.entries import KeyEntry, SealedEntry
from lifecycle.serving.log.recovery import closed_segments
from lifecycle.serving.log.segment import read_segment
from lifecycle.steps.compact import compact
from lifecycle.steps.log_status import log_status
from lifecycle.steps.settle_log import settle_log
from tests.serving.conftest import HOME, OWNED, Releases, Service, eventually, promote
from tests.simulators.ledger import LedgerSimulator

MARKER = "Zyxwvut"
POLICY = Policy.model_validate({"format": 1, "actors": {"flow": {"ingest": ["identifiers", "clinical"]}}})


class Practice:
    """A service over sealed records, with its keys, its log and what is made of that."""

    def __init__(self, root: Path, url: str, ledger: LedgerSimulator, releases: Releases, store) -> None:
        self.root, self.ledger, self.releases, self.store = root, ledger, releases, store
        self.table = KeyTable(url, LocalKeyFile(root / "kek" / "kek.json"))
        self.consent, self.erasure = ConsentLedger(self.table), Erasure(self.table)
        trail = AuditTrail(self.table, Ed25519Signer(root / "signing", purpose=audit.PURPOSE))
        signer = Ed25519Signer(root / "signing", purpose=manifest.PURPOSE)
        self.vault = SystemVault("homes", OWNED, self.table, trail, Gate(POLICY, trail), signer, "flow")
        self.log = CompactedLog(root / "log" / "homes", "homes", SealedLog(OWNED, self.vault))

    def release(self, **facts: object) -> None:
        promote(self.ledger, self.releases.write(schema=OWNED, **facts))

    @contextmanager
    def serving(self) -> Iterator[httpx.Client]:
        def custody(system: str, _schema) -> SystemCustody:
            return SystemCustody(self.table, system, "owner")

        app = create_app(
            self.ledger, self.store, poll_seconds=0.02, log=self.root / "log", open_custody=custody
        )
        with Service(app) as client:
            eventually(lambda: client.get("/readyz").status_code == 200)
            yield client

    def ref(self, person: str) -> bytes:
        [ref] = Identifiers(self.table, "homes.owner", "homes").register([person])
        return ref

    def compact(self) -> int:
        return compact(self.log, datetime.now(UTC), vault=self.vault).predictions

    def kept(self, *columns: str) -> pl.DataFrame:
        """What is compacted, opened."""
        parts = [self.log.files.read(path, columns).collect() for path in self.log.paths("predictions")]
        return pl.concat(parts)

    def segments(self) -> list[Path]:
        return [*closed_segments(self.log.folder / "segments")]

    def every_byte(self) -> bytes:
        return b"".join(path.read_bytes() for path in sorted(self.root.rglob("*")) if path.is_file())


def home(person: int, **values: object) -> dict[str, object]:
    return HOME | {"home_id": f"{MARKER}-home-{person}", "owner": f"{MARKER} {person}"} | values


def ask(client: httpx.Client, *records: dict[str, object]) -> httpx.Response:
    return client.post("/v1/homes/predict", json={"instances": list(records)})


@pytest.fixture
def practice(tmp_path, ledger, releases, store) -> Practice:
    made = Practice(tmp_path, f"sqlite:///{tmp_path}/keys/keys.db", ledger, releases, store)
    made.table.make()
    made.release()
    return made


@pytest.mark.parametrize("durability", ["process", "power", "relaxed"])
def test_what_is_asked_about_people_is_in_no_file_and_comes_back_for_whoever_may(practice, durability):
    practice.release(constant=1.0, serving={"durability": durability})
    with practice.serving() as client:
        one = client.post("/v1/homes/predict", json=home(1, note="Zyxwvut-n1"))
        many = ask(client, home(2), home(3, note="Zyxwvut-n3"))
        columns = {name: [value] for name, value in home(4).items()}
        packed = client.post("/v1/homes/predict", json={"columns": columns})
        assert [one.status_code, many.status_code, packed.status_code] == [200, 200, 200]
        truth = {"record_id": f"{MARKER}-home-2", "subject": f"{MARKER} 2", "value": 1234.5}
        told = client.post("/v1/homes/outcomes", json=truth | {"observed_at": "2026-01-01T00:00:00Z"})
        assert told.json() == {"accepted": 1}
        eventually(lambda: MARKER.encode() not in practice.every_byte())
    assert practice.segments()
    assert MARKER.encode() not in practice.every_byte()
    waiting = log_status(practice.log, None).waiting
    assert (waiting.predictions, waiting.outcomes) == (3, 1)

    assert practice.compact() == 4

    assert not practice.segments()
    assert MARKER.encode() not in practice.every_byte()
    kept = practice.kept("prediction_id", "record_id", "subject", "feature.note").sort("record_id")
    assert kept["subject"].to_list() == [f"{MARKER} {person}" for person in (1, 2, 3, 4)]
    assert kept["feature.note"].to_list() == ["Zyxwvut-n1", None, "Zyxwvut-n3", None]
    assert set(kept["prediction_id"]) >= {one.json()["prediction_id"], *many.json()["prediction_ids"]}
    counted = count_outcomes(practice.log)
    assert (counted.ids, counted.matched) == (1, 1)


def test_a_matched_outcome_becomes_a_row_of_the_record_with_its_subject(practice):
    with practice.serving() as client:
        ask(client, home(1), home(2))
        for person, value in ((1, 10.0), (2, 20.0)):
            truth = {"record_id": f"{MARKER}-home-{person}", "subject": f"{MARKER} {person}", "value": value}
            later = datetime.now(UTC) + timedelta(seconds=1)
            client.post("/v1/homes/outcomes", json=truth | {"observed_at": later.isoformat()})
    practice.compact()
    practice.erasure.erase([practice.ref(f"{MARKER} 2")])
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    [chunk] = chunks(OWNED, Logged(practice.log.folder, tomorrow, practice.log.files))
    assert chunk.frame.select("owner", "home_id", "price", "beds").rows() == [
        (f"{MARKER} 1", f"{MARKER}-home-1", 10.0, 3)
    ]


def test_outcomes_of_a_file_name_their_subject_and_are_sealed(practice, tmp_path):
    with practice.serving() as client:
        ask(client, home(1), home(2))
    practice.compact()
    practice.consent.withdraw([practice.ref(f"{MARKER} 2")], "logging", datetime.now(UTC))
    file = tmp_path / "elsewhere" / "outcomes.csv"
    file.parent.mkdir()
    lines = [f"{MARKER}-home-{person},{MARKER} {person},9.5,2026-01-01T00:00:00Z" for person in (1, 2)]
    file.write_text("\n".join(["record_id,subject,value,observed_at", *lines, ""]))
    done = import_outcomes(practice.log, OutcomeFile(file, OWNED, {}), datetime.now(UTC), skip_bad=False)
    assert (done.rows, done.left_out) == (1, 1)
    assert count_outcomes(practice.log).matched == 1
    file.unlink()
    assert MARKER.encode() not in practice.every_byte()


def test_a_request_or_an_outcome_about_nobody_is_refused(practice):
    with practice.serving() as client:
        for nobody in ({}, {"owner": ""}, {"owner": None}):
            refused = client.post("/v1/homes/predict", json=HOME | nobody)
            assert refused.status_code == 422
            assert [fault["field"] for fault in refused.json()["faults"]] == ["owner"]
        truth = {"record_id": "h1", "value": 1.0, "observed_at": "2026-01-01T00:00:00Z"}
        refused = client.post("/v1/homes/outcomes", json=truth)
        assert refused.status_code == 422
        assert refused.json()["faults"][0]["field"] == "subject"


def test_who_withdraws_scoring_gets_no_answer_and_who_withdraws_logging_leaves_no_trace(practice):
    one, two = practice.ref(f"{MARKER} 1"), practice.ref(f"{MARKER} 2")
    with practice.serving() as client:
        assert ask(client, home(1), home(2)).status_code == 200
        practice.consent.withdraw([one], "scoring", datetime.now(UTC))
        practice.consent.withdraw([two], "logging", datetime.now(UTC))
        eventually(lambda: ask(client, home(1)).status_code == 403)
        refused = ask(client, home(3), home(1))
        assert "at 1, counted from 0" in refused.json()["detail"]
        assert MARKER not in refused.text
        before = client.get("/metrics").text
        assert ask(client, home(2)).status_code == 200
        eventually(lambda: 'lifecycle_log_unlogged_total{reason="withdrawn"' in client.get("/metrics").text)
        assert before != client.get("/metrics").text
        practice.consent.grant([one], "scoring", datetime.now(UTC))
        eventually(lambda: ask(client, home(1)).status_code == 200)
    practice.compact()
    # What was logged before they withdrew is left out when it is compacted.
    assert f"{MARKER} 2" not in practice.kept("subject")["subject"].to_list()
    assert practice.log.listing().unlogged["withdrawn"].rows >= 2


def test_an_erasure_reaches_what_a_server_is_writing(practice):
    ref = practice.ref(f"{MARKER} 1")
    with practice.serving() as client:
        assert ask(client, home(1), home(2)).status_code == 200
        practice.erasure.erase([ref])
        assert settle_log(practice.log, practice.vault, datetime.now(UTC), patience=20) == 0
        assert practice.kept("subject")["subject"].to_list() == [f"{MARKER} 2"]
        assert practice.log.listing().unlogged["erased"].rows == 1
        eventually(lambda: ask(client, home(1)).status_code == 403)
    practice.compact()  # what was answered in the moment before the server took note
    assert practice.kept("subject")["subject"].to_list() == [f"{MARKER} 2"]
    assert {key.purpose: key.subject_keys for key in key_status(practice.table).keys}[
        f"subjects/{log_group('homes')}"
    ] == 0


def test_an_erasure_does_not_wait_for_ever_for_a_server(practice):
    with practice.serving() as client:
        ask(client, home(1))
        assert settle_log(practice.log, practice.vault, datetime.now(UTC), patience=0.2) == 1


def test_a_copy_of_a_segment_is_dead_once_it_is_compacted(practice, tmp_path):
    with practice.serving() as client:
        ask(client, home(1))
    [segment] = practice.segments()
    copy = segment.read_bytes()
    practice.compact()
    segment.write_bytes(copy)
    with pytest.raises(KeyMissingError, match="is gone"):
        practice.compact()
    assert segment.exists()


def test_a_segment_that_was_tampered_with_is_kept_and_told(practice):
    with practice.serving() as client:
        for person in range(3):
            ask(client, home(person))
    [segment] = practice.segments()
    entries = list(read_segment(segment))
    sealed = [entry for entry in entries if isinstance(entry, SealedEntry)]
    assert [entry.number for entry in sealed] == [0, 1, 2]
    [name] = [entry.name for entry in entries if isinstance(entry, KeyEntry)]
    key = practice.vault.segment_key(name)
    with pytest.raises(IntegrityError, match="changed, or does not belong"):
        key.open(1, sealed[0].content)
    content = segment.read_bytes()
    segment.write_bytes(content.replace(sealed[1].content[:8], bytes(8)))
    with pytest.raises(IntegrityError):
        practice.compact()
    assert segment.exists()
    assert not practice.log.paths("predictions")
    segment.write_bytes(content)
    assert practice.compact() == 3


def test_keys_rotate_while_segments_are_written(practice):
    with practice.serving() as client:
        ask(client, home(1))
        Rotation(practice.table).rotate_tek(log_group("homes"))
        Rotation(practice.table).shred()
        assert ask(client, home(2)).status_code == 200
    assert practice.compact() == 2


def test_no_key_no_answer_and_service_goes_on_once_there_is_one(practice, monkeypatch):
    def down(_self) -> None:
        raise UnavailableError("the key table does not answer", hint="wait")

    with practice.serving() as client:
        with monkeypatch.context() as patched:
            patched.setattr(SystemCustody, "new_key", down)
            refused = []
            eventually(
                lambda: (
                    refused.append(ask(client, home(1)).status_code) or refused[-1] == 503 or _roll(practice)
                )
            )
        eventually(lambda: ask(client, home(1)).status_code == 200)


def _roll(practice: Practice) -> bool:
    """Have the server need a new key: something has changed in the key table."""
    practice.consent.grant([practice.ref(f"{MARKER} 9")], "logging", datetime.now(UTC))
    return False


def test_a_lost_key_table_is_no_reason_to_forget_who_objected(practice):
    for path in (practice.root / "keys").glob("keys.db*"):
        path.unlink()
    other = Practice(
        practice.root, f"sqlite:///{practice.root}/keys/keys.db", practice.ledger, None, practice.store
    )
    app = create_app(
        practice.ledger,
        practice.store,
        poll_seconds=0.02,
        open_custody=lambda system, _: SystemCustody(other.table, system, "owner"),
    )
    with Service(app) as client:
        eventually(lambda: "there is no key table" in client.get("/readyz").text)
        assert client.post("/v1/homes/predict", json=home(1)).status_code == 503


def test_a_service_without_keys_does_not_serve_people(practice):
    app = create_app(practice.ledger, practice.store, poll_seconds=0.02, log=practice.root / "log")
    with Service(app) as client:
        eventually(lambda: "was given no keys" in client.get("/readyz").text)
        assert client.post("/v1/homes/predict", json=home(1)).status_code == 503
