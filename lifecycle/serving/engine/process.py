"""One process that runs an estimator, asked one batch at a time."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lifecycle.core import wire
from lifecycle.core.errors import IntegrityError, StageError, UnavailableError
from lifecycle.core.release import SKOPS
from lifecycle.core.rows import Tensors

READY_SECONDS = 120.0
"""Longest wait for an estimator to be loaded and warm."""

ANSWER_SECONDS = 120.0
"""Longest wait for the answers to one batch; then the process is taken for stuck, and ended."""

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""As in training: the order in which threads add up changes the last bits. Cores are used by processes."""


class ProcessDiedError(UnavailableError):
    """The process ended while it answered."""


class EstimatorProcess:
    """A process with an estimator; it ends when this one does, for whatever reason.

    Not to be used by two threads at once.

    Args:
        command: Runs an estimator; it is given the folder and a descriptor.
        folder: A verified release, or a model folder.
    """

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._command = [*command, str(folder)]
        self._name = folder.name[:12]
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        """Of the process, if it was started."""
        return self._process.pid if self._process else None

    @property
    def lives(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, without waiting for it to be of use."""
        self.end()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [*self._command, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,  # an estimator that prints must not be taken for the server
                    pass_fds=(theirs.fileno(),),
                    env={**os.environ, **_ONE_THREAD},
                    start_new_session=True,  # Ctrl-C is for the server: it ends this one when it has drained
                )
            except OSError as error:
                ours.close()
                raise UnavailableError(
                    f"cannot start a process for {SKOPS} of {self._name}: {error.strerror}",
                    hint="look at the memory and the limit of processes of this machine",
                ) from error
        self._connection = ours

    def wait_until_ready(self) -> None:
        """Return once the estimator is loaded and warm.

        Raises:
            IntegrityError: It does not load; its own words say why.
            UnavailableError: Its process ended, or took too long.
        """
        try:
            reply = self._exchange(None, READY_SECONDS)
        except ProcessDiedError:
            raise UnavailableError(
                f"the process for {SKOPS} of {self._name} ended before it was ready",
                hint="look at its last words in the server's log, and at the memory of this machine",
            ) from None
        if isinstance(reply, str):
            self.end()
            raise IntegrityError(f"{SKOPS} of {self._name} does not load: {reply}")

    def ask(self, tensors: Tensors) -> NDArray[np.float64]:
        """One answer per row; the process is started first if it does not run.

        Raises:
            ProcessDiedError: It ended while it answered.
            UnavailableError: It cannot be started, or does not answer in time.
            StageError: The estimator fails on these rows.
            IntegrityError: It does not give one answer per row.
        """
        if not self.lives:
            self.start()
            self.wait_until_ready()
        reply = self._exchange(wire.pack_tensors(tensors), ANSWER_SECONDS)
        if isinstance(reply, str):
            raise StageError(
                f"the estimator fails: {reply}", hint="mend its predict, and train again; or roll back"
            )
        if len(reply) != len(tensors):
            raise IntegrityError(f"the estimator gave {len(reply)} answers for {len(tensors)} rows")
        return reply

    def _exchange(self, message: bytes | None, seconds: float) -> NDArray[np.float64] | str:
        """Send a message, if there is one, and hear the reply."""
        assert self._connection is not None
        self._connection.settimeout(seconds)
        try:
            if message is not None:
                wire.send(self._connection, message)
            reply = wire.receive(self._connection)
        except TimeoutError:
            self.end()
            raise UnavailableError(
                f"the process for {SKOPS} of {self._name} took over {seconds:.0f} s to answer and was ended",
                hint="its predict hangs or is too slow: ask fewer rows at once, or train a faster model",
            ) from None
        except ConnectionError:
            reply = None
        if reply is None:
            self.end()
            raise ProcessDiedError(
                f"the process for {SKOPS} of {self._name} ended while it answered",
                hint="look for a crash or a lack of memory in the log of the machine",
            )
        return wire.unpack_reply(reply)

    def end(self) -> None:
        """End it, at once."""
        if self._connection:
            self._connection.close()
            self._connection = None
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None
