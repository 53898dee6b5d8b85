"""Many requests in little time: pipelined over a few connections, each answer looked at."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Sequence
from urllib.parse import urlsplit

from lifecycle.serving.client import prepare

CONNECTIONS = 4
AT_ONCE = 16


class Pipe:
    """One connection that sends several requests at once."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=30)
        self._file = self._socket.makefile("rb", buffering=1 << 18)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def status(self) -> int:
        """The status of the next answer, which is read to its end."""
        status = int(self._file.readline().split()[1])
        length = 0
        while (line := self._file.readline()) != b"\r\n":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        self._file.read(length)
        return status

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def flood(
    address: str, path: str, bodies: Sequence[bytes], count: int, headers: Sequence[str] = ()
) -> Counter[int]:
    """Send ``count`` requests, the bodies in turn; how many answers came of each status."""
    host = urlsplit(address).netloc
    requests = [prepare(host, "POST", path, body, headers) for body in bodies]
    batch = b"".join(requests[number % len(requests)] for number in range(AT_ONCE))
    statuses: Counter[int] = Counter()
    pipes = [Pipe(address) for _ in range(CONNECTIONS)]
    for _ in range(-(-count // (AT_ONCE * CONNECTIONS))):
        for pipe in pipes:
            pipe.send(batch)
        statuses.update(pipe.status() for pipe in pipes for _ in range(AT_ONCE))
    for pipe in pipes:
        pipe.close()
    return statuses
