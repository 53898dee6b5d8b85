"""A keep-alive HTTP/1.1 client of a few microseconds a request, so that a probe measures the server."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from lifecycle.core.errors import UnavailableError


def prepare(host: str, method: str, path: str, body: bytes = b"", headers: Sequence[str] = ()) -> bytes:
    """The bytes of a request.

    Args:
        host: With its port, as in a URL.
        method: Such as ``POST``.
        path: With its query.
        body: JSON.
        headers: Further header lines, such as ``Authorization: Bearer ...``.
    """
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: {host}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Connection:
    """One connection; for one thread.

    Args:
        address: Such as ``http://127.0.0.1:8000``.
        timeout: Longest wait for any piece of an answer, seconds.
    """

    def __init__(self, address: str, timeout: float = 10.0) -> None:
        parts = urlsplit(address)
        self._host = parts.netloc
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 80), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def prepare(self, method: str, path: str, body: bytes = b"", headers: Sequence[str] = ()) -> bytes:
        """The bytes of a request."""
        return prepare(self._host, method, path, body, headers)

    def send(self, request: bytes) -> tuple[int, bytes]:
        """Send a prepared request; the status and body of its answer.

        Raises:
            UnavailableError: The server closed the connection.
            OSError: It did not answer in time.
        """
        self._socket.sendall(request)
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._receive()
        head = received[:end].lower()
        length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
        while len(received) < end + 4 + length:
            received += self._receive()
        return int(head[9:12]), received[end + 4 :]

    def _receive(self) -> bytes:
        chunk = self._socket.recv(65_536)
        if not chunk:
            raise UnavailableError("the server closed the connection", hint="look at its log")
        return chunk
