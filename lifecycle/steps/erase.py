"""Erases a person from one system, proves it, and says so on paper.

    erase → prove → list the models → queue an update → receipt

Each step may be run again after a crash: keys are destroyed once, the update is queued once, and the receipt
is written last, so that where it is, everything before it was done.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from lifecycle.core.erasure import AffectedVersion, PlaceScan, Proof, Queued, Receipt
from lifecycle.core.errors import IntegrityError, LifecycleError, StateError
from lifecycle.core.ports import Clock, Ledger, Objects, Signer
from lifecycle.data.dvc_objects import Folders, folders_among
from lifecycle.data.storage import storing
from lifecycle.evaluation.receipt import render
from lifecycle.records.erasure import Erasure
from lifecycle.records.scan import Place, scan, scan_objects
from lifecycle.steps.affected import ModelLineage

LOG = logging.getLogger("lifecycle.erasure")
SIGNATURE = ".sig"
_BACKUPS = (
    "A backup of the key table from before the erasure still holds the keys, until a shred epoch makes it "
    "dead (lifecycle records shred); backups of the key encryption key are yours to destroy."
)
_MODELS = "A model is not shredded: what it learnt stays in it until it is replaced and withdrawn."
_ELSEWHERE = (
    "Only the places listed here were looked through. The keys are gone for every copy, but a copy in clear, "
    "such as the source the records came from, is not ours to see."
)

QueueUpdate = Callable[[str, str], str | None]
"""Queues an update of a system, once per name; the run's name, or None where there is no scheduler."""


@dataclass(frozen=True)
class Remote:
    """A store that is reached over a network.

    Attributes:
        name: What it is.
        where: Its address, fit to be shown.
        connect: Reaches it.
    """

    name: str
    where: str
    connect: Callable[[], Objects]


@dataclass(frozen=True)
class Eraser:
    """The steps that erase one subject from one system.

    Attributes:
        name: Name of the system.
        ref: The subject.
        actor: Who is acting.
        admit: Returns when they may, and it is on the audit trail.
        erasure: Destroys keys.
        places: What is looked through, disjoint.
        remotes: Stores of DVC's objects that are reached over a network.
        lineage: Finds the models that were trained on the subject.
        receipts: The folder of receipts.
        queue_update: Queues an update.
        settle_log: Compacts what servers have logged; how many sealed segments still wait.
    """

    name: str
    ref: bytes
    actor: str
    admit: Callable[[], None]
    erasure: Erasure
    places: tuple[Place, ...]
    remotes: tuple[Remote, ...]
    lineage: ModelLineage
    ledger: Ledger
    signer: Signer
    clock: Clock
    receipts: Path
    queue_update: QueueUpdate
    settle_log: Callable[[], int]

    def erase(self) -> datetime:
        """Destroy the keys of the subject, or finish what a crash interrupted; when it was done.

        Raises:
            AccessDeniedError: The policy does not let the actor erase.
            KeyMissingError: The subject is unknown; nobody was erased.
            UnavailableError: The key table or its provider does not answer: nothing is reported as done.
        """
        self.admit()
        self.erasure.erase([self.ref])
        moment = self.erasure.erased_at(self.ref)
        assert moment is not None, "erased, or an error"
        return moment

    def prove(self) -> Proof:
        """Look through every place for rows of the subject.

        Raises:
            StateError: The subject still has a key.
            StorageError: A place cannot be read.
        """
        erased = self.erasure.erased()
        if self.ref not in erased:
            raise StateError(
                f"subject {self.ref.hex()} was not erased: there is nothing to prove",
                hint=f"run: lifecycle records erase {self.name} {self.ref.hex()}",
            )
        begun = time.monotonic()
        waiting = self.settle_log()
        scans = tuple(scan(place, self.ref, erased) for place in self.places)
        known, elsewhere = set(self.lineage.folders), list[Folders]()
        for remote in self.remotes:
            found, there = self._reach(remote, erased, known)
            scans = (*scans, found)
            elsewhere.append(there)
        return Proof(
            places=scans,
            waiting=waiting,
            snapshots=self.lineage.snapshots(scans, elsewhere),
            seconds=round(time.monotonic() - begun, 3),
        )

    def _reach(
        self, remote: Remote, erased: Collection[bytes], known: Collection[str]
    ) -> tuple[PlaceScan, Folders]:
        """Look through a remote; one that cannot be reached is no reason to leave the rest unproved."""
        try:
            objects = remote.connect()
            found = scan_objects(remote.name, remote.where, objects, self.ref, erased)
            folders = {name: read() for name, read in folders_among(objects, known).items()}
        except Exception as error:  # noqa: BLE001 - each kind of store has errors of its own
            told = error.message if isinstance(error, LifecycleError) else type(error).__name__
            LOG.warning("the %s %s was not looked through: %s", remote.name, remote.where, told)
            again = f"when it answers: lifecycle records erase {self.name} {self.ref.hex()}"
            return PlaceScan(
                place=remote.name, where=remote.where, scanned=False, reason=f"{told}; {again}"
            ), {}
        return found, {name: partial(bytes, content) for name, content in folders.items()}

    def affected(self, proof: Proof) -> tuple[AffectedVersion, ...]:
        """The versions whose snapshot held the subject, in the order in which they were decided on."""
        return self.lineage.versions(proof.snapshots)

    def queue(self, versions: tuple[AffectedVersion, ...]) -> Queued:
        """Queue an update that trains without the subject, where a model knew them; once per subject."""
        if not versions or self.ledger.live(self.name) is None:
            return Queued(status="not needed", detail="no model that is deployed was trained on them")
        run = self.queue_update(self.name, f"erasure-{self.ref.hex()}")
        if run is None:
            return Queued(status="by hand", detail=f"run: lifecycle update {self.name} --trigger erasure")
        return Queued(status="queued", detail=run)

    def issue(
        self, erased_at: datetime, proof: Proof, versions: tuple[AffectedVersion, ...], update: Queued
    ) -> Receipt:
        """Write and sign the receipt, and its page.

        Raises:
            StorageError: The disk refuses.
        """
        receipt = Receipt(
            system=self.name,
            ref=self.ref.hex(),
            erased_at=erased_at,
            issued_at=self.clock.now(),
            actor=self.actor,
            proof=proof,
            versions=versions,
            update=update,
            limits=(_BACKUPS, _MODELS, _ELSEWHERE),
        )
        content = receipt.content()
        signature = self.signer.sign(content)
        path = receipt_file(self.receipts, self.name, self.ref)
        with storing(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            _store(path.with_suffix(".html"), render(receipt, content, signature).encode())
            _store(path.with_name(path.name + SIGNATURE), signature)
            _store(path, content)
        return receipt


def receipt_file(receipts: Path, system: str, ref: bytes) -> Path:
    """Where the receipt of a subject lies."""
    return receipts / system / f"{ref.hex()}.json"


def read_receipt(path: Path, signer: Signer) -> Receipt:
    """A receipt that verifies.

    Raises:
        IntegrityError: It was changed, its signature is missing, or it is by a key that is not trusted.
    """
    try:
        content = path.read_bytes()
        signature = path.with_name(path.name + SIGNATURE).read_bytes()
    except OSError as error:
        raise IntegrityError(
            f"{error.filename} cannot be read: {error.strerror}",
            hint="a receipt is two files, NAME.json and NAME.json.sig: keep both",
        ) from None
    signer.verify(content, signature)
    return Receipt.model_validate_json(content)


def _store(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.draft")
    draft.write_bytes(content)
    draft.replace(path)
