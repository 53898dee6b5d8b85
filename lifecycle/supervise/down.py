"""Taking a stack down, whatever state it is in."""

from __future__ import annotations

import contextlib
import shutil
import time

from lifecycle.core.errors import UnavailableError
from lifecycle.core.settings import Settings
from lifecycle.supervise.daemon import control, process_table, remove_socket
from lifecycle.supervise.processes import LOOK_SECONDS, sweep
from lifecycle.supervise.state import Stack, read_stack, run_folder


def down(settings: Settings) -> int:
    """End every process of the stack; leave no process, socket or pid file.

    Services are asked politely and one after the other, the last one first. Then whatever still carries the
    stack's mark is ended: runs of flows, orphans of a crash, a supervisord that no longer answers.

    Returns:
        How many processes were ended; 0 if there was nothing to do.
    """
    stack = read_stack(settings)
    ended = 0
    if stack is not None and stack.alive:
        ended = _shut_down(stack)
    ended += sweep(settings.state, stack.pid if stack else 0, grace=3)
    if stack is not None:
        remove_socket(settings, stack)
    shutil.rmtree(run_folder(settings), ignore_errors=True)
    return ended


def _shut_down(stack: Stack) -> int:
    """Let supervisord stop the services and end itself; the processes that were up."""
    try:
        running = [process for process in process_table(stack).values() if process["pid"]]
        with control(stack) as supervisor:
            supervisor.shutdown()
    except UnavailableError:
        return 0  # it hangs or is ending: the sweep does without it
    deadline = time.monotonic() + sum(service.grace + 1 for service in stack.services)
    while stack.alive and time.monotonic() < deadline:
        # It sees which services have ended once a second, and whenever it is asked something.
        with contextlib.suppress(UnavailableError):
            process_table(stack)
        time.sleep(LOOK_SECONDS)
    return len(running) + 1
