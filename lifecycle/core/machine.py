"""What this machine has."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def cores() -> int:
    """Cores that this process may use; at least 1.

    Example:
        >>> cores() >= 1
        True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def at_most(wanted: int | None) -> Iterator[int]:
    """Keep this process, with all its threads, to so many cores for a while; yields how many it has then.

    Where the system cannot do that, or has fewer, it yields what there is.

    Args:
        wanted: How many; None for all that there are.

    Example:
        >>> with at_most(1) as found:
        ...     found == cores() or not hasattr(os, "sched_setaffinity")
        True
    """
    there = cores()
    if wanted is None or wanted >= there or not hasattr(os, "sched_setaffinity"):
        yield there
        return
    before = os.sched_getaffinity(0)
    try:
        _keep_to(set(sorted(before)[:wanted]))
        yield wanted
    finally:
        _keep_to(before)


def _keep_to(allowed: set[int]) -> None:
    """Threads that are started later are kept to the same cores as the one that starts them."""
    for thread in threading.enumerate():
        with suppress(OSError):  # it has ended
            os.sched_setaffinity(thread.native_id or 0, allowed)
