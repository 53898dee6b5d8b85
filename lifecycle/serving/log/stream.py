"""What one process writes into one folder: the hot path, and what happens when the disk refuses."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import msgspec

from lifecycle.core.errors import LifecycleError, StorageError
from lifecycle.core.ports import Custody
from lifecycle.serving.log.buffer import Buffer, Head
from lifecycle.serving.log.commit import Deliver, GroupCommit, Ticket
from lifecycle.serving.log.counts import UnloggedCounts
from lifecycle.serving.log.entries import Reason, Sealed
from lifecycle.serving.log.open_segment import OpenSegment, SegmentNames, open_segment
from lifecycle.serving.log.recovery import recover
from lifecycle.serving.log.sealing import Sealing
from lifecycle.serving.log.segment import MAX_ENTRY, Header, frame
from lifecycle.serving.log.terms import Durability, Limits, LogState, UnloggedError

logger = logging.getLogger(__name__)
_encode = msgspec.msgpack.Encoder().encode
_LONGEST = MAX_ENTRY - 64
"""Longest entry, bytes: sealed, it is a little longer."""


class Stream:
    """The segments of one folder.

    Every method may be called from any thread: one lock, hardly ever contended, is held for as long as a
    write takes. It is not held during the fdatasync of a group, but for the last one of a segment.

    Args:
        folder: Made at the first write.
        system: Whose log it is.
        kind: Of its entries.
        limits: When segments are closed.
        deliver: How tickets are settled.
        clock: Nanoseconds since 1970 UTC.
        custody: Gives keys to seal entries with; None: they are written in clear.
    """

    def __init__(
        self,
        folder: Path,
        system: str,
        kind: Sealed,
        limits: Limits,
        deliver: Deliver,
        clock: Callable[[], int],
        custody: Custody | None = None,
    ) -> None:
        self.system = system
        self.folder = folder
        self._sealing = Sealing(custody, kind, system) if custody else None
        self._limits = limits
        self._deliver = deliver
        self._clock = clock
        self._header = Header(system, uuid4())
        self._seed = self._header.seed
        self._names = SegmentNames(folder, self._header.process.hex, clock)
        self._lock = threading.Lock()
        self._segment: OpenSegment | None = None
        self._commit: GroupCommit | None = None
        self._buffer = Buffer()
        self._fault: str | None = None
        self._failed_at = self._tried_at = self._counted_at = 0.0
        self._closed = ""
        self._unlogged = UnloggedCounts()
        self._entries = self._bytes = self._refused = 0
        self._written_at: float | None = None

    def append(self, payload: bytes, head: Head | None, durability: Durability) -> Ticket | None:
        """Write one entry, as durably as is asked for.

        Args:
            payload: The entry in msgpack.
            head: Of the release that made the prediction.
            durability: ``process``: written when this returns. ``power``: settled by the ticket. ``relaxed``:
                written within 50 ms, or by ``close``.

        Returns:
            None: it is as durable as promised. A ticket (``power``): once it is settled.

        Raises:
            UnloggedError: The disk refuses, or did within the last second; the entry is not in the log.
        """
        return self.extend([payload], head, durability)

    def extend(self, payloads: Sequence[bytes], head: Head | None, durability: Durability) -> Ticket | None:
        """Write several entries in one go: all of them or, when it raises, none.

        Raises:
            UnloggedError: As ``append``.
        """
        if (longest := max(map(len, payloads), default=0)) > _LONGEST:
            self._refused += len(payloads)
            raise UnloggedError(
                f"an entry of {longest} bytes exceeds the {_LONGEST} bytes that a log holds",
                hint="send fewer rows in one request",
            )
        with self._lock:
            try:
                segment = self._segment or self._open()
                if durability == "relaxed":
                    self._keep(payloads, head)
                else:
                    if head is not None and head.release not in segment.releases:
                        self._write(segment, frame(head.payload, self._seed))
                        segment.releases.add(head.release)
                    self._write_entries(segment, payloads, ahead=durability == "power")
                    if self._fault is not None:
                        self._resume()
            except UnloggedError:
                self._refused += len(payloads)
                raise
            self._entries += len(payloads)
            ticket = self._committer().commit(segment) if durability == "power" else None
            if segment.size >= self._limits.segment_bytes:
                self._rotate()
            return ticket

    def _write_entries(self, segment: OpenSegment, payloads: Sequence[bytes], *, ahead: bool = False) -> None:
        """Write entries, sealed if the log is.

        Args:
            segment: The open one.
            payloads: The entries in msgpack.
            ahead: Make room for them first.
        """
        entries = self._sealing.sealed(segment, payloads) if self._sealing else payloads
        frames = [frame(entry, self._seed) for entry in entries]
        data = b"".join(frames)
        if ahead:
            segment.make_room(len(data))
        self._write(segment, data)
        segment.is_keyed = self._sealing is not None

    def _write(self, segment: OpenSegment, data: bytes) -> None:
        try:
            segment.write(data)
        except OSError as error:
            raise self._refuse(error) from error
        self._bytes += len(data)
        self._written_at = time.monotonic()

    def _open(self) -> OpenSegment:
        now = time.monotonic()
        if self._closed:
            raise UnloggedError(self._closed)
        if self._fault is not None and now - self._tried_at < self._limits.retry_seconds:
            raise self._unlogged_error()
        self._tried_at = now
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._segment = segment = open_segment(self._names, self._header)
        except OSError as error:
            raise self._refuse(error) from error
        if self._sealing:
            try:
                self._sealing.begin()
            except LifecycleError as error:
                raise self._give_up(error.message) from error
        return segment

    def _refuse(self, error: OSError) -> UnloggedError:
        return self._give_up(f"{error.strerror} ({self.folder})")

    def _give_up(self, fault: str) -> UnloggedError:
        """Give the segment up; a fresh one is tried a second later."""
        self._tried_at = time.monotonic()
        self._rotate()
        if self._fault is None:
            self._failed_at = self._tried_at
            logger.error("the log of %s cannot be written: %s", self.system, fault)
        self._fault = fault
        return self._unlogged_error()

    def _unlogged_error(self) -> UnloggedError:
        return UnloggedError(
            f"the log of {self.system} cannot be written: {self._fault}",
            hint="make room on the disk or mend it; the log is tried again every second",
        )

    def _resume(self) -> None:
        logger.warning("the log of %s is written again", self.system)
        self._fault = None
        self._try(self._count)

    def _rotate(self) -> None:
        segment, self._segment = self._segment, None
        if segment is not None:
            if self._sealing:
                self._sealing.end(segment)
            if self._commit is not None:
                self._commit.settle(segment)
            segment.close()

    def _committer(self) -> GroupCommit:
        if self._commit is None:
            self._commit = GroupCommit(
                self._lock, self._deliver, self._unsynced, self._limits.quick_sync_seconds
            )
        return self._commit

    def _unsynced(self, segment: OpenSegment, error: OSError) -> None:
        if self._segment is segment:
            self._refuse(error)

    def _keep(self, payloads: Sequence[bytes], head: Head | None) -> None:
        if self._fault is not None:  # what waits goes first: the buffer does not grow while the disk refuses
            self._flush()
            self._resume()
        self._buffer.add(payloads, head)
        if self._buffer.size >= self._limits.buffer_bytes:
            self._try(self._flush)

    def _flush(self) -> None:
        """Write what is kept back; if the disk refuses it is kept until it can be."""
        buffer = self._buffer
        if not buffer.payloads:
            return
        segment = self._segment or self._open()
        new = buffer.heads(segment.releases)
        if new:
            self._write(segment, b"".join([frame(head.payload, self._seed) for head in new]))
        self._write_entries(segment, buffer.payloads)
        segment.releases.update(head.release for head in new)
        buffer.clear()

    def unlogged(self, reason: Reason, requests: int, rows: int) -> None:
        """Count requests that were answered and are not logged; the log will say so."""
        with self._lock:
            waiting = self._unlogged.add(reason, requests, rows)
            if waiting >= self._limits.count_requests and self._fault is None:
                self._try(self._count)

    def _count(self) -> None:
        """Write how many requests are not logged."""
        self._counted_at = time.monotonic()
        entries = self._unlogged.entries(self._clock() // 1000)
        if entries:
            frames = [frame(_encode(entry), self._seed) for entry in entries]
            self._write(self._segment or self._open(), b"".join(frames))
            self._unlogged.clear()

    def _try(self, write: Callable[[], object]) -> None:
        """Write what waits, if the disk lets us; if not, it still waits, and ``fault`` is set."""
        with suppress(UnloggedError):
            write()

    def adopt(self) -> None:
        """Close the segments that dead processes left in the folder."""
        try:
            recover(self.folder)
        except StorageError as error:
            logger.error("%s", error.message)

    def tick(self) -> None:
        """What time brings: flush, write counts, close an old segment, try a disk that has refused."""
        if self._sealing:
            self._sealing.provide()
        with self._lock:
            if self._closed:
                return
            now = time.monotonic()
            if self._fault is not None:
                if now - self._tried_at < self._limits.retry_seconds:
                    return
                self._try(self._probe)
            self._try(self._flush)
            if now - self._counted_at >= self._limits.count_seconds:
                self._try(self._count)
            self._inspect(now)

    def _inspect(self, now: float) -> None:
        segment = self._segment
        if segment is None:
            return
        if segment.is_lost:
            logger.error("a segment of %s was removed while it was written (%s)", self.system, self.folder)
            self._rotate()
        elif self._is_full(segment, now):
            self._rotate()

    def _is_full(self, segment: OpenSegment, now: float) -> bool:
        limits, stale = self._limits, self._sealing is not None and self._sealing.is_stale
        old = now - segment.opened >= limits.segment_seconds
        return stale or old or segment.size >= limits.segment_bytes

    def _probe(self) -> None:
        self._segment or self._open()  # its header is written
        self._resume()

    def state(self) -> LogState:
        """How it fares."""
        with self._lock:
            now = time.monotonic()
            since = [self._buffer.since] if self._buffer.payloads else []
            since += [self._failed_at] if self._fault is not None else []
            since += self._commit.waiting_since() if self._commit is not None else []
            return LogState(
                system=self.system,
                entries=self._entries,
                bytes=self._bytes,
                refused=self._refused,
                unlogged=dict(self._unlogged.total),
                lag_seconds=now - min(since, default=now),
                since_write_seconds=None if self._written_at is None else now - self._written_at,
                fault=self._fault,
            )

    def close(self) -> None:
        """Write what waits and close the segment; appending afterwards is refused."""
        with self._lock:
            self._tried_at = float("-inf")  # a last attempt, however short ago the one before
            self._try(self._flush)
            lost = len(self._buffer.payloads)
            if lost:
                self._unlogged.add("failed", lost, lost)
                self._tried_at = float("-inf")
            self._try(self._count)  # is small, and may find room where they do not
            self._rotate()
            self._closed = f"the log of {self.system} is closed"
        if lost:
            logger.error("%d entries of %s were answered and could not be logged", lost, self.system)
        if self._commit is not None:
            self._commit.stop()
        if self._sealing:
            self._sealing.close()

    def leave(self) -> None:
        """In a forked child: let the parent's file go, so that its lock ends with the parent."""
        self._lock = threading.Lock()
        self._closed = f"the log of {self.system} was opened before this process was forked: open its own"
        segment, self._segment, self._commit = self._segment, None, None
        if self._sealing:
            self._sealing.leave()
        self._buffer.clear()
        if segment is not None:
            segment.abandon()
