"""One connection of the load generator: a non-blocking socket with at most one request under way."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

from lifecycle.core.errors import ConfigError

_CHUNK = 65_536
_IN_PROGRESS = (0, 115, 36, 10035)  # connected at once, or EINPROGRESS of Linux, macOS and Windows


class BrokenError(Exception):
    """The connection gives no answer any more; the message is one of a few fixed words."""


class Target:
    """Where requests go, looked up once.

    Args:
        url: Such as ``http://127.0.0.1:8000``.

    Raises:
        ConfigError: It is no plain HTTP address, or its host is not known.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ConfigError(
                f"{url!r} is not an address such as http://127.0.0.1:8000",
                hint="load is sent over plain HTTP: name the service itself, not the proxy before it",
            )
        self.host = parts.netloc
        try:
            found = socket.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_STREAM)
        except OSError as error:
            raise ConfigError(f"{parts.hostname} is not known: {error.strerror}") from error
        self.family = found[0][0]
        self.address = found[0][4]


class Line:
    """One keep-alive connection.

    Attributes:
        due: When the request under way was due; None while there is none.
        unsent: What of it the socket has not taken yet, all of it while connecting.
        number: Of the socket, for the poller.
        last: Whether the server said that it hangs up after this answer.
    """

    __slots__ = ("_received", "_socket", "_wanted", "due", "last", "number", "status", "unsent")

    def __init__(self, target: Target) -> None:
        self._socket = socket.socket(target.family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number = self._socket.fileno()
        self.due: float | None = None
        self.unsent = b""
        self.last = False
        self.status = 0
        self._received = b""
        self._wanted = 0
        if self._socket.connect_ex(target.address) not in _IN_PROGRESS:
            self._socket.close()
            raise BrokenError("refused")

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def send(self, request: bytes) -> None:
        """Send what the socket takes; the rest stays in ``unsent`` until it is writable.

        Raises:
            BrokenError: The server hung up.
        """
        try:
            taken = self._socket.send(request)
        except BlockingIOError:
            taken = 0
        except ConnectionRefusedError:
            raise BrokenError("refused") from None
        except OSError:
            raise BrokenError("hung up") from None
        self.unsent = request[taken:]

    def receive(self) -> bytes | None:
        """Read what has come; the body once the answer is whole, its status in ``status``.

        Raises:
            BrokenError: The server hung up, or what it says is not an answer of a known length.
        """
        try:
            chunk = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return None
        except ConnectionRefusedError:
            raise BrokenError("refused") from None
        except OSError:
            raise BrokenError("hung up") from None
        if not chunk or self.due is None:
            raise BrokenError("hung up")
        received = self._received = self._received + chunk if self._received else chunk
        if not self._wanted:
            self._wanted = self._length(received)
        if not self._wanted or len(received) < self._wanted:
            return None
        body = received[received.find(b"\r\n\r\n") + 4 :]
        if len(received) > self._wanted:
            raise BrokenError("answered with more than it announced")
        self._received, self._wanted = b"", 0
        return body

    def _length(self, received: bytes) -> int:
        """Bytes of the whole answer; 0 while its head is not whole."""
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return 0
        head = received[:end].lower()
        mark = head.find(b"\r\ncontent-length:")
        if mark < 0 or not head.startswith(b"http/1."):
            raise BrokenError("answered without a length")
        self.last = b"\r\nconnection: close" in head
        stop = head.find(b"\r\n", mark + 17)
        try:
            self.status = int(head[9:12])
            return end + 4 + int(head[mark + 17 : stop if stop > 0 else end])
        except ValueError:
            raise BrokenError("answered without a length") from None


def detail_of(body: bytes) -> str:
    """What a refusal says, if it is a problem of RFC 9457: those hold no value of a record."""
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return "no reason given"
