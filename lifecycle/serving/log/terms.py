"""What the log promises, when it closes a segment, and how it fares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lifecycle.core.errors import StorageError
from lifecycle.serving.log.entries import Reason

Durability = Literal["process", "power", "relaxed"]
"""When an entry is safe: from the process's death when it is answered, from a power cut, or 50 ms later."""


class UnloggedError(StorageError):
    """An entry was not logged: nothing of it stands in the log."""


@dataclass(frozen=True)
class Limits:
    """When a segment is closed and what is kept back.

    Attributes:
        segment_bytes: A segment of this size is closed.
        segment_seconds: A segment of this age is closed.
        flush_seconds: ``relaxed``: how long an entry is kept back.
        buffer_bytes: ``relaxed``: a buffer of this size is written at once.
        retry_seconds: Least time between two attempts to write when the disk refuses.
        count_seconds: How often counts of what is not logged are written.
        quick_sync_seconds: ``power``: a sync that usually takes less is waited for where it is asked for.
        count_requests: How many such requests are counted before they are written at once.
    """

    segment_bytes: int = 64 * 2**20
    segment_seconds: float = 600.0
    flush_seconds: float = 0.05
    buffer_bytes: int = 256 * 2**10
    retry_seconds: float = 1.0
    count_seconds: float = 1.0
    count_requests: int = 1000
    quick_sync_seconds: float = 0.001


@dataclass(frozen=True)
class LogState:
    """How one log fares in this process, for metrics and ``/readyz``.

    Attributes:
        system: Its system.
        entries: Entries written.
        bytes: Bytes written.
        refused: Entries that could not be written; their callers were told.
        unlogged: Requests answered and not logged, per reason.
        lag_seconds: How long the oldest entry waits to be as durable as promised, or how long the disk has
            refused; 0: neither.
        since_write_seconds: Seconds since the last write; None before the first.
        fault: Why the log cannot be written now; None if it can.
    """

    system: str
    entries: int
    bytes: int
    refused: int
    unlogged: dict[Reason, int]
    lag_seconds: float
    since_write_seconds: float | None
    fault: str | None
