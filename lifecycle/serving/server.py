"""One process that answers on one socket, and ends without losing a request."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from lifecycle.core.wiping import is_wiping
from lifecycle.serving import memory
from lifecycle.serving.doorway import Doorway
from lifecycle.serving.lane import DRAINING, FastLane
from lifecycle.serving.process import GRACE_SECONDS, Manner, listen, log_to_stderr, print_address
from lifecycle.serving.wiped import WipedProtocol

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

KEEP_ALIVE_SECONDS = 75
"""How long an idle connection is kept: longer than clients do, so that they hang up and not the server."""

_LAST_SECONDS = 0.2
"""How long connections that were taken last have to send their request."""


class Ending(Enum):
    """How a process ends; answers close their connection from then on, whichever it is."""

    DRAIN = "new connections are taken for a while, as others are still sent here"
    RETIRE = "a successor takes new connections from the same socket"
    ORPHANED = "nobody would start another in its place: the port is freed at once"


class Server(uvicorn.Server):
    """Runs an application on a listening socket until it is asked to end.

    SIGTERM and SIGINT drain it; SIGINT once more ends it at once. It ends in this order: answers close their
    connection and ``/readyz`` says 503; for a while new connections are still taken; what waits in the
    socket's queue is taken; the socket is closed; idle connections are closed; requests in flight are
    answered, for at most ``GRACE_SECONDS``.

    Args:
        app: From ``create_app``, or any other.
        listener: Listens already.
        manner: How it listens and ends.
        started: Called once it takes connections.
        beat: Called ten times a second by the event loop: as long as it is, the loop is alive.
    """

    def __init__(
        self,
        app: ASGIApp,
        listener: socket.socket,
        manner: Manner,
        *,
        started: Callable[[], None],
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        config = uvicorn.Config(
            _closing(app),
            loop="uvloop",
            http=FastLane,
            ws="none",
            lifespan="on",
            log_config=None,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
            access_log=False,  # a line would cost more than most predictions
            ssl_certfile=manner.certificate,
            ssl_keyfile=manner.key,
        )
        super().__init__(config)
        self._listener = listener
        self._drain_seconds = manner.drain_seconds
        self._tell_started = started
        self._beat = beat
        self._asked: Ending | None = None
        self._ends_at: float | None = None

    def answer(self) -> None:
        """Answer until the end."""
        memory.keep()
        self.run([self._listener])

    def end(self, how: Ending) -> None:
        """Ask it to end; from any thread, returns at once. Only the first time counts."""
        self._asked = self._asked or how

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Be asked by signals; unlike uvicorn, do not raise them again at the end: draining is no failure."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        asked = (signal.SIGTERM, signal.SIGINT)
        # Where it is ignored, whoever started this process takes care of it.
        before = {
            number: signal.signal(number, self.handle_exit)
            for number in asked
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as signals call it
        """Take a signal."""
        if sig == signal.SIGINT and self._asked:
            self.force_exit = self.should_exit = True
        self.end(Ending.DRAIN)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - it has ours
        """Begin to take connections."""
        await super().startup([])  # it opens no socket: the doorway has ours
        if self.started:
            self._doorway = Doorway(self._listener, self._protocol, self.config.ssl)
            self._doorway.open()
            self._tell_started()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether it is time to stop taking connections."""
        self._beat()
        done = await super().on_tick(counter)
        if self._asked and self._ends_at is None:
            self.lifespan.state[DRAINING] = True
            patience = 0.0 if self._asked is Ending.ORPHANED else self._drain_seconds
            self._ends_at = time.monotonic() + patience
            if self._asked is Ending.RETIRE:
                self._doorway.close()
        return done or (self._ends_at is not None and time.monotonic() >= self._ends_at)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what is there, and end."""
        self._doorway.close()
        if self._asked is not Ending.RETIRE:  # closing the socket would hang up on whoever waits in its queue
            self._doorway.take_all()
            self._listener.close()
            await asyncio.gather(asyncio.sleep(_LAST_SECONDS), self._doorway.greeted(_LAST_SECONDS))
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.BaseProtocol:
        protocol: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        made = protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state, _loop=None
        )
        return WipedProtocol(made) if is_wiping() else made


def run_server(app: ASGIApp, host: str, port: int, manner: Manner = Manner()) -> None:  # noqa: B008 - frozen
    """Serve until SIGTERM or SIGINT; requests in flight are answered first.

    Prints one JSON line on stdout when it listens: ``{"address": "http://127.0.0.1:8000", "pid": 123}``.

    Args:
        app: From ``create_app``.
        host: Address to listen on.
        port: 0 takes a free one.
        manner: How it listens and ends.

    Raises:
        ConfigError: The port is in use or not allowed.
    """
    manner.check()
    log_to_stderr()
    [listener] = listen(host, port)
    with listener:
        Server(app, listener, manner, started=lambda: print_address(listener, manner)).answer()


def _closing(app: ASGIApp) -> ASGIApp:
    """The application, whose answers close their connection while the process ends."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def close(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        await app(scope, receive, close if scope.get("state", {}).get(DRAINING) else send)

    return answer
