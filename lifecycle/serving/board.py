"""The board of a service: one piece of memory from which all its workers read which release answers.

Each worker loads a release for itself and says so here; when every worker has, one number changes, and from
the next request on all of them answer with the new release. A worker that cannot load it says that, too, and
nothing changes.

    active      what answers, of each system: read by every request, written under the lock
    prepared    what each worker has loaded and wants: as soon as all agree, it becomes active
    records     the decision behind the active release, so that a worker started later can load the same one,
                even while the ledger is away

Numbers are 8 bytes long and aligned, which processors read and write whole, so reading needs no lock. The
lock is the kernel's (``lockf``): it ends with the process that holds it.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from lifecycle.core.errors import StateError
from lifecycle.core.values import Deployment

MAX_SEATS = 128
"""Two for each worker: one that is being replaced and its successor answer side by side."""

MAX_SYSTEMS = 256
_NAME = 200
_RECORD = 4096 - 8
_FAULT = 512


class _Record(ctypes.Structure):
    _fields_ = (("token", ctypes.c_int64), ("content", ctypes.c_char * _RECORD))


class Slot(ctypes.Structure):
    """What the board holds of one system.

    Attributes:
        active: Token of the deployment that answers; 0 before the first.
        since_ns: When it became active, by the monotonic clock that all processes of a machine share.
    """

    _fields_ = (
        ("active", ctypes.c_int64),
        ("since_ns", ctypes.c_int64),
        ("prepared", ctypes.c_int64 * MAX_SEATS),
        ("failed", ctypes.c_int64 * MAX_SEATS),
        ("fault_of", ctypes.c_int64),
        ("fault", ctypes.c_char * _FAULT),
        ("name", ctypes.c_char * _NAME),
        ("records", _Record * 2),
    )


class _Layout(ctypes.Structure):
    _fields_ = (
        ("taken", ctypes.c_int64 * MAX_SEATS),
        ("beats", ctypes.c_int64 * MAX_SEATS),
        ("slots", Slot * MAX_SYSTEMS),
    )


SIZE = ctypes.sizeof(_Layout)
"""Bytes of a board; pages that hold nothing take no memory."""


def token_of(deployment: Deployment) -> int:
    """The number by which a decision stands on the board; never 0.

    It covers the digest, too: a ledger restored from a backup may give an id again.
    """
    text = f"{deployment.id} {deployment.release.digest}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big", signed=True) or 1


class Wait(NamedTuple):
    """Others wait for a worker to load what they have loaded.

    Attributes:
        seat: Of the worker.
        token: Of the deployment.
    """

    seat: int
    token: int


class Board:
    """The memory that the workers of one service share.

    Args:
        descriptor: Of a file of ``SIZE`` bytes that the workers inherit; None for a service of one process.

    Raises:
        StateError: The board is of another version of this program.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = descriptor
        self._threads = threading.Lock()
        if descriptor is not None and os.fstat(descriptor).st_size != SIZE:
            raise StateError(
                f"the service was started by another version, whose board has not {SIZE} bytes",
                hint="restart the whole service: its workers cannot be replaced one by one",
            )
        self._layout = _Layout.from_buffer(mmap.mmap(-1 if descriptor is None else descriptor, SIZE))

    def seat(self, number: int = 0) -> Seat:
        """The place of one worker; nobody else may use its number."""
        return Seat(self, number)

    def leave(self, number: int) -> None:
        """Free the seat of a worker whose process has ended: nobody waits for it any more.

        No lock is needed: until others see it they wait a moment longer.
        """
        self._layout.taken[number] = 0

    def takes_part(self, number: int) -> bool:
        """Whether a worker answers with what is active, and is waited for."""
        return bool(self._layout.taken[number])

    def beats(self, number: int) -> int:
        """How many signs of life a worker has given."""
        return int(self._layout.beats[number])

    def waits(self) -> set[Wait]:
        """Who is waited for now; a worker that has failed to load is not: it says so and tries again."""
        found = set()
        taken = self._taken()
        for slot in self._slots():
            ready = {int(slot.prepared[seat]) for seat in taken} - {0, int(slot.active)}
            found |= {
                Wait(seat, token)
                for token in ready
                for seat in taken
                if slot.prepared[seat] != token and slot.failed[seat] != token
            }
        return found

    def _taken(self) -> list[int]:
        return [seat for seat, taken in enumerate(self._layout.taken) if taken]

    def _slots(self) -> Iterator[Slot]:
        """The slots in use; a new one is last, so the first without a name ends them."""
        for slot in self._layout.slots:
            if not slot.name:
                return
            yield slot

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._threads:
            if self._descriptor is None:
                yield
                return
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN)


