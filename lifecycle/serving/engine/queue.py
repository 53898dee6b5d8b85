"""What waits for a free process. All of it is taken at once: batches grow with the load, not by waiting."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.errors import OverloadedError, StateError
from lifecycle.core.rows import Tensors

Answers = NDArray[np.float64]
Done = Callable[[Answers | Exception], None]

BATCH_ROWS = 1024
"""Rows of one batch, unless a single request has more: some 10 ms of a scikit-learn pipeline."""

WAITING_ROWS = 8 * BATCH_ROWS
"""Rows that may wait; a request that would make them more is turned away."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Waiting:
    """A request that waits.

    Attributes:
        tensors: Its rows.
        done: Takes the answers.
        loop: The event loop that asked, on whose thread ``done`` is called; None: on any.
    """

    tensors: Tensors
    done: Done
    loop: asyncio.AbstractEventLoop | None

    def answer(self, outcome: Answers | Exception) -> None:
        """Hand over the answers, or why there are none."""
        try:
            if self.loop is None:
                self.done(outcome)
            else:
                self.loop.call_soon_threadsafe(self.done, outcome)
        except Exception as error:  # noqa: BLE001 - a closed loop, or a fault of who asked: others still wait
            logger.warning("an answer could not be delivered: %s", type(error).__name__)


class RequestQueue:
    """Requests in the order they came; any thread may put and take.

    Example:
        >>> queue, rows = RequestQueue(), Tensors(np.zeros((2, 1), np.float32), np.empty((2, 0), object))
        >>> for _ in range(2):
        ...     queue.put(Waiting(rows, print, None))
        >>> [len(waiting.tensors) for waiting in queue.take(seconds=0) or ()]
        [2, 2]
    """

    def __init__(self) -> None:
        self._items: deque[Waiting] = deque()
        self._rows = 0
        self._changed = threading.Condition()
        self._closed = False
        self._fault: Exception | None = None

    def put(self, waiting: Waiting, *, bounded: bool = True) -> None:
        """Add a request.

        Args:
            waiting: The request.
            bounded: Whether it is turned away when too much waits already.

        Raises:
            OverloadedError: Too many rows wait already.
            StateError: The queue is closed.
            Exception: The fault that keeps every process from answering.
        """
        rows = len(waiting.tensors)
        with self._changed:
            if self._closed:
                raise StateError("the release was put away: nothing more may be asked of it")
            if self._fault:
                raise self._fault
            if bounded and self._rows and self._rows + rows > WAITING_ROWS:
                raise OverloadedError(
                    f"{self._rows} rows wait for scikit-learn already, at most {WAITING_ROWS} may",
                    hint="ask again in a moment, or add processes: LIFECYCLE_ESTIMATOR_WORKERS",
                )
            self._items.append(waiting)
            self._rows += rows
            self._changed.notify()

    def take(self, seconds: float) -> list[Waiting] | None:
        """Everything that waits, up to the size of a batch; empty after so many seconds; None when closed."""
        with self._changed:
            if not self._items and not self._closed:
                self._changed.wait(seconds)
            if not self._items:
                return None if self._closed else []
            batch = [self._items.popleft()]
            rows = len(batch[0].tensors)
            while self._items and rows + len(self._items[0].tensors) <= BATCH_ROWS:
                batch.append(self._items.popleft())
                rows += len(batch[-1].tensors)
            self._rows -= rows
            return batch

    def close(self) -> None:
        """Take nothing more; what waits is still answered."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait_closed(self, seconds: float) -> bool:
        """Whether it is closed, or becomes so within so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed, seconds)
            return self._closed

    def fail(self, fault: Exception | None) -> None:
        """Answer all that waits, and whatever comes, with a fault; None: it has passed."""
        with self._changed:
            self._fault = fault
            failed = list(self._items) if fault else []
            if fault:
                self._items.clear()
                self._rows = 0
        for waiting in failed:
            assert fault is not None
            waiting.answer(fault)
