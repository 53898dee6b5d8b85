"""Group commit: many entries wait for one fdatasync, and are told on the event loop together."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from lifecycle.serving.log.open_segment import OpenSegment

Deliver = Callable[..., Any]
"""Runs a function with arguments where tickets are settled: ``loop.call_soon_threadsafe``."""
_RECENT = 8
"""Syncs over which the usual time is averaged."""

logger = logging.getLogger(__name__)


class Ticket:
    """An entry that is written, and on its way to the disk.

    Attributes:
        ok: None until it is known; whether the entry would survive a power cut.
    """

    __slots__ = ("_callbacks", "ok")

    def __init__(self) -> None:
        self.ok: bool | None = None
        self._callbacks: list[Callable[[bool], object]] = []

    def on_done(self, done: Callable[[bool], object]) -> None:
        """Call ``done(ok)`` on the event loop once it is known; if it is known already, here and now."""
        self._callbacks.append(done)
        if self.ok is not None:
            self._call(self.ok)

    def settle(self, ok: bool) -> None:
        """Tell whoever waits."""
        self.ok = ok
        self._call(ok)

    def _call(self, ok: bool) -> None:
        while self._callbacks:
            with suppress(IndexError):  # another thread took the last one
                self._callbacks.pop()(ok)

    def wait(self) -> bool:
        """Block until it is known; never on the event loop, which would wait for itself."""
        known = threading.Event()
        self.on_done(lambda _: known.set())
        known.wait()
        return bool(self.ok)


async def settled(ticket: Ticket) -> bool:
    """Wait for a ticket, in a task of the event loop it belongs to."""
    future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def done(ok: bool) -> None:
        if not future.done():  # the task may have been cancelled
            future.set_result(ok)

    ticket.on_done(done)
    return await future


def _settle(tickets: list[Ticket], ok: bool) -> None:
    for ticket in tickets:
        try:
            ticket.settle(ok)
        except Exception as error:  # noqa: BLE001 - one failing answer leaves its group alone
            logger.error("a logged prediction could not be answered: %s", type(error).__name__)


class GroupCommit:
    """Syncs one folder's segments: at once on a quick disk, else in a thread, for all entries that wait.

    To wake a thread and be woken by it costs more than a sync of a quarter of a millisecond; a sync of ten
    must not hold up the event loop. So it is done where it is called as long as it usually takes less than
    ``quick`` seconds.

    Args:
        lock: Held by the caller of ``commit`` and ``settle``.
        quick: See above; 0 syncs always in the thread.
        deliver: How tickets are settled.
        failed: Called with the lock held when the segment that entries wait for cannot be synced.
    """

    def __init__(
        self,
        lock: threading.Lock,
        deliver: Deliver,
        failed: Callable[[OpenSegment, OSError], None],
        quick: float,
    ) -> None:
        self._lock = lock
        self._quick = quick
        self._usual = 0.0
        self._deliver = deliver
        self._failed = failed
        self._waiting: list[Ticket] = []
        self._segment: OpenSegment | None = None
        self._is_called = False
        self._called_at = 0.0
        self._syncing_since: float | None = None
        self._calls: SimpleQueue[bool] = SimpleQueue()
        self._syncing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="lifecycle-log-commit", daemon=True)
        self._thread.start()

    def commit(self, segment: OpenSegment) -> Ticket | None:
        """Sync what was just written to a segment.

        Returns:
            None: it would survive a power cut. A ticket: it will, or it is known not to.
        """
        if self._usual < self._quick and not self._waiting and self._syncing_since is None:
            return self._sync_here(segment)
        ticket = Ticket()
        self._waiting.append(ticket)
        self._segment = segment
        if not self._is_called:
            self._is_called = True
            self._called_at = time.monotonic()
            # By way of the loop, so that all it writes in this turn joins the group: half as many groups.
            self._tell(self._calls.put, True)
        return ticket

    def _sync_here(self, segment: OpenSegment) -> Ticket | None:
        try:
            self._timed_sync(segment)
        except OSError as error:
            self._failed(segment, error)
            refused = Ticket()
            refused.settle(False)
            return refused
        return None

    def _timed_sync(self, segment: OpenSegment) -> None:
        began = time.monotonic()
        segment.sync()
        self._usual += (time.monotonic() - began - self._usual) / _RECENT

    def settle(self, segment: OpenSegment) -> None:
        """Settle all who wait for a segment, so that it can be closed."""
        with self._syncing:  # never close a descriptor that the thread is syncing
            if not self._waiting:
                return
            waiting, self._waiting = self._waiting, []
            try:
                segment.sync()
            except OSError as error:
                logger.error("the prediction log cannot be synced: %s", error.strerror)
                self._tell(_settle, waiting, False)
            else:
                self._tell(_settle, waiting, True)

    def waiting_since(self) -> list[float]:
        """Since when a group waits, and since when one that is being synced does; ``time.monotonic()``."""
        since = [self._called_at] if self._waiting else []
        return since + ([self._syncing_since] if self._syncing_since is not None else [])

    def stop(self) -> None:
        """End the thread; nobody may wait any more."""
        self._calls.put(False)
        self._thread.join()

    def _run(self) -> None:
        while self._calls.get():
            with self._lock:
                self._is_called = False
                waiting, self._waiting = self._waiting, []
                segment = self._segment
                if not waiting or segment is None:  # settled when the segment was closed
                    continue
                self._syncing_since = self._called_at
                self._syncing.acquire()
            try:
                self._timed_sync(segment)
            except OSError as error:
                self._syncing.release()
                with self._lock:
                    self._failed(segment, error)
                ok = False
            else:
                self._syncing.release()
                ok = True
            self._syncing_since = None
            self._tell(_settle, waiting, ok)

    def _tell(self, call: Callable[..., object], *arguments: object) -> None:
        try:
            self._deliver(call, *arguments)
        except RuntimeError:  # the event loop has ended, and with it whoever waited
            logger.info("an entry was committed after the event loop had ended")
