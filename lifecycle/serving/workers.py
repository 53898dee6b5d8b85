"""The parent of a service of several workers: starts them, watches them, replaces them one after the other.

It opens one listening socket for each worker and keeps it, so that connections wait for a worker that is
being restarted and none is refused. It answers nothing itself, and reads no release.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import tempfile
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from lifecycle.core.errors import UnavailableError
from lifecycle.serving.board import SIZE, Board, Wait
from lifecycle.serving.process import (
    GRACE_SECONDS,
    RETIRE,
    Manner,
    Place,
    listen,
    log_to_stderr,
    print_address,
)

START_SECONDS = 60.0
"""How long a worker may take until it takes connections."""

HUNG_ROUNDS = 30
"""A worker whose event loop gives no sign of life for this many looks, a second apart, is killed."""

LATE_ROUNDS = 60
"""One that others wait for, for this many looks, is replaced."""

MAX_BACKOFF = 10.0
"""Longest pause before a worker that keeps dying is started again, seconds."""

SETTLED_SECONDS = 30.0
"""A worker that lived this long did not die of its start."""

_STDERR = 2
logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _Worker:
    """One worker process.

    Attributes:
        process: It.
        slot: Which listener it has.
        seat: Its seat at the board.
        reader, writer: The socket to it.
        born: When it was started, by the event loop's clock.
        beats: Signs of life it had given at the last look, and for how many looks it has given no other.
    """

    process: asyncio.subprocess.Process
    slot: int
    seat: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    born: float
    beats: tuple[int, int] = (0, 0)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still there.

        Not through ``process``, which would look for its end first and take its exit code from asyncio.
        """
        with suppress(ProcessLookupError):
            if self.process.returncode is None:
                os.kill(self.process.pid, number)


