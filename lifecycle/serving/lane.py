"""The fast lane: small requests go from the parser straight to the desk, without a task or a scope.

uvicorn's protocol makes a task, an event and a dozen objects for each request; that costs more than a
prediction. This one hands whole small POSTs to the desk and leaves everything else to uvicorn, whose
`asgi.AsgiLane` brings the rest of the desk's requests there. Both lanes end in the same desk.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from lifecycle.serving.desk import Desk, Route
from lifecycle.serving.exchange import Reply, Request
from lifecycle.serving.limits import BODY_SECONDS, INLINE_BODY, MAX_HEAD
from lifecycle.serving.problems import ProblemError

DESK = "desk"
"""Key of the desk in the state that the application's lifespan yields."""

DRAINING = "draining"
"""Key of what is true there once the server is about to end: every answer closes its connection."""

LOOK_SECONDS = 1.0
"""How often each connection is looked at."""

_LONG_WAY = (b"transfer-encoding", b"expect", b"upgrade", b"origin")
"""Headers of requests that need more than the lane has."""


class _Busy:
    """Stands for a request that is answered by the lane, where uvicorn looks for one of its own."""

    response_complete = False


_BUSY: Any = _Busy()


class FastLane(HttpToolsProtocol):
    """HTTP/1.1 with a short way for small POSTs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._desk: Desk | None = self.app_state.get(DESK)
        self._route: Route | None = None  # of the request that is being read, if it takes the lane
        self._body: list[bytes] = []
        self._head_bytes = 0  # received of a head that is not whole yet
        self._in_head = True
        self._waiting = False  # for the desk's reply
        self._behind: deque[tuple[Route, Request]] = deque()  # requests sent before that reply came
        self._last = False  # no further request comes on this connection
        self._begun: float | None = None  # when the request that is being read began, loop time
        self._idle_since = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        self.loop.call_later(LOOK_SECONDS, self._look)

    def data_received(self, data: bytes) -> None:
        """Parse what came; a head without end is refused."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD and not self.transport.is_closing():
            self._hang_up(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"request line and headers are larger than {MAX_HEAD} bytes",
            )

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the parser's words may hold a value
        """Refuse what is not HTTP."""
        self._hang_up(HTTPStatus.BAD_REQUEST, "this is not a request of HTTP/1.1")

    def on_message_begin(self) -> None:
        """A request begins; its scope is made only if it goes the long way."""
        self._begun = self.loop.time()
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """Choose the lane."""
        self._in_head, self._head_bytes = False, 0
        self._route = self._lane_of()
        if self._route is not None:
            self._body.clear()
            return
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        if (self._waiting or self._behind) and not self._on_long_way:
            self.cycle = _BUSY  # uvicorn keeps it until the reply before it is written
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._route is not None:
            self._body.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._begun = None
        self._in_head = True
        route, self._route = self._route, None
        if route is None:
            super().on_message_complete()
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()  # a connection that stays open keeps nothing of what was asked
        request = Request("POST", self.url.decode(), self.headers, body, time.perf_counter())
        self._last = not self.parser.should_keep_alive()
        if self._waiting or self._behind:
            self._behind.append((route, request))
            self.flow.pause_reading()
        else:
            self._take(route, request)

    def _lane_of(self) -> Route | None:
        """The route of a request that may take the lane; None: it goes the long way."""
        if self._desk is None or self.parser.get_method() != b"POST" or not _is_plain(self.url):
            return None
        if self._on_long_way:
            return None  # behind one that is still answered there: uvicorn keeps their order
        length = b""
        for name, value in self.headers:
            if name == b"content-length":
                length = value
            elif name in _LONG_WAY:
                return None
        if not length.isdigit() or int(length) > INLINE_BODY:
            return None
        return self._desk.find(self.url.decode())

    def _take(self, route: Route, request: Request) -> None:
        assert self._desk is not None
        self._waiting = True
        self._desk.take(route, request, self._reply)

    def _reply(self, reply: Reply) -> None:
        """Write an answer, and see to what came behind its request."""
        self._waiting = False
        if self.transport.is_closing():
            return
        more = bool(self._behind or self.pipeline)
        closing = not more and (self._last or bool(self.app_state.get(DRAINING)))
        self.transport.write(encode(reply, self.server_state.default_headers, closing=closing))
        self.server_state.total_requests += 1
        self._idle_since = self.loop.time()
        if closing:
            self.transport.close()
        elif more:
            self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Take up the next request of those that were sent at once."""
        if self._behind:
            self._take(*self._behind.popleft())
        elif self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        self._read_on()

    def _read_on(self) -> None:
        """Read again, unless requests wait here already, or the client does not read its answers."""
        if not self._behind and not self.flow.write_paused:
            self.flow.resume_reading()

    def pause_writing(self) -> None:
        """The client does not read its answers: take no more requests from it."""
        super().pause_writing()
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        self._read_on()

    def shutdown(self) -> None:
        """The server ends: close when the reply that is due is written, or the request that is coming."""
        if self._waiting:
            self._last = True
        elif self._begun is not None and self.app_state.get(DRAINING):
            pass  # its answer closes the connection
        else:
            super().shutdown()

    def _look(self) -> None:
        """Hang up on a client that takes too long to send a request, or sends none for long."""
        if self.transport.is_closing():
            return
        now = self.loop.time()
        if self._begun is not None and now - self._begun > BODY_SECONDS:
            self._hang_up(HTTPStatus.REQUEST_TIMEOUT, f"a whole request must come within {BODY_SECONDS:g} s")
        elif self._begun is None and self._is_idle and now - self._idle_since > self.timeout_keep_alive:
            self._close()
        else:
            self.loop.call_later(LOOK_SECONDS, self._look)

    def _hang_up(self, status: HTTPStatus, why: str) -> None:
        if not self.flow.write_paused:
            reply = ProblemError(status, why).reply()
            self.transport.write(encode(reply, self.server_state.default_headers, closing=True))
        self._close()

    def _close(self) -> None:
        """Close, but not politely where the client reads nothing: that would wait for it for ever."""
        if self.flow.write_paused:
            self.transport.abort()
        else:
            self.transport.close()

    @property
    def _is_idle(self) -> bool:
        """Whether nothing is due on this connection; uvicorn itself watches it after a long way."""
        return not self._waiting and not self._on_long_way and self.timeout_keep_alive_task is None

    @property
    def _on_long_way(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete


def _is_plain(url: bytes) -> bool:
    return b"%" not in url and b"?" not in url and url.isascii()


def encode(reply: Reply, default_headers: Iterable[tuple[bytes, bytes]], *, closing: bool) -> bytes:
    """The bytes of an answer."""
    parts = [
        STATUS_LINE[reply.status],
        b"content-type: %b\r\ncontent-length: %d\r\n" % (reply.media_type, len(reply.body)),
    ]
    parts += [b"%b: %b\r\n" % header for header in reply.headers]
    parts += [b"%b: %b\r\n" % header for header in default_headers]
    parts += (b"connection: close\r\n\r\n" if closing else b"\r\n", reply.body)
    return b"".join(parts)
