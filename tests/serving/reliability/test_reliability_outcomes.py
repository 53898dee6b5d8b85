"""Outcomes come in floods, of ids that nobody knows and several times: the counts are right in the end."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lifecycle.core.capacity import LoadPoint
from lifecycle.data.outcome_file import OutcomeFile
from lifecycle.data.outcome_import import count_outcomes, import_outcomes
from lifecycle.serving.load.generator import OpenLoop
from tests.serving.conftest import HOME, HOMES
from tests.serving.reliability.project import (
    BODY,
    OBSERVED,
    OUTCOMES,
    PREDICT,
    Project,
    Running,
    ask,
    outcome,
    serving,
)

AT_ONCE = 10_000
pytestmark = pytest.mark.slow


def tell(service: Running, keys: range, times: int = 1) -> None:
    """Tell the outcomes of these records, thousands in a request, each request so many times."""
    connection = service.connect()
    for start in range(keys.start, keys.stop, AT_ONCE):
        batch = [outcome(f"r{key}") for key in keys[start - keys.start :][:AT_ONCE]]
        body = json.dumps({"outcomes": batch}).encode()
        for _ in range(times):
            status, said = ask(connection, "POST", OUTCOMES, body)
            assert (status, json.loads(said)) == (200, {"accepted": len(batch)})
    connection.close()


@contextmanager
def asked_meanwhile(service: Running) -> Iterator[Counter[int]]:
    """Predictions are asked for as long as the block lasts; how many answers of each status came."""
    done, statuses = threading.Event(), Counter[int]()

    def run() -> None:
        connection = service.connect()
        while not done.is_set():
            statuses[ask(connection, "POST", PREDICT, BODY)[0]] += 1
        connection.close()

    asking = threading.Thread(target=run)
    asking.start()
    try:
        yield statuses
    finally:
        done.set()
        asking.join()


def test_a_flood_of_unknown_ids_waits_for_its_predictions(tmp_path):
    project = Project(tmp_path)
    with serving(project) as service:
        tell(service, range(AT_ONCE))
        before = service.rss()
        with asked_meanwhile(service) as statuses:
            tell(service, range(AT_ONCE, 4 * AT_ONCE))
            tell(service, range(AT_ONCE), times=2)
        assert statuses.keys() == {200}
        assert service.rss() - before < 20e6
        known = {"instances": [{**HOME, "home_id": f"r{key}"} for key in range(100)]}
        assert service.predict(json.dumps(known).encode()) == 200
        service.stop()
    assert project.compacted("outcomes").height == 6 * AT_ONCE
    counts = count_outcomes(project.log)
    assert (counts.received, counts.repeated, counts.corrections) == (6 * AT_ONCE, 2 * AT_ONCE, 0)
    assert (counts.ids, counts.matched, counts.parked) == (4 * AT_ONCE, 100, 4 * AT_ONCE - 100)


def test_one_outcome_too_many_or_one_wrong_among_thousands_stores_none(tmp_path):
    project = Project(tmp_path)
    with serving(project) as service:
        many = [outcome(f"r{key}") for key in range(AT_ONCE + 1)]
        assert service.ask("POST", OUTCOMES, json.dumps({"outcomes": many}).encode())[0] == 413
        many = [*many[: AT_ONCE - 1], {**many[0], "value": "wrong"}]
        assert service.ask("POST", OUTCOMES, json.dumps({"outcomes": many}).encode())[0] == 422
        assert service.ask("POST", OUTCOMES, json.dumps(many[0]).encode())[0] == 200
        service.stop()
    assert project.compacted("outcomes")["record_id"].to_list() == ["r0"]


def outcome_file(folder: Path, rows: int) -> Path:
    path = folder / "outcomes.csv"
    lines = (f"r{key},1.0,{OBSERVED}" for key in range(rows))
    path.write_text("record_id,value,observed_at\n" + "\n".join(lines) + "\n")
    return path


def import_twice(project: Project, rows: int) -> None:
    path = outcome_file(project.settings.project, rows)
    for before in (False, True):
        done = import_outcomes(project.log, OutcomeFile(path, HOMES, {}), datetime.now(UTC), skip_bad=False)
        assert (done.before, done.rows) == (before, 0 if before else rows)
    counts = count_outcomes(project.log)
    assert (counts.received, counts.ids) == (rows, rows)


def test_the_same_file_imported_twice_counts_once_while_servers_write(tmp_path):
    project = Project(tmp_path)
    with serving(project) as service, asked_meanwhile(service) as statuses:
        assert service.predict() == 200
        import_twice(project, 20_000)
    assert statuses.keys() == {200}


@pytest.mark.soak
def test_a_million_outcomes_while_predictions_are_asked(tmp_path, report: Callable[[str], None]):
    project = Project(tmp_path)
    with serving(project) as service:
        alone = offer(service)
        tell(service, range(AT_ONCE))
        before, points = service.rss(), list[LoadPoint]()
        asking = threading.Thread(target=lambda: points.append(offer(service)))
        asking.start()
        tell(service, range(AT_ONCE, 1_000_000 + AT_ONCE))
        asking.join()
        grown = service.rss() - before
        service.stop()
    [beside] = points
    assert beside.answered == alone.answered == {"200": 4000}
    assert project.compacted("outcomes").height == 1_000_000 + AT_ONCE
    report(f"1,000,000 outcomes in requests of {AT_ONCE:,}: {grown / 1e6:+.1f} MB")
    report(
        f"predictions at 200 a second beside them: p99 {beside.p99_ms:.1f} ms; alone {alone.p99_ms:.1f} ms"
    )
    import_twice(Project(tmp_path / "imported"), 1_000_000)


def offer(service: Running) -> LoadPoint:
    with OpenLoop([service.address], PREDICT, [BODY], patience=10) as load:
        return load.offer(200, 20, seed=1)
