"""What comes over the wire, well-formed or not: both lanes answer alike, and neither falls."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle.serving import lane as lane_module
from lifecycle.serving.app import create_app
from lifecycle.serving.limits import MAX_HEAD
from tests.serving.conftest import ANSWER, HOME, LANES, Service, eventually, promote

BODY = json.dumps(HOME).encode()


class Wire:
    """One connection, byte by byte."""

    def __init__(self, address: str) -> None:
        host, port = address.removeprefix("http://").split(":")
        self._socket = socket.create_connection((host, int(port)), timeout=5)
        self._file = self._socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers, body."""
        status = int(self._file.readline().split()[1])
        headers = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name.lower()] = value
        return status, headers, self._file.read(int(headers["content-length"]))

    def is_closed(self) -> bool:
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@contextmanager
def wire(address: str) -> Iterator[Wire]:
    connection = Wire(address)
    try:
        yield connection
    finally:
        connection.close()


def post(body: bytes = BODY, path: bytes = b"/v1/homes/predict", *headers: bytes) -> bytes:
    lines = [b"POST " + path + b" HTTP/1.1", b"host: localhost", b"content-length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@pytest.fixture(scope="module")
def services(tmp_path_factory) -> Iterator[dict[str, str]]:
    """The address of a service on each lane, over the same live release."""
    from lifecycle.records.signing import Ed25519Signer
    from lifecycle.serving.store import VerifiedReleaseStore
    from tests.serving.conftest import Releases
    from tests.simulators.ledger import LedgerSimulator

    folder = tmp_path_factory.mktemp("wire")
    signer = Ed25519Signer(folder / "keys")
    ledger = LedgerSimulator()
    promote(ledger, Releases(folder / "registry", signer).write())
    store = VerifiedReleaseStore(folder / "cache", signer)
    running = {
        name: Service(create_app(ledger, store, poll_seconds=0.02), lane) for name, lane in LANES.items()
    }
    for service in running.values():
        client = service.__enter__()
        eventually(lambda client=client: client.get("/v1/homes").status_code == 200)
    yield {name: service.address for name, service in running.items()}
    for service in running.values():
        service.__exit__()


@pytest.fixture
def fast(services) -> Iterator[Wire]:
    with wire(services["fast lane"]) as connection:
        yield connection


def without_id(body: bytes) -> object:
    content = json.loads(body)
    if isinstance(content, dict):
        content.pop("prediction_id", None)
        content.pop("prediction_ids", None)
    return content


HOSTILE = {
    "truncated": BODY[:-5],
    "empty": b"",
    "nested": b"[" * 100_00,
    "deep": b'{"area":' + b'{"a":' * 2_000 + b"1" + b"}" * 2_001,
    "huge number": b'{"area": 1' + b"0" * 10_000 + b"}",
    "nan": json.dumps({**HOME, "area": float("nan")}).encode(),
    "infinity": json.dumps({**HOME, "depth": float("-inf")}).encode(),
    "1e999": BODY.replace(b"1000.0", b"1e999"),
    "duplicate keys": BODY[:-1] + b', "area": 2000.0}',
    "latin-1": BODY.replace(b"brick", b"br\xefck"),
    "utf-16": json.dumps(HOME).encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + BODY,
    "lone surrogate": BODY.replace(b"brick", b"\\ud800"),
    "nul": BODY.replace(b"brick", b"br\\u0000ck"),
    "a list": b"[1]",
    "null": b"null",
    "text": b'"' + b"x" * 12_000 + b'"',
    "no instances": b'{"instances": []}',
    "instances of nothing": b'{"instances": [{}, null, 3]}',
    "trailing": BODY + b"x",
    "proto": b'{"__proto__": {"x": 1}}',
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_hostile_bodies_are_answered_alike_on_both_lanes(services, body):
    answers = []
    for address in services.values():
        with wire(address) as connection:
            connection.send(post(body))
            status, headers, content = connection.answer()
            assert status in (200, 400, 422)
            answers.append((status, headers["content-type"], without_id(content)))
            connection.send(post())
            assert connection.answer()[0] == 200, "the connection goes on"
    assert answers[0] == answers[1]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200) | st.binary(max_size=20).map(lambda junk: BODY[:100] + junk + BODY[100:]))
def test_any_bytes_are_answered_alike_on_both_lanes(services, body):
    answers = []
    for address in services.values():
        with wire(address) as connection:
            connection.send(post(body))
            status, _, content = connection.answer()
            answers.append((status, without_id(content)))
    assert answers[0] == answers[1]
    assert answers[0][0] in (200, 400, 422)


SMUGGLED = {
    "two lengths": post(BODY, b"/v1/homes/predict", b"content-length: 3"),
    "length and chunks": post(BODY, b"/v1/homes/predict", b"transfer-encoding: chunked"),
    "negative length": b"POST /v1/homes/predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
    "length of letters": b"POST /v1/homes/predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: x\r\n\r\n",
    "space in a name": post(BODY, b"/v1/homes/predict", b"x y: 1"),
    "a bare newline": b"POST /v1/homes/predict HTTP/1.1\nhost: localhost\n\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40,
}


