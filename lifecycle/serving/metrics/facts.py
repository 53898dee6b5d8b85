"""What a worker knows beside its counters: how things stand at one moment."""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

import msgspec


class ReleaseFact(msgspec.Struct, frozen=True):
    """A release that answers.

    Attributes:
        system: Name of the system.
        release: Its digest, shortened.
        version: Its registered version.
        since: When it was decided that it should, seconds since 1970.
        share: Of the traffic.
    """

    system: str
    release: str
    version: str
    since: float
    share: str = "champion"


class SystemFact(msgspec.Struct, frozen=True):
    """How a system stands in this worker.

    Attributes:
        system: Name of the system.
        waiting: Whether the ledger wants another release than the one that answers.
        faulty: Whether that release failed to be fetched, verified, loaded or warmed up.
        log_lag: Age of the oldest entry that is not yet as durable as promised, seconds; 0: none.
        log_failing: Whether the prediction log cannot be written.
        last_switch: How long the last switch took, seconds; None if there was none.
    """

    system: str
    waiting: bool = False
    faulty: bool = False
    log_lag: float = 0.0
    log_failing: bool = False
    last_switch: float | None = None


class Facts(msgspec.Struct, frozen=True):
    """How things stand in one worker.

    Attributes:
        in_flight: Requests being answered.
        queued: Requests waiting for their turn.
        ledger_reachable: Whether the ledger could be read the last time.
        ledger_age: Seconds since it was; None if it never was.
        releases: What answers.
        systems: Every system that the ledger knows.
    """

    in_flight: int = 0
    queued: int = 0
    ledger_reachable: bool = False
    ledger_age: float | None = None
    releases: tuple[ReleaseFact, ...] = ()
    systems: tuple[SystemFact, ...] = ()


class ProcessFact(msgspec.Struct, frozen=True):
    """What this process uses.

    Attributes:
        cpu: Processor time, user and system, seconds.
        memory: Resident memory, bytes.
        started: When it began, seconds since 1970.
    """

    cpu: float
    memory: int
    started: float


def process_fact(started: float) -> ProcessFact:
    """What this process uses now; where there is no ``/proc``, memory is the most it ever used."""
    return ProcessFact(cpu=time.process_time(), memory=_memory(), started=started)


def _memory() -> int:
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
