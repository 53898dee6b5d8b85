"""Run a flow, and die by SIGKILL as soon as one method has done its work: `killed.py METHOD NTH FLOW ...`.

A real process dies a real death; no room knows that it can happen.
"""

from __future__ import annotations

import os
import signal
import sys
from pydoc import locate


def die_after(path: str, calls: int) -> None:
    """Make a method kill its process at the end of its n-th call."""
    owner, _, name = path.rpartition(".")
    kind = locate(owner)
    original = getattr(kind, name)
    seen = 0

    def method(*arguments, **keywords):
        nonlocal seen
        result = original(*arguments, **keywords)
        seen += 1
        if seen == calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(kind, name, method)


if __name__ == "__main__":
    die_after(sys.argv[1], int(sys.argv[2]))
    from lifecycle.cli import main

    main(sys.argv[3:])
