"""Clients that are slow, silent, deaf or many: nobody else waits for them."""

from __future__ import annotations

import http.client
import json
import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import pytest

from lifecycle.serving.client import prepare
from tests.serving.conftest import HOME, eventually
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
    """This process may open a crowd's connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < CROWD + 500:
        pytest.skip(f"a process here may open {hard} files at most")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, CROWD + 500), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_two_thousand_idle_connections_disturb_nobody(service, many_files):
    one = prepare(service.host, "POST", PREDICT, BODY)
    with crowd(service, one, CROWD) as clients:
        for client in clients:
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


def test_clients_that_never_read_their_answers_are_not_written_to_without_bound(service):
    before = service.rss()
    request = prepare(service.host, "POST", PREDICT, SEVERAL)
    with ExitStack() as stack:
        deaf = [stack.enter_context(dial(service)) for _ in range(10)]
        for client in deaf:
            client.settimeout(0.5)
            with pytest.raises(TimeoutError):  # it takes no more from one that takes nothing from it
                for _ in range(3000):
                    client.sendall(request)
        assert service.rss() - before < 30e6
        assert flood(service.address, PREDICT, [BODY], 1000) == {200: 1024}


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