class Seat:
    """One worker's place at the board.

    Args:
        board: The board.
        number: Of the seat.
    """

    def __init__(self, board: Board, number: int) -> None:
        self.number = number
        self._board = board
        self._layout = board._layout
        board.leave(number)
        with board._locked():
            for slot in board._slots():  # what the one before on this seat had prepared is gone with it
                slot.prepared[number] = slot.failed[number] = 0

    def beat(self) -> None:
        """Give a sign of life."""
        self._layout.beats[self.number] += 1

    def slot(self, system: str) -> Slot:
        """Where a system stands, made if it is new; keep it: it stays there.

        Raises:
            StateError: The board is full, or the name too long.
        """
        name = system.encode()
        with self._board._locked():
            slots: ctypes.Array[Slot] = self._layout.slots
            for slot in slots:
                if slot.name == name:
                    return slot
                if not slot.name:
                    if len(name) >= _NAME:
                        raise StateError(
                            f"the name of a system has {len(name)} bytes, at most {_NAME - 1} fit"
                        )
                    slot.name = name
                    return slot
        raise StateError(
            f"the ledger has more than {MAX_SYSTEMS} systems", hint="serve them from two projects"
        )

    def active(self) -> Iterator[Deployment]:
        """The decisions behind what answers, as far as they can be read, to be loaded before joining."""
        with self._board._locked():
            records = [
                record.content
                for slot in self._board._slots()
                for record in slot.records
                if record.token == slot.active and slot.active
            ]
        yield from map(Deployment.model_validate_json, records)

    def join(self, holds: Callable[[str, int], bool]) -> bool:
        """Take part from now on, if this worker can answer with all that is active.

        Args:
            holds: Whether a system's release is loaded here, by its token.
        """
        with self._board._locked():
            slots = [slot for slot in self._board._slots() if slot.active]
            joined = all(holds(slot.name.decode(), slot.active) for slot in slots)
            if joined:
                self._layout.taken[self.number] = 1
        return joined

    def prepare(self, slot: Slot, deployment: Deployment) -> None:
        """Say that a release is loaded here and wanted; it becomes active if all others said the same.

        Saying it again is right, and how a wait ends for a worker that has gone.
        """
        token = token_of(deployment)
        content = deployment.model_copy(update={"evidence": {}}).model_dump_json().encode()
        if len(content) > _RECORD:
            content = b""  # then a later worker needs the ledger to load it
        with self._board._locked():
            slot.prepared[self.number] = token
            slot.failed[self.number] = 0
            # Nothing is said for a worker that does not take part yet: it could not keep the promise.
            taken = self._board._taken()
            agreed = self.number in taken and all(slot.prepared[seat] == token for seat in taken)
            if agreed and slot.active != token:
                spare = slot.records[1 if slot.records[0].token == slot.active else 0]
                spare.token, spare.content = 0, content
                spare.token = token if content else 0
                slot.since_ns = time.monotonic_ns()
                slot.active = token

    def withdraw(self, slot: Slot) -> None:
        """Say that nothing is wanted here any more but what is active, until something else is prepared."""
        with self._board._locked():
            slot.prepared[self.number] = slot.failed[self.number] = 0

    def fail(self, slot: Slot, token: int, fault: str) -> None:
        """Say why a release cannot be loaded here, so that each worker can tell."""
        with self._board._locked():
            slot.failed[self.number] = slot.fault_of = token
            slot.fault = fault.encode()[:_FAULT]

    def fault(self, slot: Slot, token: int) -> str:
        """Why a worker that takes part cannot load a release; empty if none has said so.

        For people: without the lock, so a text that is just being written may be cut.
        """
        failed = slot.fault_of == token and any(slot.failed[seat] == token for seat in self._board._taken())
        return bytes(slot.fault).decode(errors="ignore") if failed else ""

    def prepared(self, slot: Slot) -> int:
        """Token of what is loaded and wanted here; 0 for nothing."""
        return int(slot.prepared[self.number])
