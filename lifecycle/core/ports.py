"""What the loop needs of the outside world; ``lifecycle.wiring`` alone knows who provides it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lifecycle.core.record import RecordSchema
from lifecycle.core.requirements import Requirements
from lifecycle.core.values import (
    Deployment,
    Evaluation,
    Measurements,
    ModelVersion,
    Release,
    Snapshot,
    TrainingRun,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lifecycle.core.params import SystemParams
    from lifecycle.core.rows import Tensors
    from lifecycle.core.system import System


class Clock(Protocol):
    """Tells the time; only the edges ask."""

    def now(self) -> datetime:
        """The current moment, timezone-aware."""
        ...


class Signer(Protocol):
    """Signs releases, and knows which keys are trusted."""

    def sign(self, content: bytes) -> bytes:
        """The signature file's bytes for this content."""
        ...

    def verify(self, content: bytes, signature: bytes) -> None:
        """Return when a trusted key signed the content; raise ``IntegrityError`` otherwise."""
        ...


class Engine(Protocol):
    """A loaded model."""

    @property
    def inline(self) -> bool:
        """Whether an answer takes microseconds: an event loop may then wait for it."""
        ...

    def predict(self, tensors: Tensors) -> NDArray[np.float64]:
        """One answer per row: the value (regression) or the probability of 1 (classification)."""
        ...

    def submit(self, tensors: Tensors, done: Callable[[NDArray[np.float64] | Exception], None]) -> None:
        """Ask without waiting: ``done`` is called once, on the thread of the event loop that asks.

        Args:
            tensors: The packed inputs.
            done: Takes the answers, or why there are none. An engine that is ``inline`` calls it at once.

        Raises:
            OverloadedError: Too much waits already; nothing was taken.
        """
        ...

    def close(self) -> None:
        """Give back what the model holds, once all that was asked is answered; it is not asked again."""
        ...


class Opened(Protocol):
    """Rows of sealed files."""

    @property
    def table(self) -> Any:
        """An Arrow table: the columns asked for and ``SUBJECT_REF``."""
        ...

    @property
    def dropped(self) -> int:
        """Rows that are not in it, because their subject was erased."""
        ...


class Vault(Protocol):
    """Seals the records of one system, and opens them for whoever may: no table is on a disk otherwise."""

    def admit(self, identifiers: Sequence[str]) -> list[bytes | None]:
        """The ref of each subject, made for those who are new; None for those who were erased."""
        ...

    def consents(self, refs: Sequence[bytes], purpose: str, as_of: datetime) -> list[bool | None]:
        """What each subject said last about a purpose; None: nothing."""
        ...

    def record_refs(self, refs: Sequence[bytes], ids: Sequence[str]) -> list[str]:
        """What stands for each record's id, wherever it is not sealed."""
        ...

    def conceal(self, content: bytes) -> bytes:
        """What may lie on a disk for as long as this process runs; nobody else can read it."""
        ...

    def reveal(self, content: bytes) -> bytes:
        """What was concealed by this very object."""
        ...

    def seal(self, table: Any, path: Path, groups: Mapping[str, str] | None = None) -> None:
        """Write an Arrow table with the column ``SUBJECT_REF``; the same rows make the same bytes.

        Args:
            table: The rows.
            path: The file.
            groups: Access group by column, where they are not those of the record's fields.
        """
        ...

    def close(self, folder: Path) -> Sequence[str]:
        """Sign which sealed files a folder holds; the names of the files that say so."""
        ...

    def rows(self, path: Path) -> int:
        """How many rows were sealed in a file; told without any key."""
        ...

    def columns(self, paths: Sequence[Path]) -> Mapping[str, str]:
        """The columns that sealed files have in common, each with its access group; told without any key."""
        ...

    def check(self, columns: Sequence[str], purpose: str) -> None:
        """Return when the actor may open these fields of the record for a purpose; nothing is opened."""
        ...

    def open(self, paths: Sequence[Path], columns: Sequence[str], purpose: str) -> Iterable[Opened]:
        """Open sealed files of one folder, once that is allowed and on record; one table for each."""
        ...

    def segment_key(self, name: bytes) -> SegmentKey:
        """The key of a segment of the prediction log."""
        ...

    def drop_segment_keys(self, names: Sequence[bytes]) -> None:
        """Destroy keys of segments whose rows are sealed elsewhere; one that is gone already is no error."""
        ...