class Workers:
    """A service of several workers.

    SIGTERM and SIGINT drain all of them and end; SIGHUP replaces them one after the other, each only once
    its successor takes connections.

    Args:
        command: Starts a worker, given a ``Place`` as one more argument.
        count: How many.
        environment: Of the workers.
        manner: How the service listens and ends.
    """

    def __init__(
        self, command: Sequence[str], count: int, environment: Mapping[str, str], manner: Manner
    ) -> None:
        self._command = command
        self._count = count
        self._environment = environment
        self._manner = manner
        self._end_seconds = manner.drain_seconds + GRACE_SECONDS + 3
        self._current: dict[int, _Worker] = {}
        self._all: set[_Worker] = set()
        self._ending = asyncio.Event()
        self._hung_up = asyncio.Event()

    def run(self, host: str, port: int) -> None:
        """Serve until SIGTERM or SIGINT.

        Prints the one line of ``run_server`` once every worker takes connections.

        Args:
            host: Address to listen on.
            port: 0 takes a free one.

        Raises:
            ConfigError: The port is in use or not allowed, or a TLS file cannot be read.
            UnavailableError: A worker did not start.
        """
        self._manner.check()
        log_to_stderr()
        listeners = listen(host, port, self._count)
        with tempfile.TemporaryFile() as file:
            file.truncate(SIZE)
            self._listeners, self._board_file = listeners, file.fileno()
            self._board = Board(file.fileno())
            asyncio.run(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ending.set)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up.set)
        self._locks = [asyncio.Lock() for _ in range(self._count)]
        tasks: list[asyncio.Task[None]] = []
        try:
            if await self._unless_ending(self._start_all()):
                print_address(self._listeners[0], self._manner)
                keepers = [self._keep(slot) for slot in range(self._count)]
                jobs = [self._replace_at_hangup(), self._look_after(), *keepers]
                tasks = [loop.create_task(job) for job in jobs]
                ended = loop.create_task(self._ending.wait())
                await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            await self._end_all()
        for fault in found:
            if isinstance(fault, Exception):
                raise fault

    async def _unless_ending(self, job: Coroutine[None, None, None]) -> bool:
        """Do something; whether it was done before the service was told to end."""
        task, ending = asyncio.create_task(job), asyncio.create_task(self._ending.wait())
        await asyncio.wait([task, ending], return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        if task.done():
            await task
            return True
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return False

    async def _start_all(self) -> None:
        workers = [await self._spawn(slot) for slot in range(self._count)]
        for worker in workers:
            self._current[worker.slot] = worker
        if not all(await asyncio.gather(*map(self._accepts, workers))):
            raise UnavailableError(
                "a worker of the prediction service did not start",
                hint="what it said stands above; lifecycle serve --workers 1 runs one alone",
            )

    async def _spawn(self, slot: int) -> _Worker:
        before = self._current.get(slot)
        seat = slot + self._count if before and before.seat == slot else slot
        ours, its = socket.socketpair()
        with its:
            place = Place(
                listener=self._listeners[slot].fileno(),
                board=self._board_file,
                control=its.fileno(),
                seat=seat,
                slot=slot,
            )
            process = await asyncio.create_subprocess_exec(
                *self._command,
                place.as_json(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=_STDERR,
                env=self._environment,
                pass_fds=(place.listener, place.board, place.control),
                process_group=0,  # Ctrl-C is told to the parent alone
            )
        reader, writer = await asyncio.open_connection(sock=ours)
        worker = _Worker(process, slot, seat, reader, writer, asyncio.get_running_loop().time())
        self._all.add(worker)
        return worker

    async def _accepts(self, worker: _Worker) -> bool:
        """Wait until a worker takes connections; whether it does, in time."""
        try:
            async with asyncio.timeout(START_SECONDS):
                return bool(await worker.reader.read(1))
        except TimeoutError:
            logger.error("worker %d took no connections within %g s", worker.process.pid, START_SECONDS)
        except ConnectionError:
            pass
        return False

    async def _ended(self, worker: _Worker) -> int:
        """Wait for the end of a worker, and free what it had."""
        code = await worker.process.wait()
        self._board.leave(worker.seat)
        worker.writer.close()
        self._all.discard(worker)
        return code

    async def _keep(self, slot: int) -> None:
        """Start a worker again whenever it ends unasked, later each time if it keeps doing so."""
        loop, deaths = asyncio.get_running_loop(), 0
        while True:
            worker = self._current[slot]
            code = await self._ended(worker)
            async with self._locks[slot]:
                if self._current[slot] is not worker:
                    continue  # it was replaced
                deaths = 0 if loop.time() - worker.born > SETTLED_SECONDS else deaths + 1
                pause = min(0.1 * 2 ** (deaths - 2), MAX_BACKOFF) if deaths > 1 else 0.0
                logger.error("worker %d ended with %d; another in %.1f s", worker.process.pid, code, pause)
                await asyncio.sleep(pause)
                self._current[slot] = await self._spawn(slot)
            if not await self._accepts(self._current[slot]):
                self._current[slot].signal(signal.SIGKILL)

    async def _replace(self, slot: int) -> bool:
        """Replace a worker by a successor that answers with the same; whether it was."""
        async with self._locks[slot]:
            successor, old = await self._spawn(slot), self._current[slot]
            if not await self._accepts(successor) or not self._board.takes_part(successor.seat):
                logger.error("worker %d stays: its successor does not get ready", old.process.pid)
                successor.signal(signal.SIGKILL)
                await self._ended(successor)
                return False
            self._current[slot] = successor
        with suppress(ConnectionError):
            old.writer.write(RETIRE)
            await old.writer.drain()
        try:
            async with asyncio.timeout(self._end_seconds):
                await old.process.wait()
        except TimeoutError:
            old.signal(signal.SIGKILL)
        logger.info("worker %d was replaced by %d", old.process.pid, successor.process.pid)
        return True

    async def _replace_at_hangup(self) -> None:
        while True:
            await self._hung_up.wait()
            self._hung_up.clear()
            for slot in range(self._count):
                if not await self._replace(slot):
                    break  # whatever is wrong with it would be wrong with the next

    async def _look_after(self) -> None:
        """Kill workers that hang, and replace those that keep the others waiting."""
        waited: dict[Wait, int] = {}
        while True:
            await asyncio.sleep(1)
            for worker in [*self._current.values()]:
                beats, looks = self._board.beats(worker.seat), worker.beats[1] + 1
                worker.beats = (beats, 0 if beats != worker.beats[0] else looks)
                if worker.beats[1] > HUNG_ROUNDS and self._board.takes_part(worker.seat):
                    logger.error("worker %d hangs: it is killed", worker.process.pid)
                    worker.signal(signal.SIGKILL)
            waited = {wait: waited.get(wait, 0) + 1 for wait in self._board.waits()}
            late = {wait.seat for wait, looks in waited.items() if looks > LATE_ROUNDS}
            for worker in [it for it in self._current.values() if it.seat in late]:
                logger.error("worker %d keeps the others waiting: it is replaced", worker.process.pid)
                await self._replace(worker.slot)
                waited.clear()

    async def _end_all(self) -> None:
        for listener in self._listeners:  # from now on it is the worker that closes a queue, when it is empty
            listener.close()
        for worker in self._all:
            worker.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self._end_seconds):
                await asyncio.gather(*map(self._ended, [*self._all]))
        except TimeoutError:
            logger.error("%d workers did not end in time and are killed", len(self._all))
            for worker in self._all:
                worker.signal(signal.SIGKILL)
            await asyncio.gather(*map(self._ended, [*self._all]))
