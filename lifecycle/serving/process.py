"""What the processes of a service share: sockets that stay open, a place for each worker, one form of log."""

from __future__ import annotations

import json
import logging.config
import os
import socket
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from lifecycle.core.errors import ConfigError
from lifecycle.serving.logs import logging_config

GRACE_SECONDS = 10
"""How long requests in flight may take to end once a process has stopped taking new ones."""

BACKLOG = 2048
"""Connections that wait for a worker, such as one that is being restarted."""

RETIRE = b"r"
"""What a parent says to a worker whose successor takes connections."""

ACCEPTING = b"a"
"""What a worker says to its parent once it takes connections."""


@dataclass(frozen=True)
class Manner:
    """How a service listens and ends.

    Attributes:
        certificate: PEM file; it speaks HTTPS if there is one.
        key: PEM file of its private key.
        drain_seconds: How long it still takes new connections after it was told to end.
    """

    certificate: Path | None = None
    key: Path | None = None
    drain_seconds: float = 0.0

    def check(self) -> None:
        """Look whether both files are named, and can be read.

        Raises:
            ConfigError: One is not named, or cannot be read.
        """
        if (self.certificate is None) != (self.key is None):
            missing = "TLS_KEY" if self.certificate else "TLS_CERTIFICATE"
            raise ConfigError(
                f"HTTPS needs a certificate and its key: LIFECYCLE_{missing} is not set",
                hint="set both to PEM files, or neither",
            )
        for file in filter(None, (self.certificate, self.key)):
            try:
                file.read_bytes()
            except OSError as error:
                raise ConfigError(
                    f"the TLS file {file} cannot be read: {error.strerror}",
                    hint="mend LIFECYCLE_TLS_CERTIFICATE and LIFECYCLE_TLS_KEY",
                ) from error


@dataclass(frozen=True)
class Place:
    """What a worker is given by its parent: open descriptors, and its seat at the board.

    Attributes:
        listener: Socket to accept from; it stays open in the parent.
        board: File of the board.
        control: Socket to the parent; it ends when the parent does.
        seat: Number at the board.
        slot: Number among the workers that listen: a successor has the same.
    """

    listener: int
    board: int
    control: int
    seat: int
    slot: int

    def as_json(self) -> str:
        """For a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What ``as_json`` made."""
        return cls(**json.loads(text))


def listen(host: str, port: int, count: int = 1) -> list[socket.socket]:
    """Sockets that listen on one port; the kernel spreads connections over them.

    Nobody else's listener is joined: the first binds alone, and only then lets the others in. Where the
    kernel spreads nothing (it does on Linux), all are one.

    Args:
        host: Address.
        port: 0 takes a free one.
        count: How many.

    Raises:
        ConfigError: The port is in use or not allowed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    spreads = count > 1 and sys.platform == "linux"
    listeners: list[socket.socket] = []
    try:
        first = _bound(family, host, port, shared=False)
        listeners.append(first)
        if spreads:
            first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        for _ in range(count - 1):
            other = _bound(family, host, first.getsockname()[1], shared=True) if spreads else first.dup()
            listeners.append(other)
        for listener in listeners:
            listener.listen(BACKLOG)
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise ConfigError(
            f"cannot listen on {host} port {port}: {error.strerror}",
            hint="choose another: --port N, or LIFECYCLE_SERVING_PORT=N; 0 takes a free one",
        ) from error
    return listeners


def _bound(family: int, host: str, port: int, *, shared: bool) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


def log_to_stderr() -> None:
    """Have this process say on stderr what it does."""
    logging.config.dictConfig(logging_config())


def print_address(listener: socket.socket, manner: Manner) -> None:
    """Print ``{"address": "http://127.0.0.1:8000", "pid": 123}``: the one line on stdout."""
    host, port = listener.getsockname()[:2]
    host = f"[{host}]" if ":" in host else host
    scheme = "https" if manner.certificate else "http"
    print(json.dumps({"address": f"{scheme}://{host}:{port}", "pid": os.getpid()}), flush=True)
