"""How a serving process listens and ends, with a small application in its place."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI

from lifecycle.core.errors import ConfigError
from lifecycle.serving.process import Manner, listen, print_address
from lifecycle.serving.server import Ending, Server
from tests.serving.conftest import NOON, eventually


class Slow:
    """A server in a thread, whose ``/slow`` answers once ``go`` is set."""

    def __init__(self, manner: Manner) -> None:
        [self.listener] = listen("127.0.0.1", 0)
        self.port = self.listener.getsockname()[1]
        self.arrived, self.go = threading.Event(), asyncio.Event()
        self.started = threading.Event()
        self.server = Server(self._app(), self.listener, manner, started=self.started.set)
        self.thread = threading.Thread(target=self.server.answer)

    def _app(self) -> FastAPI:
        @asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, object]]:
            self.loop = asyncio.get_running_loop()
            yield {}

        app = FastAPI(lifespan=lifespan)

        @app.get("/slow")
        async def slow() -> str:
            self.arrived.set()
            await self.go.wait()
            return "done"

        @app.get("/fast")
        async def fast() -> str:
            return "done"

        return app

    def release(self) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.go.set)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)


@contextmanager
def running(manner: Manner) -> Iterator[Slow]:
    slow = Slow(manner)
    slow.thread.start()
    slow.started.wait(10)
    try:
        yield slow
    finally:
        slow.release()
        slow.server.end(Ending.ORPHANED)
        slow.thread.join(20)
        slow.listener.close()
        assert not slow.thread.is_alive()


def ask(connection: http.client.HTTPConnection, path: str = "/fast") -> str | None:
    """What the answer says of its connection."""
    connection.request("GET", path)
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())) == (200, "done")
    return answer.getheader("connection")


def test_what_is_asked_before_the_end_is_answered_and_the_connection_closed_with_it():
    with running(Manner(drain_seconds=0.3)) as slow:
        busy, idle, late = slow.connect(), slow.connect(), slow.connect()
        assert ask(idle) is None, "it stays open"
        busy.request("GET", "/slow")
        assert slow.arrived.wait(10)
        slow.server.end(Ending.DRAIN)
        eventually(lambda: slow.server.lifespan.state.get("draining"))
        assert ask(idle) == "close"
        assert ask(late) == "close", "new connections are taken for a while"
        eventually(lambda: refused(slow.port))
        slow.release()
        assert json.loads(busy.getresponse().read()) == "done"
        slow.thread.join(10)
        assert not slow.thread.is_alive()
        for connection in (busy, idle, late):
            connection.close()


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_whoever_waits_in_the_queue_when_the_socket_is_closed_is_answered():
    with running(Manner()) as slow:
        held = threading.Event()
        slow.loop.call_soon_threadsafe(held.wait, 10)  # the loop is busy, connections wait
        waiting = [slow.connect() for _ in range(20)]
        for connection in waiting:
            connection.request("GET", "/fast")
        slow.server.end(Ending.ORPHANED)
        held.set()
        for connection in waiting:
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, b'"done"')
            connection.close()


def test_one_that_retires_leaves_new_connections_to_its_successor():
    with running(Manner(drain_seconds=0.2)) as slow:
        other = slow.listener.dup()  # as the parent holds it
        connection = slow.connect()
        ask(connection)
        slow.server.end(Ending.RETIRE)
        eventually(lambda: slow.server.lifespan.state.get("draining"))
        late = slow.connect()
        late.request("GET", "/fast")
        assert ask(connection) == "close"
        slow.thread.join(10)
        assert not slow.thread.is_alive()
        accepted, _ = other.accept()
        assert accepted.recv(100).startswith(b"GET /fast"), "it still waits, for the successor"
        for each in (accepted, other, late, connection):
            each.close()


def test_it_speaks_https_with_the_files_of_the_settings(tmp_path, capsys):
    certificate, key = self_signed(tmp_path)
    with running(Manner(certificate, key)) as slow:
        context = ssl.create_default_context(cafile=str(certificate))
        client = http.client.HTTPSConnection("localhost", slow.port, timeout=10, context=context)
        ask(client)
        client.close()
        print_address(slow.listener, Manner(certificate, key))
        assert json.loads(capsys.readouterr().out)["address"] == f"https://127.0.0.1:{slow.port}"


def self_signed(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(NOON)
        .not_valid_after(NOON + timedelta(days=40_000))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return files


def test_a_tls_file_that_is_missing_is_told_before_anything_starts(tmp_path):
    with pytest.raises(ConfigError, match="LIFECYCLE_TLS_KEY is not set"):
        Manner(tmp_path / "certificate.pem").check()
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        Manner(tmp_path / "certificate.pem", tmp_path / "key.pem").check()


def test_listeners_share_a_port_that_nobody_else_can_join():
    listeners = listen("127.0.0.1", 0, 3)
    try:
        ports = {listener.getsockname()[1] for listener in listeners}
        assert len(ports) == 1
        for count in (1, 2):
            with pytest.raises(ConfigError, match="Address already in use"):
                listen("127.0.0.1", *ports, count)
    finally:
        for listener in listeners:
            listener.close()


def test_connections_spread_over_the_listeners():
    listeners = listen("127.0.0.1", 0, 2)
    clients = [socket.create_connection(listeners[0].getsockname()) for _ in range(64)]
    try:
        taken = [waiting(listener) for listener in listeners]
        assert sum(taken) == 64
        assert min(taken) > 0
    finally:
        for each in (*listeners, *clients):
            each.close()


def waiting(listener: socket.socket) -> int:
    """How many connections wait in a listener's queue; they are closed."""
    listener.setblocking(False)
    count = 0
    with suppress(BlockingIOError):
        while True:
            listener.accept()[0].close()
            count += 1
    return count
