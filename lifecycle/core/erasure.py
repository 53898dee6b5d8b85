"""What an erasure leaves on paper: where the person's rows lay, which models knew them, what happens next.

    Erasure → Proof → AffectedVersion → Receipt

Nothing in these values names a person: a subject is its ref, 16 random bytes in hex.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from lifecycle.core.values import Value

PURPOSE = b"lifecycle erasure receipt v1\0"
"""Put before what is signed: give receipts a ``Signer`` made for it."""


class HeldFile(Value):
    """A sealed file that holds rows of the subject.

    Attributes:
        file: Its path, relative to its place.
        dataset: What it was sealed as.
        lost: Rows of this subject; nobody can open them any more.
        others: Rows of people who were not erased; whoever may, still opens them.
        erased_before: Rows of people who were erased earlier.
    """

    file: str
    dataset: str
    lost: int
    others: int
    erased_before: int = 0


class PlaceScan(Value):
    """What was found in one place.

    Attributes:
        place: What it is: the DVC cache, the remote, the worktree, the prediction log, all other files.
        where: Its path or address.
        sealed: Sealed files that were looked through.
        unreadable: Parquet files that are not whole, relative to the place; what they hold is not known.
        held: Those that hold rows of the subject.
        scanned: Whether it could be looked through at all.
        reason: Why not.
    """

    place: str
    where: str
    sealed: int = 0
    unreadable: tuple[str, ...] = ()
    held: tuple[HeldFile, ...] = ()
    scanned: bool = True
    reason: str = ""

    @property
    def lost(self) -> int:
        """Rows of the subject; a row that lies in several files counts in each."""
        return sum(file.lost for file in self.held)

    @property
    def others(self) -> int:
        """Rows of others in the same files."""
        return sum(file.others for file in self.held)


class Proof(Value):
    """The scan of every place, after the keys were destroyed.

    Attributes:
        places: What was found in each.
        snapshots: Ids of the snapshots that hold rows of the subject.
        seconds: How long it took.
        waiting: Segments of the prediction log that are sealed as a whole and not compacted yet. Whether they
            hold rows of the subject is not known; the next compaction leaves them out.
    """

    places: tuple[PlaceScan, ...]
    snapshots: tuple[str, ...]
    seconds: float
    waiting: int = 0


class AffectedVersion(Value):
    """A model version that was trained from a snapshot which held the subject, or may have been.

    Attributes:
        version: Registered version.
        release: Its digest.
        snapshot: The snapshot; empty: the release or the snapshot is not there any more, so that it is not
            known whether it held the subject.
        live: Whether it is live now.
    """

    version: str
    release: str
    snapshot: str
    live: bool


class Queued(Value):
    """The update that makes a model without the subject.

    Attributes:
        status: ``queued``; ``not needed``: no version knew them; ``by hand``: no scheduler took it.
        detail: The run that was queued, or what to do.
        reason: Why it runs.
    """

    status: Literal["queued", "not needed", "by hand"]
    detail: str
    reason: Literal["erasure"] = "erasure"


class Receipt(Value):
    """That a subject was erased, with the proof.

    Attributes:
        format: Of the file.
        system: Name of the system.
        ref: The subject, in hex.
        erased_at: When the keys were destroyed.
        issued_at: When the proof was finished.
        actor: Who issued it.
        proof: Where the rows lay.
        versions: Models that were trained on them; keys do not reach into a model.
        update: What was done about that.
        limits: What this receipt does not say, in sentences.
    """

    format: Literal[1] = 1
    system: str
    ref: str
    erased_at: datetime
    issued_at: datetime
    actor: str
    proof: Proof
    versions: tuple[AffectedVersion, ...]
    update: Queued
    limits: tuple[str, ...]

    @property
    def lost(self) -> int:
        """Rows that nobody can open any more, over all files."""
        return sum(place.lost for place in self.proof.places)

    def content(self) -> bytes:
        """The bytes that are stored and signed."""
        return self.model_dump_json(indent=2).encode() + b"\n"
