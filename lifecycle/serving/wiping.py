"""Memory that held what people were asked about: overwritten as soon as it is free.

Python and the allocator below it leave freed memory as it is, until something else is put there: a core dump,
or whoever may read the process, would find names hours later. glibc overwrites what it frees if asked at the
start of a process, and Python if it takes all its memory from there. What the event loop receives into is
one buffer that is never freed; it is ours here, and overwritten after each piece. That costs a tenth of the
throughput, so only services that may be asked about people do it.

What a process holds meanwhile, a request that is being answered, is in its memory. Elsewhere than on Linux
with glibc nothing is overwritten.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

_TUNABLES = "GLIBC_TUNABLES"
# Any byte will do. Chunks that a thread keeps for itself would not be overwritten: it keeps none.
_OVERWRITE = "glibc.malloc.perturb=165:glibc.malloc.tcache_count=0"
_RECEIVED = bytearray(256 * 1024)
_ROOM = memoryview(_RECEIVED)
_ZEROS = bytes(len(_RECEIVED))


def wiping(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables with which a process overwrites what it frees.

    Example:
        >>> wiping({"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"})["GLIBC_TUNABLES"]
        'glibc.malloc.arena_max=2:glibc.malloc.perturb=165:glibc.malloc.tcache_count=0'
    """
    given = environment.get(_TUNABLES, "")
    return {"PYTHONMALLOC": "malloc", _TUNABLES: f"{given}:{_OVERWRITE}".lstrip(":")}


def is_wiping(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process was started with them."""
    return _OVERWRITE in environment.get(_TUNABLES, "")


class WipedProtocol(asyncio.BufferedProtocol):
    """Hands on what is received, and overwrites where it was received.

    Args:
        inner: What it is for.
    """

    def __init__(self, inner: asyncio.Protocol) -> None:
        self._inner = inner
        self.connection_made = inner.connection_made  # type: ignore[method-assign]
        self.connection_lost = inner.connection_lost  # type: ignore[method-assign]
        self.pause_writing = inner.pause_writing  # type: ignore[method-assign]
        self.resume_writing = inner.resume_writing  # type: ignore[method-assign]
        self.eof_received = inner.eof_received  # type: ignore[method-assign]

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - as it is called
        """Where to receive the next piece: one place for all connections, as each piece is taken at once."""
        return _ROOM

    def buffer_updated(self, nbytes: int) -> None:
        """A piece has come."""
        try:
            self._inner.data_received(bytes(_ROOM[:nbytes]))
        finally:
            _ROOM[:nbytes] = _ZEROS[:nbytes]
