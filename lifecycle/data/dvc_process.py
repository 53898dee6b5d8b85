"""The child process behind ``lifecycle.data.dvc``: reads requests line by line, answers line by line.

It ends itself, and every stage it runs, as soon as the flow that started it is gone: the end of its input
says so, even after ``kill -9``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from queue import SimpleQueue
from threading import Thread
from typing import IO


def main() -> None:
    """Serve requests until told to close."""
    requests, answers = _private_streams()
    queue: SimpleQueue[bytes] = SimpleQueue()
    Thread(target=_listen, args=(requests, queue), daemon=True).start()
    # Imported only now: it takes a second, in which the flow may already be gone.
    from lifecycle.data.dvc import DvcPlace
    from lifecycle.data.dvc_operations import answer

    place = DvcPlace(**json.loads(sys.argv[1]))
    while (request := json.loads(queue.get()))["do"] != "close":
        answers.write(json.dumps(answer(place, request)).encode() + b"\n")
        answers.flush()
    os._exit(0)  # every request closed what it opened; taking the interpreter down takes 0.2 s more


def _private_streams() -> tuple[IO[bytes], IO[bytes]]:
    """Keep the two pipes for ourselves; what DVC and its stages print goes to the log, on stderr."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a device, not a path of ours
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return requests, answers


def _listen(requests: IO[bytes], queue: SimpleQueue[bytes]) -> None:
    for line in requests:
        queue.put(line)
        if json.loads(line)["do"] == "close":
            return
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    main()
