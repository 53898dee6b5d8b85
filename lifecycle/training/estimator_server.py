"""One estimator in a process of its own, for a process that serves and must not load scikit-learn.

    python -m lifecycle.training.estimator_server [--root PROJECT] FOLDER DESCRIPTOR

The folder is a verified release or a model folder, the descriptor one end of a socket pair. What comes is
answered in turn (``core.wire``): the first message goes out unasked and says that the estimator is loaded
and warm, or why not. The process ends when the other end is closed, even in the midst of an answer.
"""

from __future__ import annotations

import argparse
import os
import select
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifecycle.core import wire
from lifecycle.core.errors import IntegrityError, LifecycleError
from lifecycle.core.record import RecordSchema
from lifecycle.core.release import read_engine, read_schema
from lifecycle.core.rows import Tensors, encode_records
from lifecycle.core.synthetic import synthetic_records
from lifecycle.core.system import Task
from lifecycle.training.foreign import describe
from lifecycle.training.frame import answers_of
from lifecycle.training.persist import load_estimator

WARM_UP_ROWS = 2


class Estimator:
    """A loaded estimator that answers tensors.

    Args:
        model: The fitted estimator.
        schema: Of its records.
        task: What it answers.
    """

    def __init__(self, model: Any, schema: RecordSchema, task: Task) -> None:
        self._model = model
        self._schema = schema
        self._task = task

    @classmethod
    def load(cls, folder: Path) -> Estimator:
        """Load the estimator of a verified release, or of a model folder, and have it answer once.

        Raises:
            LifecycleError: It does not load, or does not answer.
        """
        choice = read_engine(folder)
        if choice is None:
            raise IntegrityError("the folder does not say which types its estimator may hold")
        schema = read_schema(folder)
        estimator = cls(load_estimator(folder, choice.trusted_types), schema, choice.task)
        reply = estimator.answer(encode_records(schema, synthetic_records(schema, WARM_UP_ROWS)))
        if isinstance(reply, str):
            raise IntegrityError(f"the estimator does not answer a made-up record: {reply}")
        return estimator

    def answer(self, tensors: Tensors) -> NDArray[np.float64] | str:
        """One answer per row, or what went wrong, without any value of a record."""
        try:
            return answers_of(self._model, self._schema, self._task, tensors)
        except Exception as error:  # noqa: BLE001 - any error of the user's estimator
            return describe(error, self._schema, tensors)


def serve(folder: Path, connection: socket.socket) -> None:
    """Load, say so, and answer until the other end is closed."""
    try:
        estimator = Estimator.load(folder)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other end must hear of it
        told = str(error) if isinstance(error, LifecycleError) else f"{type(error).__name__}: {error}"
        wire.send(connection, wire.pack_reply(told))
        return
    wire.send(connection, wire.pack_reply(np.empty(0)))
    while (message := wire.receive(connection)) is not None:
        wire.send(connection, wire.pack_reply(estimator.answer(wire.unpack_tensors(message))))


def _end_with(connection: socket.socket) -> None:
    """End this process as soon as nobody is left at the other end, whatever it is computing."""
    poller = select.poll()
    poller.register(connection, getattr(select, "POLLRDHUP", select.POLLHUP))  # the first is Linux's own
    poller.poll()
    os._exit(0)


def main() -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m lifecycle.training.estimator_server")
    parser.add_argument("--root", type=Path, help="the project, whose code the estimator may need")
    parser.add_argument("folder", type=Path)
    parser.add_argument("descriptor", type=int)
    options = parser.parse_args()
    if options.root:
        sys.path.insert(0, str(options.root))
    with socket.socket(fileno=options.descriptor) as connection:
        threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
        with suppress(BrokenPipeError, ConnectionResetError):  # nobody is left to answer
            serve(options.folder, connection)


if __name__ == "__main__":
    main()
