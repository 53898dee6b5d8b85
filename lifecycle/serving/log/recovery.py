"""The segments of a folder: how they are named, which are closed, and closing those whose writer died.

A writer holds an flock on its segment ``<UTC>-<process>-<n>.open`` and renames it to ``.seg`` when it is
full. An ``.open`` file that nobody locks was left behind. The log therefore lies on a local disk.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lifecycle.core.errors import IntegrityError, StorageError
from lifecycle.serving.log.segment import Damage, SegmentReader

OPEN = ".open"
CLOSED = ".seg"
DAMAGED = ".damaged"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recovered:
    """What became of a segment whose writer died.

    Attributes:
        path: Where it is now; None if there was nothing in it and it was removed.
        entries: Whole entries in it.
        cut: Bytes behind them, now gone: a torn entry, or room for entries that were not written.
        damage: Places amid it where entries are lost.
        outcome: ``closed``; ``empty``: it was removed; ``unreadable``: its header is damaged, and it is
            kept for people to look at under the ending ``.damaged``.
    """

    path: Path | None
    entries: int
    cut: int
    damage: tuple[Damage, ...]
    outcome: Literal["closed", "empty", "unreadable"]


def closed_segments(folder: Path) -> list[Path]:
    """The segments nobody writes any more.

    Those of one process are in the order they were written: within a process, neither the time nor the
    number in their names ever runs back, whatever the clock does.
    """
    return sorted(folder.glob(f"*{CLOSED}"))


def adoptable(folder: Path) -> list[Path]:
    """The open segments whose writer is dead."""
    found = []
    for path in sorted(folder.glob(f"*{OPEN}")):
        with _held(path, os.O_RDONLY) as descriptor:
            if descriptor is not None:
                found.append(path)
    return found


def recover(folder: Path) -> list[Recovered]:
    """Close the segments whose writer is dead: cut the torn tail, then rename.

    Several processes may do so at once.

    Returns:
        What was done, one per segment; empty if every open segment has a living writer.

    Raises:
        StorageError: The disk refuses.
    """
    done = []
    for path in sorted(folder.glob(f"*{OPEN}")):
        try:
            with _held(path, os.O_RDWR) as descriptor:
                if descriptor is not None:
                    done.append(_close(path, descriptor))
        except OSError as error:
            raise StorageError(
                f"the segment {path} of a dead process cannot be closed: {error.strerror}",
                hint="look at the disk, and at who owns the folder of the log",
            ) from error
    return done


@contextmanager
def _held(path: Path, mode: int) -> Iterator[int | None]:
    """The descriptor of a segment that nobody else holds and that is still there; None otherwise."""
    try:
        descriptor = os.open(path, mode | os.O_CLOEXEC)
    except FileNotFoundError:  # its writer, or another process that recovers, has just renamed it
        yield None
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield descriptor if names(path, descriptor) else None
    finally:
        os.close(descriptor)


def names(path: Path, descriptor: int) -> bool:
    """Whether a path still names the file of a descriptor."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _close(path: Path, descriptor: int) -> Recovered:
    reader = SegmentReader(path)
    try:
        for _ in reader.payloads():
            pass
    except IntegrityError as error:
        kept = path.with_suffix(DAMAGED)
        path.rename(kept)
        logger.error("%s; kept as %s", error.message, kept)
        return Recovered(kept, 0, 0, (), "unreadable")
    if not reader.entries:
        path.unlink(missing_ok=True)
        logger.info("%s: its writer died before the first entry; removed", path)
        return Recovered(None, 0, reader.torn, (), "empty")
    if reader.torn:
        os.ftruncate(descriptor, reader.whole)
        os.fsync(descriptor)
    closed = path.with_suffix(CLOSED)
    path.rename(closed)
    logger.warning(
        "%s: its writer died; %d entries are whole, the %d bytes behind them were cut",
        closed,
        reader.entries,
        reader.torn,
    )
    return Recovered(closed, reader.entries, reader.torn, tuple(reader.damage), "closed")