@pytest.mark.parametrize("data", SMUGGLED.values(), ids=SMUGGLED)
def test_what_is_no_request_is_refused_and_the_connection_closed(fast, data):
    fast.send(data)
    status, headers, body = fast.answer()
    assert (status, headers["connection"]) == (400, "close")
    assert json.loads(body)["status"] == 400
    assert fast.is_closed()


def test_a_head_without_end_is_refused(fast):
    fast.send(b"POST /v1/homes/predict HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * (MAX_HEAD + 1))
    assert fast.answer()[0] == 431
    assert fast.is_closed()


def test_a_body_in_pieces_of_one_byte_is_answered(fast):
    request = post()
    for byte in request:
        fast.send(bytes([byte]))
    assert json.loads(fast.answer()[2])["prediction"] == ANSWER


def test_a_client_that_does_not_finish_its_request_is_told_and_hung_up_on(services, monkeypatch):
    monkeypatch.setattr(lane_module, "BODY_SECONDS", 0.05)
    monkeypatch.setattr(lane_module, "LOOK_SECONDS", 0.02)
    with wire(services["fast lane"]) as slow:
        slow.send(post()[:-1])
        assert slow.answer()[0] == 408
        assert slow.is_closed()


def test_requests_sent_before_the_answers_come_in_order(fast):
    """HTTP pipelining: as many answers as requests, each to its own."""
    fast.send(b"".join(post(json.dumps({**HOME, "beds": beds}).encode()) for beds in range(20)))
    predictions = [json.loads(fast.answer()[2])["prediction"] for _ in range(20)]
    assert predictions == [ANSWER + 100 * (beds - 3) for beds in range(20)]


def test_requests_of_both_lanes_on_one_connection_come_in_order(fast):
    large = json.dumps({"instances": [HOME] * 200}).encode()
    page = b"GET /v1/homes HTTP/1.1\r\nhost: localhost\r\n\r\n"
    fast.send(page + post() + post(large) + post() + page)
    kinds = [sorted(json.loads(fast.answer()[2]))[0] for _ in range(5)]
    assert kinds == ["as_of", "prediction", "prediction_ids", "prediction", "as_of"]


def test_the_connection_is_closed_when_the_client_asks_for_it(fast):
    fast.send(post(BODY, b"/v1/homes/predict", b"connection: close"))
    status, headers, _ = fast.answer()
    assert (status, headers["connection"]) == (200, "close")
    assert fast.is_closed()


def test_http_1_0_is_answered_and_closed(fast):
    fast.send(post().replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert fast.answer()[0] == 200
    assert fast.is_closed()


def test_a_client_that_waits_to_be_told_to_go_on_is_told(services):
    for address in services.values():
        with wire(address) as connection:
            head, _, body = post(BODY, b"/v1/homes/predict", b"expect: 100-continue").partition(b"\r\n\r\n")
            connection.send(head + b"\r\n\r\n")
            assert connection._file.readline() == b"HTTP/1.1 100 Continue\r\n"
            assert connection._file.readline() == b"\r\n"
            connection.send(body)
            assert connection.answer()[0] == 200


@pytest.mark.parametrize("query", [b"?x=1", b"?"])
@pytest.mark.parametrize("path", [b"/v1/homes/predict", b"/v1/%68omes/predict"])
def test_a_query_and_an_encoded_path_go_the_long_way_to_the_same_answer(fast, path, query):
    fast.send(post(BODY, path + query))
    assert json.loads(fast.answer()[2])["prediction"] == ANSWER


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b"content-type: application/json", 200),
        (b"content-type: application/json; charset=utf-8", 200),
        (b"content-type: Application/JSON", 200),
        (b"content-type: text/html", 415),
        (b"content-encoding: identity", 200),
        (b"content-encoding: gzip", 415),
        (b"origin: http://attacker.example", 403),
        (b"origin: null", 403),
        (b"origin: http://localhost", 200),
    ],
)
def test_headers_are_heeded_alike_on_both_lanes(services, header, status):
    for address in services.values():
        with wire(address) as connection:
            connection.send(post(BODY, b"/v1/homes/predict", header))
            assert connection.answer()[0] == status


@pytest.mark.parametrize(
    ("sent", "returned"), [("abc-1", "abc-1"), ("a" * 129, None), ("\u00e9", None), ("a\tb", None)]
)
def test_a_request_id_is_given_back_if_a_header_may_hold_it(services, sent, returned):
    for address in services.values():
        with wire(address) as connection:
            connection.send(post(BODY, b"/v1/homes/predict", b"x-request-id: " + sent.encode()))
            assert connection.answer()[1].get("x-request-id") == returned


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"HEAD"])
def test_another_method_is_told_the_right_one(services, method):
    for address in services.values():
        with wire(address) as connection:
            connection.send(method + b" /v1/homes/predict HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert connection._file.readline().split()[1] == b"405"
