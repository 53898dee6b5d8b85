"""A model that scikit-learn answers, in processes of its own: this one never loads scikit-learn.

A request goes to a process that is free. While all are busy requests wait, and the first process to be free
takes them together: one call of scikit-learn costs milliseconds whether it is asked one row or a hundred.
Nobody waits for a batch to fill. A process that dies is started again, and what it was asked is asked once
more, each request alone, so that only the one at fault fails.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np

from lifecycle.core.errors import LifecycleError
from lifecycle.core.machine import cores
from lifecycle.core.rows import Tensors
from lifecycle.serving.engine.process import EstimatorProcess, ProcessDiedError
from lifecycle.serving.engine.queue import BATCH_ROWS, Answers, Done, RequestQueue, Waiting

IDLE_SECONDS = 0.5
"""How often an idle process is looked at."""

MAX_BACKOFF = 60.0
"""Longest wait before a process that does not start is tried again, seconds."""

logger = logging.getLogger(__name__)


class EstimatorPool:
    """An engine over several processes; they end when it is closed or nobody holds it any more.

    Answers depend on how requests are batched no more than the estimator's do: not at all for trees, in the
    last bits for matrix products.

    Args:
        processes: Ready ones.
    """

    inline = False

    def __init__(self, processes: Sequence[EstimatorProcess]) -> None:
        self._queue = RequestQueue()
        crew = _Crew(self._queue, processes)
        self._threads = crew.start()
        # The threads hold the queue and not this engine, so they end when the last request lets go of it.
        weakref.finalize(self, self._queue.close)

    def predict(self, tensors: Tensors) -> Answers:
        """One answer per row; many rows are shared among the processes.

        Args:
            tensors: The packed inputs, ``[rows, ...]``.

        Returns:
            float64 ``[rows]``: the value (regression) or the probability of 1 (classification).

        Raises:
            StageError: The estimator fails on these rows.
            UnavailableError: No process answers.
        """
        parts: list[Future[Answers]] = []
        for start in range(0, len(tensors), BATCH_ROWS):
            part: Future[Answers] = Future()
            rows = tensors.take(slice(start, start + BATCH_ROWS))
            self._queue.put(Waiting(rows, _settle(part), None), bounded=False)
            parts.append(part)
        return np.concatenate([np.empty(0), *(part.result() for part in parts)])

    def submit(self, tensors: Tensors, done: Done) -> None:
        """Ask without waiting; ``done`` is called on the thread of the event loop that runs here.

        Without a running loop it is called on a thread of this engine.

        Raises:
            OverloadedError: Too many rows wait already.
            UnavailableError: No process answers.
        """
        if not len(tensors):
            done(np.empty(0))
            return
        self._queue.put(Waiting(tensors, done, _running_loop()))

    def close(self) -> None:
        """Answer what waits, then end the processes."""
        self._queue.close()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()


class _Crew:
    """The threads that ask the processes, one each."""

    def __init__(self, queue: RequestQueue, processes: Sequence[EstimatorProcess]) -> None:
        self._queue = queue
        self._processes = processes
        self._down: set[EstimatorProcess] = set()
        self._lock = threading.Lock()

    def start(self) -> list[threading.Thread]:
        threads = [
            threading.Thread(target=self._work, args=(process,), name=f"estimator-{i}", daemon=True)
            for i, process in enumerate(self._processes)
        ]
        for thread in threads:
            thread.start()
        return threads

    def _work(self, process: EstimatorProcess) -> None:
        """Answer batches until the queue is closed and empty."""
        failures = 0
        while True:
            if not process.lives:
                failures = 0 if self._revive(process) else failures + 1
                if failures and self._queue.wait_closed(min(IDLE_SECONDS * 2**failures, MAX_BACKOFF)):
                    break
                if failures:
                    continue
            batch = self._queue.take(IDLE_SECONDS)
            if batch is None:
                break
            if batch:
                _serve(process, batch)
            del batch  # its requests may be the last to hold the engine
        process.end()

    def _revive(self, process: EstimatorProcess) -> bool:
        """Start a process again; if that fails and no other runs, nothing can be answered."""
        try:
            process.start()
            process.wait_until_ready()
        except LifecycleError as error:
            logger.warning("%s", error.message)
            with self._lock:
                self._down.add(process)
                if len(self._down) == len(self._processes):
                    self._queue.fail(error)
            return False
        logger.info("a process of scikit-learn was started again")
        with self._lock:
            self._down.discard(process)
            self._queue.fail(None)
        return True


def load_pool(folder: Path, command: Sequence[str], workers: int | None = None) -> EstimatorPool:
    """Start the processes of a model folder, all at once, and wait until each is loaded and warm.

    Args:
        folder: A verified release, or a model folder.
        command: Runs an estimator; it is given the folder and a descriptor.
        workers: How many processes; one a core, if None.

    Raises:
        IntegrityError: The estimator does not load.
        UnavailableError: A process does not start.
    """
    processes = [EstimatorProcess(command, folder) for _ in range(workers or cores())]
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.wait_until_ready()
    except BaseException:
        for process in processes:
            process.end()
        raise
    return EstimatorPool(processes)


def _serve(process: EstimatorProcess, batch: Sequence[Waiting]) -> None:
    """Answer a batch: together, or each request alone if that fails."""
    outcome = _ask(process, batch)
    if not isinstance(outcome, Exception):
        ends = np.cumsum([len(waiting.tensors) for waiting in batch])[:-1]
        for waiting, answers in zip(batch, np.split(outcome, ends), strict=True):
            waiting.answer(answers)
    elif len(batch) == 1 and not isinstance(outcome, ProcessDiedError):
        batch[0].answer(outcome)
    else:
        # A prediction changes nothing, so it may be asked again.
        for waiting in batch:
            waiting.answer(_ask(process, [waiting]))


def _ask(process: EstimatorProcess, batch: Sequence[Waiting]) -> Answers | Exception:
    try:
        return process.ask(_joined([waiting.tensors for waiting in batch]))
    except Exception as error:  # noqa: BLE001 - whoever asked must hear of it, and the thread goes on
        return error


def _joined(parts: Sequence[Tensors]) -> Tensors:
    if len(parts) == 1:
        return parts[0]
    return Tensors(
        np.concatenate([part.numbers for part in parts]),
        np.concatenate([part.categories for part in parts]),
    )


def _settle(part: Future[Answers]) -> Done:
    def done(outcome: Answers | Exception) -> None:
        if isinstance(outcome, Exception):
            part.set_exception(outcome)
        else:
            part.set_result(outcome)

    return done


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
