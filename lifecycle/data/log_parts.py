"""The compacted part of a prediction log: Parquet files by day, and the list that says which of them count.

    .lifecycle/log/<system>/
        predictions/2026-01-31/<part>.parquet
        outcomes/2026-01-31/<part>.parquet
        compacted.json      the list: replaced in one rename, so that a part counts wholly or not at all
        compaction.lock     one compaction, import or ingest at a time

A part file that the list does not name was left by a process that died; it is removed by the next one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from lifecycle.core.errors import IntegrityError
from lifecycle.core.values import Value
from lifecycle.data.locks import SystemLock
from lifecycle.data.log_files import DRAFT, LogFiles, draft_of
from lifecycle.data.storage import storing

Kind = Literal["predictions", "outcomes"]
KINDS: tuple[Kind, ...] = ("predictions", "outcomes")
_LIST = "compacted.json"
_PART = ".parquet"


class Part(Value):
    """One Parquet file.

    Attributes:
        kind: What its rows are.
        day: The UTC day of its rows: when predictions were answered, when outcomes were received.
        name: Of the file.
        rows: In it.
        bytes: Size of the file.
        source: What outcomes were imported from, by SHA-256; empty for what came through the endpoint.
    """

    kind: Kind
    day: str
    name: str
    rows: int
    bytes: int
    source: str = ""


class Unlogged(Value):
    """Requests that were answered and not logged, and the predictions they held."""

    requests: int = 0
    rows: int = 0


class Listing(Value):
    """What counts.

    Attributes:
        parts: Every part, in the order they were made.
        segments: Name -> bytes of the segments whose rows stand in the parts and that may still be there.
        unlogged: Reason -> how much was answered and not logged, since the log began.
    """

    format: Literal[1] = 1
    parts: tuple[Part, ...] = ()
    segments: dict[str, int] = Field({})
    unlogged: dict[str, Unlogged] = Field({})


class CompactedLog:
    """The Parquet side of one system's prediction log.

    Args:
        folder: The system's folder of the log.
        system: Its name, for messages.
        files: How its parts lie on disk.
    """

    def __init__(self, folder: Path, system: str, files: LogFiles) -> None:
        self.folder = folder
        self.system = system
        self.files = files

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the log for the block; what a process that died left behind is removed first.

        Raises:
            BusyError: A compaction, an import or an ingest holds it.
        """
        lock = SystemLock(self.folder / "compaction.lock", self.system, "the prediction log")
        with lock.held(), storing(str(self.folder)):
            self._sweep()
            yield

    def listing(self) -> Listing:
        """What counts now; nothing, before the first compaction.

        Raises:
            IntegrityError: The list was changed by something else.
        """
        path = self.folder / _LIST
        try:
            return Listing.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return Listing()
        except ValidationError:
            raise IntegrityError(
                f"{path} is not a list of compacted parts",
                hint="bring it back from a backup; nothing was changed",
            ) from None

    def path(self, part: Part) -> Path:
        """Where a part lies."""
        return self.folder / part.kind / part.day / part.name

    def paths(self, kind: Kind) -> list[Path]:
        """The files of one kind that count, by day, then in the order they were made.

        Raises:
            IntegrityError: One is missing or of another size.
        """
        parts = [part for part in self.listing().parts if part.kind == kind]
        for part in parts:
            path = self.path(part)
            size = path.stat().st_size if path.is_file() else None
            if size != part.bytes:
                found = "is missing" if size is None else f"has {size} bytes, {part.bytes} were written"
                raise IntegrityError(
                    f"a part of the prediction log {found}: {path}", hint="bring it back from a backup"
                )
        return [self.path(part) for part in sorted(parts, key=lambda part: part.day)]

    def commit(
        self,
        parts: Sequence[Part],
        segments: Mapping[str, int] | None = None,
        unlogged: Mapping[str, Unlogged] | None = None,
    ) -> None:
        """Make new parts count, in one step: all of them, with the segments they were made of.

        Args:
            parts: On disk under their names already.
            segments: Name -> bytes.
            unlogged: Reason -> what these segments count.
        """
        now = self.listing()
        counts = dict(now.unlogged)
        for reason, more in (unlogged or {}).items():
            had = counts.get(reason, Unlogged())
            counts[reason] = Unlogged(requests=had.requests + more.requests, rows=had.rows + more.rows)
        self._replace(
            Listing(
                parts=(*now.parts, *parts), segments={**now.segments, **(segments or {})}, unlogged=counts
            )
        )

    def forget_segments(self, names: Sequence[str]) -> None:
        """Take deleted segments off the list: their names never come again."""
        now = self.listing()
        kept = {name: size for name, size in now.segments.items() if name not in names}
        self._replace(now.model_copy(update={"segments": kept}))

    def forget_days(self, before: str) -> list[str]:
        """Delete whole days: off the list first, then their files.

        Args:
            before: The first day that stays, as ``2026-01-31``.

        Returns:
            The days that were deleted.
        """
        now = self.listing()
        old = sorted({part.day for part in now.parts if part.day < before})
        if old:
            kept = tuple(part for part in now.parts if part.day >= before)
            self._replace(now.model_copy(update={"parts": kept}))
            self._sweep()
        return old

    def _replace(self, listing: Listing) -> None:
        draft = self.folder / f".{_LIST}.draft"
        with draft.open("wb") as stream:
            stream.write(listing.model_dump_json(exclude_defaults=True).encode())
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self.folder / _LIST)
        sync_folder(self.folder)

    def _sweep(self) -> None:
        """Remove every file below the kinds' folders that does not count, and days that are empty."""
        listed = {self.path(part) for part in self.listing().parts}
        for kind in KINDS:
            for day in (self.folder / kind).glob("*"):
                parts = [path for path in day.iterdir() if path.suffix == _PART]
                if listed.isdisjoint(parts):
                    shutil.rmtree(day)
                    continue
                for path in parts:
                    if path not in listed:
                        path.rename(draft_of(path))
                if drafts := [path for path in day.iterdir() if path.suffix == DRAFT]:
                    self.files.sign(day)  # before they go: killed in between, the drafts are still there
                    for path in drafts:
                        path.unlink()


def sync_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk, so that a rename survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
