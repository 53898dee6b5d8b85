"""Servers that are up at once, and looking at processes."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing

import psutil

from lifecycle.supervise.services import Service


def web(name: str, port: int = 0, **options) -> Service:
    """A web server that is up within half a second."""
    command = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "{port}")
    return Service(name=name, command=command, port=port, **options)


def script(name: str, code: str, **options) -> Service:
    return Service(name=name, command=(sys.executable, "-c", code, "{port}"), **options)


def busy_port() -> closing[socket.socket]:
    """A port that another program listens on."""
    listener = socket.create_server(("127.0.0.1", 0))
    return closing(listener)


def until(holds: Callable[[], object], seconds: float = 20) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < deadline, "it never came about"
        pause.wait(0.05)


def processes_of(home: str) -> list[psutil.Process]:
    """Every process whose environment says that it works in this state folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("LIFECYCLE_HOME") == home:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found
