"""The prediction log of one process: its systems' streams, and the thread that keeps time for them."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from lifecycle.core.errors import ConfigError
from lifecycle.core.ports import Custody
from lifecycle.serving.log.buffer import Head
from lifecycle.serving.log.commit import Deliver, Ticket
from lifecycle.serving.log.entries import Reason, SchemaEntry, Sealed
from lifecycle.serving.log.stream import Stream
from lifecycle.serving.log.terms import Durability, Limits, LogState

PREDICTIONS = "segments"
OUTCOMES = "outcome-segments"
_KINDS: dict[str, Sealed] = {PREDICTIONS: "prediction", OUTCOMES: "outcome"}


class Appender:
    """Writes entries of one kind for one system, as durably as its release asks for.

    Args:
        stream: What it writes to.
        durability: Of every entry.
        head: The release whose predictions it writes; None for outcomes.
    """

    def __init__(self, stream: Stream, durability: Durability, head: Head | None = None) -> None:
        self._stream = stream
        self._durability = durability
        self._head = head

    def append(self, payload: bytes) -> Ticket | None:
        """Write one entry, from any thread.

        Args:
            payload: The entry in msgpack.

        Returns:
            None: it is as durable as promised. A ticket (``power``): answer once it is settled.

        Raises:
            UnloggedError: The disk refuses; the entry is not in the log.
        """
        return self._stream.append(payload, self._head, self._durability)

    def extend(self, payloads: Sequence[bytes]) -> Ticket | None:
        """Write several entries at once: all or, when it raises, none.

        Raises:
            UnloggedError: As ``append``.
        """
        return self._stream.extend(payloads, self._head, self._durability)

    def unlogged(self, reason: Reason, requests: int = 1, rows: int = 1) -> None:
        """Count answers that are not in the log: left out by sampling, or answered although it failed."""
        self._stream.unlogged(reason, requests, rows)

    def state(self) -> LogState:
        """How this log fares in this process."""
        return self._stream.state()


def _here(call: Callable[..., Any], *arguments: object) -> None:
    call(*arguments)


class PredictionLog:
    """What one process logs; every process has its own, and they share nothing but the folder.

    Nothing touches the disk before the first entry, so a server starts whatever state its disk is in.

    Args:
        root: Has one folder per system, such as ``.lifecycle/log``.
        deliver: Runs callbacks of tickets on the event loop: its ``call_soon_threadsafe``. Without a loop
            they run in the thread that commits, and must not write to the log.
        limits: When segments are closed.
        clock: Nanoseconds since 1970 UTC.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from lifecycle.serving.log.entries import OutcomeEntry
        >>> from lifecycle.serving.log.recovery import closed_segments
        >>> from lifecycle.serving.log.segment import read_segment
        >>> with TemporaryDirectory() as root:
        ...     log = PredictionLog(Path(root))
        ...     outcomes = log.outcomes("homes", "process")
        ...     outcomes.append(msgspec.msgpack.encode(OutcomeEntry(None, "h1", 7.5, 0, 0)))
        ...     log.close()
        ...     [segment] = closed_segments(Path(root, "homes", OUTCOMES))
        ...     print([entry.value for entry in read_segment(segment)])
        [7.5]
    """

    def __init__(
        self,
        root: Path,
        *,
        deliver: Deliver = _here,
        limits: Limits | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._root = root
        self._deliver = deliver
        self._limits = limits or Limits()
        self._clock = clock
        self._streams: dict[tuple[str, str, bool], Stream] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._period = min(self._limits.retry_seconds, self._limits.count_seconds)
        self._is_closed = False
        self._thread: threading.Thread | None = None
        _logs.add(self)

    def predictions(
        self,
        system: str,
        release: str,
        schema: bytes,
        durability: Durability,
        custody: Custody | None = None,
    ) -> Appender:
        """Where the predictions of a release are written, its schema ahead of them in every segment.

        Args:
            system: The system's name.
            release: Digest of the release.
            schema: Its ``RecordSchema`` as JSON.
            durability: As its ``ServingParams`` ask for.
            custody: Of a system whose records are sealed.
        """
        head = Head(release, msgspec.msgpack.encode(SchemaEntry(release, schema)))
        return Appender(self._stream(system, PREDICTIONS, durability, custody), durability, head)

    def outcomes(self, system: str, durability: Durability, custody: Custody | None = None) -> Appender:
        """Where the outcomes of a system are written, sealed under its custody."""
        return Appender(self._stream(system, OUTCOMES, durability, custody), durability)

    def _stream(
        self, system: str, place: str, durability: Durability, custody: Custody | None = None
    ) -> Stream:
        if not system or Path(system).name != system or system.startswith("."):
            raise ConfigError(
                f"{system!r} cannot name a folder of the log", hint="use letters, digits and hyphens"
            )
        with self._lock:
            key = (system, place, custody is not None)
            stream = self._streams.get(key)
            if stream is None:
                folder, kind = self._root / system / place, _KINDS[place]
                stream = Stream(folder, system, kind, self._limits, self._deliver, self._clock, custody)
                self._streams[key] = stream
            if durability == "relaxed":
                self._period = min(self._period, self._limits.flush_seconds)
            if self._thread is None and not self._is_closed:
                self._thread = threading.Thread(target=self._keep_time, name="lifecycle-log", daemon=True)
                self._thread.start()
        self._wake.set()
        return stream

    def _keep_time(self) -> None:
        adopted: set[Stream] = set()
        while not self._is_closed:
            self._wake.wait(self._period)
            self._wake.clear()
            for stream in list(self._streams.values()):
                if stream not in adopted:
                    stream.adopt()
                    adopted.add(stream)
                stream.tick()

    def state(self) -> list[LogState]:
        """How each log fares."""
        return [stream.state() for stream in list(self._streams.values())]

    def prediction_states(self) -> dict[str, LogState]:
        """How the log of each system's predictions fares; a fault of its outcomes' is told as its own."""
        states = {key: stream.state() for key, stream in list(self._streams.items())}
        found = {system: state for (system, place, _), state in states.items() if place == PREDICTIONS}
        for (system, _, _), state in states.items():
            if state.fault and not found.setdefault(system, state).fault:
                found[system] = replace(found[system], fault=state.fault)
        return found

    def close(self) -> None:
        """Write all that waits, settle every ticket and close the segments. Further entries are refused."""
        self._is_closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        for stream in list(self._streams.values()):
            stream.close()
        _logs.discard(self)

    def _leave(self) -> None:
        self._is_closed = True
        for stream in self._streams.values():
            stream.leave()


_logs: weakref.WeakSet[PredictionLog] = weakref.WeakSet()


def _leave_all() -> None:
    for log in list(_logs):
        log._leave()


os.register_at_fork(after_in_child=_leave_all)
