"""The long way to the desk: large bodies, and requests that came by another server than ours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from http import HTTPStatus
from urllib.parse import urlsplit

from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope

from lifecycle.serving.desk import Desk, Route, too_large
from lifecycle.serving.exchange import Reply, Request
from lifecycle.serving.keys import Access
from lifecycle.serving.limits import MAX_BODY
from lifecycle.serving.problems import ProblemError

OPEN = ("/healthz", "/readyz", "/ping", "/health", "/v2/health/live", "/v2/health/ready")
ADMIN = ("/", "/status.json", "/metrics")


class AsgiLane:
    """Brings the desk's requests to the desk; the rest goes on to the pages, if the key allows it.

    Args:
        app: The pages.
        desk: Takes requests.
        origins: Origins of other sites whose pages may ask; of none by default.
    """

    def __init__(self, app: ASGI3Application, desk: Desk, origins: Collection[str] = ()) -> None:
        self._app = app
        self._desk = desk
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = [(bytes(name), bytes(value)) for name, value in scope["headers"]]
        request = Request(scope["method"], scope["path"], headers, b"", 0.0)
        route = self._desk.find(request.path)
        try:
            self._refuse_foreign(request)
            if route is None:
                self._desk.keys.check(request, _access(request.path), None, time.time())
        except ProblemError as problem:
            await _send(problem.reply(), send)
            return
        if route is None:
            await self._app(scope, receive, send)
        else:
            await _send(await self._answer(route, request, receive), send)

    def _refuse_foreign(self, request: Request) -> None:
        """Refuse what the page of another site asks: a browser would send it without asking anybody."""
        origin = request.header(b"origin").decode("latin-1")
        if origin and origin not in self._origins:
            host = request.header(b"host").decode("latin-1")
            if urlsplit(origin).netloc != host:
                raise ProblemError(
                    HTTPStatus.FORBIDDEN,
                    "pages of other sites may not ask here; LIFECYCLE_CORS_ORIGINS names those that may",
                )

    async def _answer(self, route: Route, request: Request, receive: ASGIReceiveCallable) -> Reply:
        try:
            request.body = await _read(request, receive)
        except ProblemError as problem:
            return route.refuse(problem)
        request.arrived = time.perf_counter()
        answered: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._desk.take(route, request, answered.set_result)
        return await answered


def _access(path: str) -> Access:
    """What a page asks of a key."""
    if path in OPEN:
        return "everybody"
    return "admin" if path in ADMIN else "any key"


async def _send(reply: Reply, send: ASGISendCallable) -> None:
    headers = [
        (b"content-type", reply.media_type),
        (b"content-length", b"%d" % len(reply.body)),
        *reply.headers,
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers, "trailers": False})
    await send({"type": "http.response.body", "body": reply.body, "more_body": False})


async def _read(request: Request, receive: ASGIReceiveCallable) -> bytes:
    """The body, refused as soon as it is known to be too large."""
    announced = request.header(b"content-length")
    if announced.isdigit() and int(announced) > MAX_BODY:
        raise too_large()
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ProblemError(HTTPStatus.BAD_REQUEST, "the body ended early")
        body += message["body"]
        if len(body) > MAX_BODY:
            raise too_large()
        if not message["more_body"]:
            return bytes(body)
