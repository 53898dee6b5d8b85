"""Workers are killed with SIGKILL under load: nothing acknowledged is lost, and nothing is doubled."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.serving.conftest import HOME, eventually
from tests.serving.reliability.project import (
    BODY,
    OUTCOMES,
    PREDICT,
    Project,
    Running,
    ask,
    outcome,
    serving,
)

SEVERAL = json.dumps({"instances": [HOME] * 3}).encode()
CLIENTS = 4


class Client:
    """Asks for predictions and tells outcomes, and keeps the ids of what was acknowledged."""

    def __init__(self, service: Running, name: int) -> None:
        self._service = service
        self._name = name
        self.predictions: list[str] = []
        self.outcomes: list[str] = []
        self.hung_up = 0
        self.statuses: Counter[int] = Counter()

    def run(self, done: threading.Event) -> None:
        """Ask until it is done; a broken connection is opened again, and its request is forgotten."""
        connection = self._service.connect()
        for number in itertools.count():
            if done.is_set():
                break
            try:
                self._ask(connection, number)
            except (OSError, http.client.HTTPException):
                self.hung_up += 1
                connection.close()
                connection = self._service.connect()
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, number: int) -> None:
        kind = number % 3
        if kind == 0:
            keys = [f"{self._name}-{number}-{i}" for i in range(5)]
            body = json.dumps({"outcomes": [outcome(key) for key in keys]}).encode()
            status, _ = ask(connection, "POST", OUTCOMES, body)
            self.outcomes += keys if status == 200 else []
        else:
            status, content = ask(connection, "POST", PREDICT, BODY if kind == 1 else SEVERAL)
            answer = json.loads(content)
            if status == 200:
                self.predictions += [answer["prediction_id"]] if kind == 1 else answer["prediction_ids"]
        self.statuses[status] += 1


@contextmanager
def load(service: Running) -> Iterator[list[Client]]:
    """Clients that ask for as long as the block lasts."""
    done = threading.Event()
    clients = [Client(service, name) for name in range(CLIENTS)]
    threads = [threading.Thread(target=client.run, args=(done,)) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        done.set()
        for thread in threads:
            thread.join()


def kill_one(service: Running, chance: random.Random, clients: list[Client]) -> None:
    """Kill a worker amid its work; wait until another is in its place and both answer."""
    asked = sum(len(client.predictions) for client in clients)
    eventually(lambda: sum(len(client.predictions) for client in clients) > asked + chance.randrange(200), 30)
    before = service.workers()
    os.kill(chance.choice(before), signal.SIGKILL)
    eventually(lambda: len(service.workers()) == 2 and service.workers() != before, 30)


def survive(project: Project, kills: int) -> tuple[int, int]:
    """Kill workers under load, and look for everything that was acknowledged; how much that was."""
    chance = random.Random(7)
    with serving(project, workers=2) as service:
        with load(service) as clients:
            for _ in range(kills):
                kill_one(service, chance, clients)
        service.stop()
    assert project.stderr.count(" ended with ") == kills, project.stderr
    assert sum(client.hung_up for client in clients) > 0, "no kill met a client"
    assert {status for client in clients for status in client.statuses} == {200}
    told = [key for client in clients for key in client.predictions]
    logged = Counter(project.compacted("predictions")["prediction_id"].to_list())
    assert max(logged.values()) == 1
    assert set(told) - logged.keys() == set()
    known = [key for client in clients for key in client.outcomes]
    stored = Counter(project.compacted("outcomes")["record_id"].to_list())
    assert max(stored.values()) == 1
    assert set(known) - stored.keys() == set()
    assert project.segments() == 0
    return len(told), len(known)


@pytest.mark.slow
@pytest.mark.parametrize("durability", ["process", "power"])
def test_what_was_acknowledged_is_in_the_log_once_however_often_workers_are_killed(tmp_path, durability):
    survive(Project(tmp_path, durability=durability), kills=3)


@pytest.mark.soak
def test_forty_kills_lose_nothing_that_was_acknowledged(tmp_path, report):
    predictions, outcomes = survive(Project(tmp_path), kills=40)
    report(f"40 kills: {predictions:,} predictions and {outcomes:,} outcomes acknowledged, each logged once")
