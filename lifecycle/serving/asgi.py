"""The long way to the desk: large bodies, and requests that came by another server than ours."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus

from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope

from lifecycle.serving.desk import Desk, Route, too_large
from lifecycle.serving.exchange import Reply, Request
from lifecycle.serving.limits import MAX_BODY
from lifecycle.serving.problems import ProblemError


class AsgiLane:
    """The long way to the desk, for large bodies and for servers other than ours; the rest goes on.

    Args:
        app: What answers everything that is not the desk's.
        desk: Takes requests.
    """

    def __init__(self, app: ASGI3Application, desk: Desk) -> None:
        self._app = app
        self._desk = desk

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Answer one request."""
        route = self._desk.find(scope["path"]) if scope["type"] == "http" else None
        if route is None or scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        reply = await self._answer(route, scope, receive)
        headers = [
            (b"content-type", reply.media_type),
            (b"content-length", b"%d" % len(reply.body)),
            *reply.headers,
        ]
        await send(
            {"type": "http.response.start", "status": reply.status, "headers": headers, "trailers": False}
        )
        await send({"type": "http.response.body", "body": reply.body, "more_body": False})

    async def _answer(self, route: Route, scope: HTTPScope, receive: ASGIReceiveCallable) -> Reply:
        headers = [(bytes(name), bytes(value)) for name, value in scope["headers"]]
        request = Request(scope["method"], scope["path"], headers, b"", 0.0)
        try:
            request.body = await _read(request, receive)
        except ProblemError as problem:
            return route.refuse(problem)
        request.arrived = time.perf_counter()
        answered: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._desk.take(route, request, answered.set_result)
        return await answered


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
