"""What is received about people is overwritten where it was received.

The event loop receives every request into one buffer, which is never freed: whatever came last stays there.
Here the buffer is ours.
"""

from __future__ import annotations

import asyncio

_RECEIVED = bytearray(256 * 1024)
_ROOM = memoryview(_RECEIVED)
_BLANK = memoryview(bytes(len(_RECEIVED)))


class WipedProtocol(asyncio.BufferedProtocol):
    """Hands on what is received, and overwrites where it was received.

    Args:
        inner: What it is for.
    """

    def __init__(self, inner: asyncio.Protocol) -> None:
        self._receive = inner.data_received
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
            self._receive(bytes(_ROOM[:nbytes]))
        finally:
            _ROOM[:nbytes] = _BLANK[:nbytes]
