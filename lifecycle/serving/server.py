"""The serving process: one uvicorn worker on one socket."""

from __future__ import annotations

import json
import os
import socket

import uvicorn
from fastapi import FastAPI

from lifecycle.core.errors import ConfigError
from lifecycle.serving.lane import FastLane
from lifecycle.serving.logs import logging_config

GRACE_SECONDS = 10
"""How long requests in flight may take to end after SIGTERM."""

KEEP_ALIVE_SECONDS = 75
"""How long an idle connection is kept: longer than clients do, so that they hang up and not the server."""


class _AnnouncingServer(uvicorn.Server):
    """Prints its address once it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            host = f"[{host}]" if ":" in host else host
            print(json.dumps({"address": f"http://{host}:{port}", "pid": os.getpid()}), flush=True)


def run_server(app: FastAPI, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; requests in flight are answered first.

    Prints one JSON line on stdout when it listens: ``{"address": "http://127.0.0.1:8000", "pid": 123}``.

    Args:
        app: From ``create_app``.
        host: Address to listen on.
        port: 0 takes a free one.

    Raises:
        ConfigError: The port is in use or not allowed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host} port {port}: {error.strerror}",
            hint="choose another: --port N, or LIFECYCLE_SERVING_PORT=N; 0 takes a free one",
        ) from error
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=FastLane,
        ws="none",
        lifespan="on",
        log_config=logging_config(),
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    with listener:
        _AnnouncingServer(config).run(sockets=[listener])
