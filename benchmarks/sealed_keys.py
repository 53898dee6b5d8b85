"""What keys cost beside sealing: wrapping them anew, a read on record, an erasure with proof."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench import Bench
from benchmarks.clinic import Clinic
from benchmarks.figure import Beside, Bound, Figure, Measured, Samples
from benchmarks.records import made_up
from lifecycle.core.erasure import Receipt
from lifecycle.core.record import SUBJECT_REF
from lifecycle.data.dvc_objects import cache_of
from lifecycle.records.entries import Read
from lifecycle.records.segment import SealedSegment
from lifecycle.steps.erase import read_receipt, receipt_file
from lifecycle.wiring.erasure import open_eraser

MONTHS = 24
PER_SUBJECT = 10
PURPOSE = "training"


def measure(bench: Bench) -> Figure:
    """Rotate, read and erase in one clinic."""
    clinic = Clinic(bench.folder / "clinic")
    bench.say(f"sealed-keys: {bench.size.keys:,} people")
    refs = clinic.register(bench.size.keys)
    rewrapped = [_rewrap(clinic, len(refs)) for _ in range(bench.size.updates)]
    bench.say(f"sealed-keys: a read of {bench.size.read:,} rows")
    audit, wall, reading = _audited(bench, clinic, refs)
    bench.say(f"sealed-keys: {MONTHS} monthly snapshots of {bench.size.patients:,} people")
    erased, proved, mb = _erased(bench, clinic, refs)
    return Figure(
        name="sealed-keys",
        title="Keys, audit and erasure",
        how=(
            f"A key table of {len(refs):,} people in SQLite on disk, each with a key of their own. Rewrap, "
            "by the clock: all of these are wrapped under a new table key, and the old one is destroyed. "
            f"Audit: a read of {bench.size.read:,} rows of 20 columns, {PER_SUBJECT} per subject, passes the "
            "policy and is committed to the audit trail, the database kept open meanwhile as a vault keeps "
            "it; beside it, the reading itself with raw keys in memory. Erasure, by the clock: "
            f"{MONTHS} monthly snapshots, each of a new month of {bench.size.patients:,} people and all "
            f"months before it, lie in DVC's cache and in a remote that is a folder, {mb:.0f} MB in all; a "
            "person who is in each is erased from the key table and looked for in every file, and the "
            "receipt is written and signed."
        ),
        lines=(
            Measured(
                "subjects whose key is wrapped anew",
                Samples.of(rewrapped, "subjects/s"),
                Bound("at least", 50_000),
            ),
            Measured(
                "audit, of the processor time of a read",
                Samples.of((ours / plain for ours, plain in zip(audit, reading, strict=True)), ""),
                Bound("at most", 0.01),
            ),
            Measured(
                "one entry of the audit, by the clock",
                Samples.of((1e3 * it for it in wall), "ms"),
                beside=Beside("processor time of the read", Samples.of((1e3 * it for it in reading), "ms")),
            ),
            Measured("one person erased, with proof", Samples.of(erased, "s"), Bound("at most", 5.0)),
            Measured("of it the proof", Samples.of(proved, "s")),
        ),
    )


def _rewrap(clinic: Clinic, count: int) -> float:
    """Subjects per second, by the clock: it is the disk that is waited for."""
    begun = time.perf_counter()
    moved = clinic.office.rotation.rotate_tek(clinic.name, anew=True)
    seconds = time.perf_counter() - begun
    if moved != count:
        raise AssertionError(f"{moved} of {count} subjects were moved")
    return count / seconds


def _audited(bench: Bench, clinic: Clinic, refs: list[bytes]) -> tuple[list[float], list[float], list[float]]:
    """Processor time of an entry, its time by the clock, and the processor time of the read itself."""
    rows = bench.size.read
    people = min(len(refs), max(1, rows // PER_SUBJECT))
    path = clinic.root / "read" / "2026-01.parquet"
    path.parent.mkdir()
    clinic.vault.seal(_table(rows, refs[:people]), path)
    segment, ring = SealedSegment(path), clinic.office.ring
    columns = tuple(clinic.vault.columns([path]))
    read = Read(
        actor=clinic.settings.actor,
        purpose=PURPOSE,
        dataset=clinic.name,
        segments=(str(segment.id),),
        columns=columns,
        groups=("clinical",),
        rows=rows,
    )
    audit, wall, reading = [], [], []
    # An entry takes so little that one is not enough to tell.
    with clinic.office.table.at_work():
        for number in range(10 * bench.size.updates + 1):
            cpu, clock = _timed(lambda: clinic.office.gate.admit(read))
            plain, _ = _timed(lambda: segment.read(ring, ["clinical"]))
            if number:  # the first fills the caches
                audit.append(cpu)
                wall.append(clock)
                reading.append(plain)
    path.unlink()  # what an erasure looks through is the snapshots alone
    if clinic.office.trail.verify().entries != len(audit) + 1:
        raise AssertionError("not every read is on record")
    return audit, wall, reading


def _erased(bench: Bench, clinic: Clinic, refs: list[bytes]) -> tuple[list[float], list[float], float]:
    """Seconds of erasures, those of their proofs, and MB that were looked through."""
    _snapshots(clinic, refs[: bench.size.patients])
    stores = cache_of(clinic.root), Path(clinic.settings.remote)
    whole, proofs = [], []
    for ref in refs[: bench.size.updates]:
        begun = time.perf_counter()
        receipt = _erase(clinic, ref)
        whole.append(time.perf_counter() - begun)
        proofs.append(receipt.proof.seconds)
        lost = sum(place.lost for place in receipt.proof.places)
        if (lost, len(receipt.proof.snapshots)) != (len(stores) * MONTHS, MONTHS):
            raise AssertionError(f"{lost} rows in {len(receipt.proof.snapshots)} snapshots were found")
    held = sum(path.stat().st_size for store in stores for path in store.rglob("*") if path.is_file())
    return whole, proofs, held / 1e6


def _erase(clinic: Clinic, ref: bytes) -> Receipt:
    """All that `lifecycle records erase` does."""
    settings = clinic.settings.model_copy(update={"actor": "privacy-officer"})
    eraser = open_eraser(settings, clinic.name, ref.hex(), lambda _system, _name: None)
    moment = eraser.erase()
    proof = eraser.prove()
    versions = eraser.affected(proof)
    eraser.issue(moment, proof, versions, eraser.queue(versions))
    return read_receipt(
        receipt_file(clinic.settings.receipts, clinic.name, ref), clinic.office.receipt_signer
    )


def _snapshots(clinic: Clinic, refs: list[bytes]) -> None:
    """Monthly snapshots where DVC puts them: a file under its MD5, and a list of files for each snapshot."""
    folder, entries = clinic.root / "month", list[dict[str, str]]()
    stores = cache_of(clinic.root), Path(clinic.settings.remote)
    folder.mkdir()
    for month in range(MONTHS):
        path = folder / f"{2024 + month // 12}-{month % 12 + 1:02d}.parquet"
        clinic.vault.seal(_table(len(refs), refs), path)
        entries.append({"md5": _put(stores, path.read_bytes()), "relpath": path.name})
        _put(stores, json.dumps(entries).encode(), ".dir")
        path.unlink()


def _put(stores: tuple[Path, ...], content: bytes, suffix: str = "") -> str:
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    for store in stores:
        path = store / "files" / "md5" / digest[:2] / f"{digest[2:]}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return digest


def _table(rows: int, refs: list[bytes]) -> Any:
    """Made-up rows of these people in turn, as a vault takes them."""
    raw = np.frombuffer(b"".join(refs), np.uint8).reshape(len(refs), -1)
    table = made_up(rows, raw[np.arange(rows) % len(refs)])
    return table.rename_columns([SUBJECT_REF, *table.column_names[1:]])


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Processor time of all threads, and time by the clock."""
    cpu, clock = time.process_time(), time.perf_counter()
    work()
    return max(time.process_time() - cpu, 1e-9), time.perf_counter() - clock
