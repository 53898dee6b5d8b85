"""A snapshot of sensitive records: sealed before it is on disk, opened for who may, forgotten when erased."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import pytest

from lifecycle.core.clock import FixedClock
from lifecycle.core.errors import AccessDeniedError, ManifestError, QuarantineError, TamperedError
from lifecycle.core.params import SourceParams, SplitParams, SystemParams, load_params
from lifecycle.core.record import Record, schema_of
from lifecycle.core.roles import Consent, EventTime, Feature, Label, RecordId, Sensitive, SubjectId
from lifecycle.data import ingest as ingest_module
from lifecycle.data.ingest import Ingested, ingest
from lifecycle.data.months import Months
from lifecycle.data.reading import read_records, read_rows
from lifecycle.data.splits import make_split
from lifecycle.records import audit, manifest
from lifecycle.records.access import Gate, Policy
from lifecycle.records.audit import AuditTrail
from lifecycle.records.consent import ConsentLedger
from lifecycle.records.erasure import Erasure
from lifecycle.records.identifiers import Identifiers
from lifecycle.records.key_table import KeyTable
from lifecycle.records.providers.local_file import LocalKeyFile
from lifecycle.records.signing import Ed25519Signer
from lifecycle.records.vault import SystemVault

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
MARKER = "Zyxwvut"
"""Stands in every identifier and note, and nowhere on disk."""


class Visit(Record):
    """A visit."""

    visit: Annotated[str, RecordId()]
    number: Annotated[str, SubjectId(), Sensitive("identifiers")]
    name: Annotated[str, Sensitive("identifiers")]
    seen: Annotated[date, EventTime()]
    age: Annotated[int, Feature(), Sensitive()]
    weight: Annotated[float | None, Feature(), Sensitive()]
    note: Annotated[str, Sensitive("free text")]
    agreed: Annotated[bool, Consent("training")]
    ill: Annotated[bool, Label(delay=timedelta(days=10))]


SCHEMA = schema_of(Visit)
FEW = {"min_train_rows": 1, "min_validation_rows": 1, "min_test_rows": 1}
POLICY = Policy.model_validate({"format": 1, "actors": {"flow": {"training": ["clinical"]}, "clerk": {}}})


def line(person: int, day: int, *, agreed: bool = True, visit: int = 0) -> str:
    """One visit, in the order of the fields."""
    seen = date(2025, 1, 1) + timedelta(days=day)
    weight = "" if person % 3 == 0 else f"{50 + person}"
    return (
        f"{MARKER}-v-{person}-{day}-{visit},{MARKER}-{person},{MARKER} {person},{seen},{20 + person},"
        f"{weight},{MARKER} said so,{agreed},{person % 2 == 0}"
    )


class Clinic:
    """A project with a key table."""

    def __init__(self, folder: Path, clock: FixedClock) -> None:
        self.folder = folder
        self.clock = clock
        self.provider = LocalKeyFile(folder / "keys" / "kek.json")
        self.table = KeyTable(f"sqlite:///{folder}/keys/keys.db", self.provider, clock)
        self.trail = AuditTrail(self.table, Ed25519Signer(folder / "keys", purpose=audit.PURPOSE))
        self.people = Identifiers(self.table, "clinic.number", group="clinic")
        self.out, self.manifest = folder / "data" / "clinic", folder / "split" / "manifest.parquet"

    def vault(self, actor: str = "flow") -> SystemVault:
        signer = Ed25519Signer(self.folder / "keys", purpose=manifest.PURPOSE)
        gate = Gate(POLICY, self.trail)
        return SystemVault("clinic", SCHEMA, self.table, self.trail, gate, signer, actor)

    def params(self, origin: str) -> SystemParams:
        source = SourceParams(kind="csv", path="visits.csv", origin=origin)
        return load_params(ROOT).system("house-prices").model_copy(update={"sources": (source,)})

    def ingest(self, *lines: str, origin: str = "user") -> Ingested:
        header = ",".join(field.name for field in SCHEMA.fields)
        (self.folder / "visits.csv").write_text("\n".join([header, *lines]) + "\n")
        found = ingest(
            SCHEMA,
            self.params(origin),
            self.folder,
            NOW,
            self.out,
            self.folder / "q.jsonl",
            vault=self.vault(),
        )
        (self.folder / "visits.csv").unlink()
        return found

    def split(self, actor: str = "flow") -> Any:
        params = SplitParams(validation_days=30, test_days=30, **FEW)
        return make_split(SCHEMA, params, self.out, self.manifest, self.vault(actor))

    def bytes_on_disk(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}

    def erase(self, person: int) -> None:
        [ref] = self.people.find([f"{MARKER}-{person}"])
        assert ref is not None
        Erasure(self.table).erase([ref])


@pytest.fixture
def clinic(tmp_path) -> Clinic:
    return Clinic(tmp_path, FixedClock(NOW))


YEAR = [line(person, 7 * person + 90 * turn) for person in range(12) for turn in range(3)]


def test_nothing_of_a_record_is_on_disk_in_clear(clinic):
    found = clinic.ingest(*YEAR)
    assert (found.counts.kept, found.counts.unconsented) == (36, 0)
    assert clinic.split().ok
    for path, content in clinic.bytes_on_disk().items():
        assert MARKER.encode() not in content, path
    shown = pl.read_parquet(next(clinic.out.glob("*.parquet"))).columns
    assert shown == ["ref", "n", "sealed:clinical", "sealed:free text", "sealed:identifiers"]
    ids = pl.read_parquet(clinic.manifest)["record_id"]
    assert ids.n_unique() == ids.len() > 0
    assert ids.str.contains("^[0-9a-f]{32}$").all()


def test_rows_that_wait_on_disk_are_concealed(clinic, monkeypatch):
    seen: list[bytes] = []

    class Watched(Months):
        def add(self, rows: pl.DataFrame) -> None:
            super().add(rows)
            seen.extend(path.read_bytes() for path in self._folder.iterdir())

    monkeypatch.setattr(ingest_module, "Months", lambda *a, **k: Watched(*a, **k, buffer_bytes=1))
    assert clinic.ingest(*YEAR).counts.kept == 36
    assert seen
    assert not any(MARKER.encode() in content or b"ARROW" in content for content in seen)


def test_the_same_rows_make_the_same_bytes(clinic):
    clinic.ingest(*YEAR)
    before = clinic.bytes_on_disk()
    clinic.ingest(*YEAR)
    after = clinic.bytes_on_disk()
    assert [path for path in before if path.parent == clinic.out and before[path] != after[path]] == []


def test_what_was_sealed_is_read_as_it_was(clinic):
    clinic.ingest(*YEAR)
    clinic.split()
    rows = [
        read_rows(SCHEMA, clinic.out, clinic.manifest, part, clinic.vault())
        for part in ("train", "validation", "test")
    ]
    ages = {age for part in rows for age in part.tensors.numbers[:, 0].tolist()}
    assert ages <= {20.0 + person for person in range(12)}
    assert all(
        label == (age % 2 == 0)
        for part in rows
        for age, label in zip(part.tensors.numbers[:, 0], part.label, strict=True)
    )
    assert sum(len(part) for part in rows) > 10
    [entry] = [entry for entry in entries(clinic) if "weight" in entry["columns"] and entry["rows"]][-1:]
    assert (entry["actor"], entry["purpose"], entry["groups"]) == ("flow", "training", ["clinical"])
    assert not {"number", "name", "note", "visit"} & set(entry["columns"])
    assert clinic.trail.verify().entries == len(entries(clinic))


def entries(clinic: Clinic) -> list[dict[str, Any]]:
    return [entry for entry, _, _ in clinic.trail._entries()]


def test_request_bodies_are_made_up(clinic):
    clinic.ingest(*YEAR)
    clinic.split()
    records = read_records(SCHEMA, clinic.out, clinic.manifest, "test", 5)
    assert len(records) == 5
    assert MARKER not in str(records)


def test_whoever_has_no_purpose_opens_nothing_and_is_on_record(clinic):
    clinic.ingest(*YEAR)
    with pytest.raises(AccessDeniedError, match="actor 'clerk' has no purpose 'training'"):
        clinic.split("clerk")
    assert not clinic.manifest.exists()
    assert entries(clinic)[-1]["denied"]


def test_own_rows_need_consent_and_a_withdrawal_leaves_them_out_of_the_next_snapshot(clinic):
    lines = [line(person, 30 + person, agreed=person != 3) for person in range(8)]
    assert clinic.ingest(*lines).counts.unconsented == 1
    refs = clinic.people.find([f"{MARKER}-4", f"{MARKER}-3"])
    ledger = ConsentLedger(clinic.table)
    ledger.withdraw(refs[:1], "training", NOW)
    ledger.grant(refs[1:], "training", NOW)
    found = clinic.ingest(*lines)
    assert (found.counts.kept, found.counts.unconsented) == (7, 1), "what they told us last counts"
    assert clinic.ingest(*lines, origin="licensed").counts.unconsented == 0


def test_no_window_tells_the_day_on_which_the_first_person_came(clinic):
    clinic.ingest(*[line(person, 9 + 10 * person) for person in range(20)])
    assert str(clinic.split().train.start.date()) == "2025-01-01", "it was the tenth"


def test_who_was_erased_is_gone_from_every_snapshot_and_does_not_come_back(clinic):
    clinic.ingest(*YEAR)
    split = clinic.split()
    old = {part: len(rows_of(clinic, part)) for part in ("train", "validation", "test")}
    clinic.erase(1)
    new = {part: len(rows_of(clinic, part)) for part in ("train", "validation", "test")}
    assert sum(old.values()) - sum(new.values()) in (1, 2, 3)
    assert split.ok
    found = clinic.ingest(*YEAR)
    assert (found.counts.kept, found.counts.erased) == (33, 3)


def rows_of(clinic: Clinic, part: Any) -> Any:
    return read_rows(SCHEMA, clinic.out, clinic.manifest, part, clinic.vault())


def dropped(clinic: Clinic) -> None:
    next(clinic.out.glob("*.parquet")).unlink()


def swapped(clinic: Clinic) -> None:
    first, second, *_ = sorted(clinic.out.glob("*.parquet"))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def stray(clinic: Clinic) -> None:
    first = next(clinic.out.glob("*.parquet"))
    first.with_name("2030-01.parquet").write_bytes(first.read_bytes())


@pytest.mark.parametrize("harm", [dropped, swapped, stray], ids=lambda harm: harm.__name__)
def test_a_snapshot_that_was_changed_is_not_opened(clinic, harm: Callable[[Clinic], None]):
    clinic.ingest(*YEAR)
    harm(clinic)
    with pytest.raises(ManifestError):
        clinic.split()


def test_rows_that_waited_and_were_changed_are_refused(clinic):
    vault = clinic.vault()
    content = bytearray(vault.conceal(b"rows"))
    content[-1] ^= 1
    with pytest.raises(TamperedError, match="rows that waited on disk were changed"):
        vault.reveal(bytes(content))


def test_a_row_without_a_subject_is_refused_and_shows_no_value(clinic):
    nobody = line(1, 5).split(",")
    nobody[1] = ""
    with pytest.raises(QuarantineError) as refused:
        clinic.ingest(line(2, 5), ",".join(nobody))
    assert MARKER not in "".join(traceback.format_exception(refused.value))
