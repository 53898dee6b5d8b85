"""Takes connections from a listening socket, many at a time.

uvloop's own server takes one connection in each pass over its sockets. A pass of a server that is asked for
more than it can answer lasts as long as the slice of requests it answers, so that new clients would wait for
seconds only to be let in, and none of them could be told in time to come again.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

MAX_PER_PASS = 64
"""Connections taken before the event loop looks at the others again."""

PAUSE_SECONDS = 0.5
"""How long no connection is taken when the process may open no more files."""

GREETING_SECONDS = 10.0
"""How long a client may take to shake hands for TLS."""

_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
logger = logging.getLogger(__name__)


class Doorway:
    """Lets clients in; on the event loop's thread.

    Args:
        listener: Listens already; it stays the caller's.
        protocol: Makes the protocol of one connection.
        context: It speaks TLS if there is one.
    """

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.BaseProtocol],
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._protocol = protocol
        self._context = context
        self._coming: set[asyncio.Task[None]] = set()
        self._is_open = False
        listener.setblocking(False)

    def open(self) -> None:
        """Begin to let clients in."""
        self._is_open = True
        self._watch()

    def close(self) -> None:
        """Let nobody in any more; who was let in stays."""
        self._is_open = False
        self._loop.remove_reader(self._listener)

    def take_all(self) -> None:
        """Let in whoever waits now, however many."""
        while self._take_one():
            pass

    async def greeted(self, seconds: float) -> None:
        """Wait for those who are still shaking hands, this long at most."""
        if self._coming:
            await asyncio.wait(self._coming, timeout=seconds)

    def _watch(self) -> None:
        if self._is_open:
            self._loop.add_reader(self._listener, self._take)

    def _take(self) -> None:
        for _ in range(MAX_PER_PASS):
            if not self._take_one():
                return

    def _take_one(self) -> bool:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError):
            return False
        except ConnectionAbortedError:  # it has gone again
            return True
        except OSError as error:
            if error.errno not in _FULL:
                raise
            logger.error("no connection can be taken for %g s: %s", PAUSE_SECONDS, error.strerror)
            self._loop.remove_reader(self._listener)  # those inside may go meanwhile
            self._loop.call_later(PAUSE_SECONDS, self._watch)
            return False
        task = self._loop.create_task(self._greet(connection))
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)
        return True

    async def _greet(self, connection: socket.socket) -> None:
        patience = GREETING_SECONDS if self._context else None
        with suppress(OSError):  # it hung up, or speaks no TLS
            await self._loop.connect_accepted_socket(
                self._protocol, connection, ssl=self._context, ssl_handshake_timeout=patience
            )
