"""A real service over sealed records, looked at from another process: its files, and all of its memory."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from demo.memory import found_in_memory
from lifecycle.serving.log.entries import SealedEntry
from lifecycle.serving.log.segment import read_segment
from lifecycle.wiring import open_office
from tests.serving.conftest import HOME, OWNED, eventually, promote
from tests.serving.reliability.project import OBSERVED, OUTCOMES, PREDICT, Project, Running, ask, serving

MARKER = b"Zyxwvut-Qwertzuiop"
SHOWN = re.compile(MARKER)
"""Longer than the eight bytes at the end of a freed block, which glibc leaves as they are."""


def person(number: int, **values: object) -> dict[str, object]:
    name = MARKER.decode()
    return HOME | {"home_id": f"{name}-{number}", "owner": f"{name} {number}"} | values


def ask_in_every_way(service: Running) -> None:
    """Requests of every shape, good and bad, and an outcome: all of them about people."""
    columns = {name: [value] * 2 for name, value in person(3).items()}
    rows = {"columns": list(person(4)), "data": [list(person(4).values())]}
    owner = MARKER.decode()
    truth = {"record_id": f"{owner}-1", "subject": owner, "value": 1.0, "observed_at": OBSERVED}
    answers = [
        (PREDICT, person(1), 200),
        (PREDICT, {"instances": [person(2), person(2)]}, 200),
        (PREDICT, {"columns": columns}, 200),
        (PREDICT, person(5, area=1), 422),
        (PREDICT, person(6, wall=owner), 422),
        (PREDICT, person(7, owner=[owner]), 422),
        (PREDICT, {"instances": [person(8), person(8, beds=owner)]}, 422),
        (PREDICT, f'{{"owner": "{owner}", ', 400),
        (OUTCOMES, truth, 200),
        (OUTCOMES, truth | {"value": owner}, 422),
    ]
    for path, body, expected in answers:
        content = body if isinstance(body, str) else json.dumps(body)
        assert service.ask("POST", path, content.encode())[0] == expected
    long_way = service.connect()
    long_way.request("POST", PREDICT, iter([json.dumps(person(9)).encode()]), encode_chunked=True)
    assert long_way.getresponse().read()
    long_way.close()
    mlflow = service.ask("POST", "/invocations/homes", json.dumps({"dataframe_split": rows}).encode())
    assert mlflow[0] in (200, 404)


@pytest.fixture
def project(tmp_path) -> Project:
    made = Project(tmp_path)
    promote(made.ledger, made.releases.write(schema=OWNED))
    open_office(made.settings).table.make()
    (tmp_path / "access.yaml").write_text("format: 1\nactors: {flow: {care: [clinical]}}\n")
    return made


@pytest.mark.parametrize("workers", [1, 2])
def test_what_was_asked_about_people_is_in_no_file_and_no_memory(project: Project, workers: int) -> None:
    with serving(project, workers=workers, environment={"LIFECYCLE_LOG_SEGMENT_SECONDS": "60"}) as service:
        for _ in range(20 * workers):
            ask_in_every_way(service)
        kept = [service.connect() for _ in range(4)]  # nor does a connection remember what it asked last
        for connection in kept:
            assert ask(connection, "POST", PREDICT, json.dumps(person(10)).encode())[0] == 200
        pids = [service.process.pid, *service.workers()]
        # A connection that ends, and what the loop does last, may take a moment.
        eventually(lambda: not [found for pid in pids for found in found_in_memory(pid, SHOWN)])
        for connection in kept:
            connection.close()
    segments = list(project.settings.log.rglob("*.seg"))
    kinds: dict[str, Any] = {}
    for segment in segments:
        for entry in read_segment(segment):
            if isinstance(entry, SealedEntry):
                kinds[entry.kind] = kinds.get(entry.kind, 0) + 1
    assert kinds.keys() == {"prediction", "outcome"}
    files = [path for path in project.settings.project.rglob("*") if path.is_file()]
    assert [path for path in files if MARKER in path.read_bytes()] == []
    assert "leaves what it frees" not in project.stderr


def test_the_look_at_memory_finds_what_is_there(project: Project) -> None:
    with serving(project, environment={"LIFECYCLE_WIPE_MEMORY": "false"}) as service:
        ask_in_every_way(service)
        assert found_in_memory(service.process.pid, SHOWN)
    assert "leaves what it frees" in project.stderr
