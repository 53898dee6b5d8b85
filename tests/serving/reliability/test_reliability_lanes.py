"""Both lanes answer alike, whatever is asked: status, headers and body, but for ids, times and dates."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle.records.signing import Ed25519Signer
from lifecycle.serving.app import create_app
from lifecycle.serving.key_file import KeyFile
from lifecycle.serving.keys import KeyRing
from lifecycle.serving.store import VerifiedReleaseStore
from tests.serving.conftest import HOME, LANES, NOON, Releases, Service, eventually, promote
from tests.serving.reliability.project import outcome
from tests.serving.test_serving_wire import Wire, wire
from tests.simulators.ledger import LedgerSimulator

OWN = {"prediction_id", "prediction_ids", "id"}
"""Members of an answer that name it, and differ from answer to answer."""

PATHS = {
    "/v1/homes/predict": [
        HOME,
        {"instances": [HOME, HOME]},
        {"columns": {name: [value] * 2 for name, value in HOME.items()}},
    ],
    "/v1/homes/outcomes": [outcome("h1"), {"outcomes": [outcome("h1"), outcome("h2")]}],
    "/invocations": [{"dataframe_records": [HOME]}, {"inputs": [HOME]}],
    "/v2/models/homes/infer": [
        {"inputs": [{"name": "area", "shape": [1], "datatype": "FP64", "data": [1000.0]}]},
    ],
    "/v1/nothing/predict": [HOME],
    "/v1/homes": [HOME],
}
STRANGE: list[Any] = [
    *(None, True, 0, -1, 1.5, 1e308, -0.0, 2**63, 10**400),
    *("", "brick", "1996-01-31", "1000", "x" * 5000, "\ud83d", "\x00", "é", "-Infinity"),
    *([], {}, [HOME], {"instances": [HOME]}, [[]]),
]
TYPES = [
    *("application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "text/csv", "text/plain"),
    *("application/octet-stream", "application/vnd.apache.arrow.stream", "application/x-www-form-urlencoded"),
    *("", ";", "application/json, text/csv", "multipart/form-data; boundary=x"),
]
HEADERS = [
    *("accept: */*", "x-request-id: abc", "X-Request-Id: a b", "x-request-id: " + "r" * 200, "cookie: a=b"),
    *("traceparent: 00-" + "a" * 32 + "-" + "b" * 16 + "-01", "traceparent: nonsense", "expect: nothing"),
    *("content-encoding: gzip", "content-encoding: IDENTITY", "accept-encoding: gzip", "origin: null"),
    *(
        "origin: http://localhost",
        "inference-header-content-length: 10",
        "x-api-key: lc_1_2",
        "range: bytes=0-1",
    ),
    *("authorization: Basic Og==", "authorization: Bearer", "content-language: de", "if-none-match: *"),
]


@pytest.fixture(scope="module")
def services(tmp_path_factory) -> Iterator[tuple[dict[str, str], str]]:
    """The address of a service on each lane, over the same release, with keys and logs; and a key."""
    folder = tmp_path_factory.mktemp("lanes")
    signer, ledger = Ed25519Signer(folder / "keys"), LedgerSimulator()
    promote(ledger, Releases(folder / "registry", signer).write())
    store = VerifiedReleaseStore(folder / "cache", signer)
    key = KeyFile(folder / "keys.json").issue("test", ["predict", "outcomes"], [], NOON)
    running = {}
    for name, lane in LANES.items():
        keys, log = KeyRing(folder / "keys.json"), folder / name / "log"
        running[name] = Service(create_app(ledger, store, poll_seconds=0.02, keys=keys, log=log), lane)
    for service in running.values():
        client = service.__enter__()
        eventually(lambda client=client: client.get("/readyz").status_code == 200)
    yield {name: service.address for name, service in running.items()}, key
    for service in running.values():
        service.__exit__()


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a JSON value."""
    yield path
    members = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, list)
        else ()
    )
    for name, member in members:
        yield from places(member, (*path, name))


@st.composite
def bodies(draw: st.DrawFn, content: Any) -> bytes:
    """A right body, with a few things in it replaced, left out or added; sometimes cut or stained."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(0, 3))):
        *way, last = draw(st.sampled_from([place for place in places(content) if place] or [()])) or (None,)
        if last is None:
            break
        holder = content
        for step in way:
            holder = holder[step]
        match draw(st.sampled_from(["replace", "remove", "add", "rename"])):
            case "replace":
                holder[last] = copy.deepcopy(draw(st.sampled_from(STRANGE)))
            case "remove":
                del holder[last]
            case "add" if isinstance(holder, dict):
                name = draw(st.sampled_from(["extra", "", "areas", "price", "é"]))
                holder[name] = copy.deepcopy(draw(st.sampled_from(STRANGE)))
            case "rename" if isinstance(holder, dict):
                holder[str(last).upper()] = holder.pop(last)
            case _:
                holder.append(holder[last])
    text = json.dumps(content, indent=draw(st.sampled_from([None, 1])), ensure_ascii=draw(st.booleans()))
    body = text.encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(st.sampled_from([b"", b"\xff", b"\x00", b",", b"{" * 300])) + body[at + 1 :]
    return body


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """The bytes of a request; a key is to stand where it says KEY."""
    path = draw(st.sampled_from([*PATHS]))
    body = draw(bodies(draw(st.sampled_from(PATHS[path]))))
    lines = [
        f"content-length: {len(body)}",
        "host: localhost",
        f"content-type: {draw(st.sampled_from(TYPES))}"
        if draw(st.booleans())
        else "content-type: application/json",
        *draw(st.lists(st.sampled_from(HEADERS), max_size=3)),
        *draw(
            st.sampled_from(
                [[], ["authorization: Bearer KEY"], ["x-api-key: KEY"], ["authorization: bearer  KEY"]]
            )
        ),
    ]
    written = [
        _spelled(line, draw(st.sampled_from([str, str.title, str.upper])))
        for line in draw(st.permutations(lines))
    ]
    end = draw(st.sampled_from(["", "?", "?a=b"]))
    return "\r\n".join([f"POST {path}{end} HTTP/1.1", *written]).encode() + b"\r\n\r\n" + body


def _spelled(line: str, spell: Any) -> str:
    name, _, value = line.partition(":")
    return f"{spell(name)}:{value}"


def told(connection: Wire) -> tuple[int, dict[str, str], Any]:
    """An answer, without what is its own."""
    status, headers, body = connection.answer()
    headers.pop("date", None)
    content: Any = body
    if "json" in headers.get("content-type", ""):
        content = json.loads(body)
        if isinstance(content, dict):
            headers.pop("content-length")
            content = {name: value for name, value in content.items() if name not in OWN}
    return status, headers, content


@settings(max_examples=250, deadline=None, suppress_health_check=[*HealthCheck])
@given(request=requests())
def test_both_lanes_answer_alike(services, request):
    addresses, key = services
    sent = request.replace(b"KEY", key.encode())
    answers = []
    for address in addresses.values():
        with wire(address) as connection:
            connection.send(sent)
            answers.append(told(connection))
    assert answers[0] == answers[1]
    assert answers[0][0] in (200, 400, 401, 403, 404, 405, 413, 415, 417, 422)


@pytest.mark.soak
@settings(max_examples=20_000, deadline=None, suppress_health_check=[*HealthCheck])
@given(request=requests())
def test_both_lanes_answer_alike_to_tens_of_thousands(services, request):
    test_both_lanes_answer_alike.hypothesis.inner_test(services, request)
