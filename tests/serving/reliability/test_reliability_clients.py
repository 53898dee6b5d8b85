"""Clients that are slow, silent, deaf or many: nobody else waits for them."""

from __future__ import annotations

import http.client
import json
import os
import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from lifecycle.serving import lane
from lifecycle.serving.app import create_app
from lifecycle.serving.client import prepare
from lifecycle.serving.lane import FastLane
from tests.serving.conftest import HOME, Service, eventually, promote
from tests.serving.reliability.flood import flood
from tests.serving.reliability.project import BODY, PREDICT, SERVE, Project, Running, ask, serving

pytestmark = pytest.mark.slow
SEVERAL = json.dumps({"instances": [HOME] * 30}).encode()
CROWD = 2000


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[Running]:
    with serving(Project(tmp_path_factory.mktemp("project"))) as service:
        yield service


def dial(service: Running) -> socket.socket:
    parts = urlsplit(service.address)
    return socket.create_connection((parts.hostname, parts.port), timeout=20)


@contextmanager
def crowd(service: Running, sent: bytes, count: int) -> Iterator[list[socket.socket]]:
    """So many connections that have sent this and no more."""
    with ExitStack() as stack:
        clients = [stack.enter_context(dial(service)) for _ in range(count)]
        for client in clients:
            client.sendall(sent)
        yield clients


@pytest.fixture
def many_files() -> Iterator[None]:
    """This process may open a crowd's connections: else the test is skipped, and fails in CI."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < CROWD + 500 and not os.environ.get("CI"):
        pytest.skip(f"a process here may open {hard} files at most")
    assert hard >= CROWD + 500, "raise the limit: ulimit -Hn"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, CROWD + 500), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_two_thousand_idle_connections_disturb_nobody(service, many_files):
    one = prepare(service.host, "POST", PREDICT, BODY)
    with crowd(service, b"", CROWD) as clients:
        for client in clients:  # one after the other: two thousand requests at once may be too many
            client.sendall(one)
            assert client.recv(12) == b"HTTP/1.1 200"
        assert flood(service.address, PREDICT, [BODY], 1000) == {200: 1024}
        assert service.parent.num_fds() > CROWD
        for client in clients:
            client.sendall(one)
    eventually(lambda: service.parent.num_fds() < CROWD)


def test_clients_that_stop_amid_a_request_disturb_nobody(service):
    request = prepare(service.host, "POST", PREDICT, BODY)
    with (
        crowd(service, b"", 100),
        crowd(service, request[:40], 100),
        crowd(service, request[:-10], 100) as waiting,
    ):
        assert flood(service.address, PREDICT, [BODY], 1000) == {200: 1024}
        waiting[0].sendall(request[-10:])
        assert waiting[0].recv(12) == b"HTTP/1.1 200", "slow is not too slow"
        assert waiting[1].recv(12) == b"HTTP/1.1 408"
    eventually(lambda: service.metric("lifecycle_in_flight") == 0)


def test_clients_that_hang_up_amid_an_answer_disturb_nobody(service):
    request = prepare(service.host, "POST", PREDICT, SEVERAL)
    with crowd(service, request * 20, 50) as clients:
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset, not closed
    assert flood(service.address, PREDICT, [BODY], 1000) == {200: 1024}


def press(client: socket.socket, request: bytes) -> int:
    """Send requests and read no answer until the server takes no more; how many bytes it took."""
    client.settimeout(0.5)
    taken = 0
    try:
        while taken < 100e6:
            taken += client.send(request * 20)
    except TimeoutError:
        pass
    return taken


@pytest.mark.parametrize("body", [BODY, SEVERAL, b""], ids=["one", "several", "nothing"])
def test_from_clients_that_never_read_their_answers_no_more_is_taken(service, body):
    before = service.rss()
    with crowd(service, b"", 2) as deaf:
        request = prepare(service.host, "POST", PREDICT, body)
        assert max(press(client, request) for client in deaf) < 50e6
        assert service.rss() - before < 15e6
        assert flood(service.address, PREDICT, [BODY], 1000) == {200: 1024}


class Impatient(FastLane):
    """Hangs up at once where the real one waits for a minute."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.timeout_keep_alive = 0


def test_clients_that_never_read_are_hung_up_on_in_the_end(ledger, store, releases, monkeypatch):
    monkeypatch.setattr(lane, "BODY_SECONDS", 1.0)
    promote(ledger, releases.write())
    with Service(create_app(ledger, store, poll_seconds=0.02), Impatient) as client:
        eventually(lambda: client.get("/readyz").status_code == 200)
        with socket.create_connection((client.base_url.host, client.base_url.port)) as deaf:
            press(deaf, prepare("localhost", "POST", PREDICT, SEVERAL))
            eventually(lambda: is_reset(deaf))


def is_reset(client: socket.socket) -> bool:
    """Whether the server has let go of a connection whose answers nobody reads."""
    return bool(client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


@pytest.mark.skipif(sys.platform != "linux", reason="counts open files in /proc")
def test_more_clients_than_files_may_be_open_wait_until_others_go(tmp_path):
    command = ("sh", "-c", 'ulimit -n 120; exec "$@"', "sh", *SERVE)
    project = Project(tmp_path)
    with serving(project, command=command) as service:
        with crowd(service, b"", 200):
            eventually(lambda: "no connection can be taken" in project.stderr)
            late = http.client.HTTPConnection(service.host, timeout=20)
            late.connect()
        assert ask(late, "POST", PREDICT, BODY)[0] == 200
        late.close()
