"""Memory of a process that answers for months: what stays is left alone, what is freed is given back."""

from __future__ import annotations

import ctypes
import gc


def keep() -> None:
    """Take everything that is there for ever out of the garbage collector's sight.

    A full collection looks at every object and stops all threads meanwhile: 20 ms for the libraries of a
    server, in the midst of loading the next release.
    """
    gc.collect()
    gc.freeze()


def give_back() -> None:
    """Return what was freed; takes a few milliseconds, during which other threads go on.

    A model that is loaded needs a third more than it keeps, and one that was let go needs nothing: without
    this a process stays as large as it ever was. glibc does it when asked; elsewhere nothing happens.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