class SegmentKey(Protocol):
    """The key of one segment of a prediction log."""

    @property
    def name(self) -> bytes:
        """By which it is found again; 16 bytes."""
        ...

    def seal(self, content: bytes) -> tuple[int, bytes]:
        """An entry's number, one more with each, and the entry, sealed to stand under that number."""
        ...

    def open(self, number: int, content: bytes) -> bytes:
        """The entry that was sealed under this number."""
        ...


class Custody(Protocol):
    """What a prediction service holds of a system whose records are sealed; it cannot open any of them."""

    @property
    def moved(self) -> int:
        """A count that moves with each erasure, statement of consent or change of keys."""
        ...

    def refresh(self) -> None:
        """Look at the key table again; asked for by a thread, every second."""
        ...

    def refused(self, subjects: Sequence[str], purpose: str) -> Sequence[int]:
        """Positions of those who were erased, or have withdrawn their consent to a purpose."""
        ...

    def new_key(self) -> SegmentKey:
        """A key for a new segment, stored where only keys are.

        Raises:
            LifecycleError: It cannot be stored: there is no key.
        """
        ...

    def drop_key(self, key: SegmentKey) -> None:
        """Destroy a key that nothing was sealed with."""
        ...


OpenCustody = Callable[[str, RecordSchema], Custody]
"""The custody of a system whose records are sealed."""

OpenVault = Callable[[RecordSchema], Vault | None]
"""The vault of a system's records; None where nothing in them is sensitive."""


class Objects(Protocol):
    """Objects of a store that is reached over a network."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of every object, by name."""
        ...

    @property
    def at_once(self) -> int:
        """How many may be read at a time."""
        ...

    def read(self, name: str, start: int, end: int) -> bytes:
        """Bytes ``start`` to ``end``, which is not among them, of an object."""
        ...


class Workspace(Protocol):
    """Data versions and commits of one system: git and DVC, in a worktree the user never sees."""

    @property
    def root(self) -> Path:
        """The worktree: a project of its own, at the user's last commit."""
        ...

    def locked(self) -> AbstractContextManager[None]:
        """Hold the system; raise ``BusyError`` if another flow does."""
        ...

    def prepare(self) -> Sequence[str]:
        """Bring the worktree to the user's last commit; warnings about what was left out."""
        ...

    def snapshot(self, system: System, params: SystemParams, as_of: datetime) -> Snapshot:
        """Ingest all sources as of a moment; version, push and commit what changed."""
        ...

    def train(self, snapshot: Snapshot) -> TrainingRun:
        """Run the stages that DVC finds out of date; push and commit what they made."""
        ...


class ReleaseStore(Protocol):
    """Where verified releases lie."""

    def fetch(self, release: Release) -> Path:
        """The local folder of a release, fetched if need be; verified by digest and signature every time."""
        ...


class Registry(Protocol):
    """Where people compare and review: runs, versions and aliases."""

    def register(self, run: TrainingRun, release: Release, evaluation: Evaluation) -> ModelVersion:
        """The version that carries this release, made if there is none; its alias is ``candidate``."""
        ...

    def mirror(self, name: str, champion: str | None, previous: str | None) -> Sequence[str]:
        """Make the aliases ``champion`` and ``previous`` follow the ledger; the aliases that were wrong."""
        ...


class Ledger(Protocol):
    """What was decided, why, and what is live: append-only."""

    def live(self, system: str) -> Deployment | None:
        """The deployment that is live now."""
        ...

    def live_all(self) -> Sequence[Deployment]:
        """The live deployment of every system that has one, by name; servers ask twice a second."""
        ...

    def history(self, system: str, until: datetime | None = None) -> Sequence[Deployment]:
        """Every decision up to a moment, oldest first."""
        ...

    def record(self, deployment: Deployment, *, expected: int | None) -> Deployment:
        """Append a decision and make its switch, in one transaction.

        Args:
            deployment: The decision; its ``id`` is given by the ledger.
            expected: Id of the deployment believed live; if another is, ``StateError``.
        """
        ...


class Probe(Protocol):
    """Measures what the requirements bound."""

    def measure(
        self, release: Release, records: Sequence[dict[str, object]], requirements: Requirements
    ) -> Measurements:
        """Load the release in a real server process and send it these records at the required rate."""
        ...
