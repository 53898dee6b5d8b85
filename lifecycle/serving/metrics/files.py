"""How workers share their counters: each in a file of its own, those of the dead in one file together."""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from lifecycle.serving.metrics.counts import Counts, LogCounts, SwitchCounts
from lifecycle.serving.metrics.facts import Facts, ProcessFact
from lifecycle.serving.metrics.minute import Tally

PATIENCE = 2.0
"""Longest wait for another worker that reads or adds up, seconds."""

_Counter = TypeVar("_Counter", Counts, LogCounts, SwitchCounts)
_File = TypeVar("_File")
_PAST = "past.json"
_LOCK = "lock"
logger = logging.getLogger(__name__)


class Totals(msgspec.Struct):
    """Counters that can be added to others of their kind."""

    counts: list[Counts] = msgspec.field(default_factory=list)
    logs: list[LogCounts] = msgspec.field(default_factory=list)
    switches: list[SwitchCounts] = msgspec.field(default_factory=list)

    def add(self, other: Totals) -> None:
        """Add what another process counted."""
        _add(self.counts, other.counts)
        _add(self.logs, other.logs)
        _add(self.switches, other.switches)


def _add(into: list[_Counter], others: list[_Counter]) -> None:
    known = {each.key: each for each in into}
    for other in others:
        if (same := known.get(other.key)) is not None:
            same.add(other)
        else:
            into.append(other)


class Published(msgspec.Struct):
    """What one worker tells the others.

    Attributes:
        worker: Its name, in the labels of what cannot be summed.
        at: When, by the machine's monotonic clock, seconds.
        totals: Its counters since it began.
        minute: What each system did in the last minute.
        facts: How things stand.
        process: What it uses.
        layout: Of this file; a file of another layout is not read.
    """

    worker: str
    at: float
    totals: Totals
    minute: dict[str, Tally]
    facts: Facts
    process: ProcessFact
    layout: Literal[1] = 1


class _Past(msgspec.Struct):
    """The counters of all processes that are gone.

    Attributes:
        totals: Their sum.
        names: Whose files were added last; if they are still there, they are not added again.
        layout: Of this file.
    """

    totals: Totals = msgspec.field(default_factory=Totals)
    names: list[str] = msgspec.field(default_factory=list)
    layout: Literal[1] = 1


class Folder:
    """The folder through which the workers of one machine share what they count.

    A worker holds a lock on ``<name>.alive`` as long as it lives, which the kernel frees however it ends, and
    replaces ``<name>.json`` whole. Whoever finds the lock free adds that file to ``past.json`` and removes
    it, while all others wait: so a counter is at every moment in exactly one place, and no sum ever falls.

    Args:
        path: The folder; made if it is not there.

    Raises:
        OSError: It cannot be made or written, or another process holds its lock for too long.
    """

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        with self._held():  # nobody may find the file before it is locked
            self._alive = os.open(self._file("alive"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._alive, fcntl.LOCK_EX)

    def publish(self, content: bytes) -> None:
        """Replace what this worker tells: JSON of ``Published``.

        Raises:
            OSError: It cannot be written; what stood there before still stands.
        """
        draft = self._file("draft")
        draft.write_bytes(content)
        draft.replace(self._file("json"))

    def read(self) -> tuple[list[Published], Totals]:
        """What the other living workers tell, and the counters of all that are gone.

        Raises:
            OSError: The folder cannot be read, or another process holds its lock for too long.
        """
        with self._held():
            past, others, dead = self._past(), [], []
            for alive in sorted(self._path.glob("*.alive")):
                if alive.stem == self._name:
                    continue
                if _is_dead(alive):
                    dead.append(alive.stem)
                elif told := _read(alive.with_suffix(".json"), Published):
                    others.append(told)
            if dead:
                past = self._fold(past, dead)
            return others, past.totals

    def close(self) -> None:
        """Leave: whoever reads next adds this worker's file to the past."""
        os.close(self._alive)

    def _fold(self, past: _Past, dead: list[str]) -> _Past:
        for name in dead:
            told = _read(self._path / f"{name}.json", Published)
            if told and name not in past.names:
                past.totals.add(told.totals)
        past.names = dead
        draft = self._path / "past.draft"
        with draft.open("wb") as stream:
            stream.write(msgspec.json.encode(past))
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self._path / _PAST)
        for name in dead:
            for kind in ("json", "draft", "alive"):
                (self._path / f"{name}.{kind}").unlink(missing_ok=True)
        return past

    def _past(self) -> _Past:
        return _read(self._path / _PAST, _Past) or _Past()

    def _file(self, kind: str) -> Path:
        return self._path / f"{self._name}.{kind}"

    @contextmanager
    def _held(self) -> Iterator[None]:
        lock = os.open(self._path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            end = time.monotonic() + PATIENCE
            while not _try_lock(lock):
                if time.monotonic() > end:
                    raise TimeoutError(f"{self._path / _LOCK} was held for {PATIENCE} s by another process")
                time.sleep(0.005)
            yield
        finally:
            os.close(lock)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_dead(alive: Path) -> bool:
    descriptor = os.open(alive, os.O_RDWR | os.O_CLOEXEC)
    try:
        return _try_lock(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path, kind: type[_File]) -> _File | None:
    """A file's content; None if there is none, or if it is damaged or of another layout, which is told."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, ValueError) as error:
        logger.warning("%s cannot be read, its counters are lost: %s", path, type(error).__name__)
        return None
