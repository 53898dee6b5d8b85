"""Memory that was freed goes back to the system: left to itself, the C library keeps it for later."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Return what was freed; takes a few milliseconds, during which other threads go on.

    A model that is loaded needs a third more than it keeps, and one that was let go needs nothing: without
    this a process stays as large as it ever was. glibc does it when asked; elsewhere nothing happens.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
