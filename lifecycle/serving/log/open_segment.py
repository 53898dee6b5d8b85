"""The segment a process is writing: locked, and holding nothing but whole frames."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from lifecycle.serving.log.recovery import CLOSED, OPEN, names
from lifecycle.serving.log.segment import Header

AHEAD = 256 * 2**10
"""Bytes of room that are made at a time."""

_TRIES = 20
_FOLDERS = 3  # log/<system>/segments
logger = logging.getLogger(__name__)


class OpenSegment:
    """One open file; not safe for threads by itself.

    Args:
        path: Its name ends in ``.open``; no such file exists.
        header: Who writes it.

    Raises:
        FileExistsError: Somebody who recovers the folder took it for the file of a dead process, in the
            moment before it was locked.
        OSError: The disk refuses.

    Attributes:
        descriptor: To sync it by.
        size: Bytes of its whole frames and header.
        opened: ``time.monotonic()`` seconds.
        releases: Digests of the releases whose schema stands in it.
        is_keyed: Whether the name of its key stands in it, and entries that are sealed with it.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self._path = path
        self.releases: set[str] = set()
        self.is_keyed = False
        self.opened = time.monotonic()
        self.descriptor = _claim(path)
        self.size = self._empty = self._room = 0
        self._is_entered = self._is_torn = False
        self._unsynced: OSError | None = None
        try:
            self.write(header.encode())
        except OSError:
            self.close()
            raise
        self._empty = self.size

    def make_room(self, length: int) -> None:
        """Fill what comes next with zeros, so that to sync ``length`` bytes more is to sync data alone.

        A sync of a file that has grown waits for the file system's journal too, and takes twice as long.
        The rest of the room is cut off when the segment is closed, or by whoever recovers it.
        """
        if self.size + length <= self._room:
            return
        try:
            self._room = max(self._room, self.size)
            self._room += os.pwrite(self.descriptor, bytes(max(AHEAD, length)), self._room)
        except OSError:
            return  # the entries may still have room; if not, their own write says so

    def write(self, data: bytes) -> None:
        """Append whole frames: all of them or, when it raises, none.

        Raises:
            OSError: The disk refuses.
        """
        try:
            done = os.pwrite(self.descriptor, data, self.size)
            while done < len(data):  # the disk is nearly full: the next write says so
                done += os.pwrite(self.descriptor, memoryview(data)[done:], self.size + done)
        except OSError:
            self._cut()
            raise
        self.size += len(data)

    def _cut(self) -> None:
        """Take away what is behind the last whole frame: half a frame, or room."""
        self._room = 0
        try:
            os.ftruncate(self.descriptor, self.size)
        except OSError as error:
            self._is_torn = True
            logger.error("%s: a torn tail cannot be cut: %s", self._path, error.strerror)

    def sync(self) -> None:
        """Return when all that was written before the call would survive a power cut.

        Raises:
            OSError: The disk refuses. A later sync might seem to succeed although the kernel has dropped
                what this one could not store, so once it has failed it fails for this segment for ever.
        """
        if self._unsynced is not None:
            raise self._unsynced
        try:
            os.fdatasync(self.descriptor)
            if not self._is_entered:
                self._enter()
        except OSError as error:
            self._unsynced = error
            raise

    def _enter(self) -> None:
        """Make the file's entry in its folder durable, and those of the folders that the log has made."""
        for folder in islice(self._path.parents, _FOLDERS):
            descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        self._is_entered = True

    @property
    def is_lost(self) -> bool:
        """Whether somebody has removed or renamed the file while it is written."""
        return not names(self._path, self.descriptor)

    def close(self) -> None:
        """Give it the name of a closed segment, or remove it if no entry is in it, and let it go.

        One that could not be cut, or cannot be renamed, is left as one of a dead process is.
        """
        if self._room > self.size:
            self._cut()
        try:
            if self.size == self._empty:
                self._path.unlink(missing_ok=True)
            elif not self._is_torn:
                self._path.rename(self._path.with_suffix(CLOSED))
        except OSError as error:
            logger.error("%s cannot be closed: %s", self._path, error.strerror)
        with suppress(OSError):  # the descriptor is gone all the same
            self.abandon()

    def abandon(self) -> None:
        """Let go of the file, as a process does that dies."""
        os.close(self.descriptor)


def _claim(path: Path) -> int:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if names(path, descriptor):
            return descriptor
    except BlockingIOError:
        pass
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)  # whoever took it removes it
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


class SegmentNames:
    """Names that never run back within a process, even if the clock does.

    Args:
        folder: Where the segments lie.
        process: As in their headers.
        clock: Nanoseconds since 1970 UTC.
    """

    def __init__(self, folder: Path, process: str, clock: Callable[[], int]) -> None:
        self._folder = folder
        self._process = process
        self._clock = clock
        self._latest = self._number = 0

    def next(self) -> Path:
        """The path of the next segment."""
        self._latest = max(self._latest, self._clock() // 10**9)
        self._number += 1
        stamp = datetime.fromtimestamp(self._latest, UTC)
        return self._folder / f"{stamp:%Y%m%dT%H%M%SZ}-{self._process}-{self._number:06d}{OPEN}"


def open_segment(names: SegmentNames, header: Header) -> OpenSegment:
    """A fresh segment, under the first name that is this process's for sure.

    Raises:
        OSError: The disk refuses.
    """
    for _ in range(_TRIES):
        try:
            return OpenSegment(names.next(), header)
        except FileExistsError:
            continue
    return OpenSegment(names.next(), header)
