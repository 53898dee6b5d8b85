"""A process that answers as an estimator's does, without scikit-learn, and misbehaves when a row says so.

    small_estimator.py FOLDER DESCRIPTOR

A row is what to do and a number: ``ANSWER`` doubles the number, ``COUNT`` tells how many rows came together,
``DIE`` ends the process, ``DIE_ONCE`` unless it did so before, ``FAIL`` has no answer, ``SHORT`` forgets one,
and ``WAIT`` answers once the file ``go`` is there. With a file ``broken`` it does not load, with ``crash`` it
just ends. Once it is loaded there is a file ``ready-PID``.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import numpy as np

from lifecycle.core import wire
from lifecycle.core.rows import Tensors

ANSWER, COUNT, DIE, DIE_ONCE, FAIL, SHORT, WAIT = range(7)


def answer(folder: Path, tensors: Tensors) -> np.ndarray | str:
    told = set(tensors.numbers[:, 0].astype(int).tolist())
    if DIE_ONCE in told and not (folder / "died").exists():
        (folder / "died").touch()
        os._exit(1)
    if DIE in told:
        os._exit(1)
    if FAIL in told:
        return "ValueError: no such row"
    while WAIT in told and not (folder / "go").exists():
        time.sleep(0.005)
    answers = np.where(tensors.numbers[:, 0] == COUNT, len(tensors), 2 * tensors.numbers[:, 1])
    return answers[1:] if SHORT in told else answers


def main() -> None:
    folder = Path(sys.argv[1])
    with socket.socket(fileno=int(sys.argv[2])) as connection:
        if (folder / "crash").exists():
            os._exit(1)
        if (folder / "broken").exists():
            wire.send(connection, wire.pack_reply("its code is not here"))
            return
        wire.send(connection, wire.pack_reply(np.empty(0)))
        (folder / f"ready-{os.getpid()}").touch()
        while (message := wire.receive(connection)) is not None:
            wire.send(connection, wire.pack_reply(answer(folder, wire.unpack_tensors(message))))


if __name__ == "__main__":
    main()
