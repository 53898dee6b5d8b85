"""What answers follows the ledger, and stays when what the ledger wants cannot be served."""

from __future__ import annotations

import threading

import pytest

from lifecycle.core.errors import UnavailableError
from lifecycle.serving import live as live_module
from lifecycle.serving.engine import load_engine
from lifecycle.serving.live import LiveReleases
from tests.serving.conftest import eventually, promote
from tests.serving.test_serving_store import flip, folder_of


@pytest.fixture
def live(ledger, store) -> LiveReleases:
    """Polled by hand; retries at once."""
    return LiveReleases(ledger, store, load_engine, poll_seconds=0.0)


def settle(live: LiveReleases) -> None:
    """Poll until nothing is on its way."""

    def settled() -> bool:
        live.poll()
        return all(not standing.behind or standing.fault for standing in live.standings.values())

    eventually(settled)


def serving(live: LiveReleases, system: str = "homes") -> str:
    return live.standings[system].current.digest


def test_an_empty_ledger_is_ready_once_it_has_been_read(live):
    assert not live.ready
    live.poll()
    assert live.ready
    assert live.standings == {}


def test_the_live_release_is_loaded_and_then_replaced(live, ledger, releases):
    first, second = releases.write(1.0), releases.write(2.0)
    promote(ledger, first)
    settle(live)
    before = live.standings
    assert serving(live) == first.digest
    promote(ledger, second, version="2")
    settle(live)
    assert serving(live) == second.digest
    assert before["homes"].current.digest == first.digest, "who holds the old standing keeps it"


def test_it_is_not_ready_while_the_first_release_of_a_system_loads(ledger, store, releases):
    may_load = threading.Event()

    def slow(folder):
        may_load.wait(10)
        return load_engine(folder)

    live = LiveReleases(ledger, store, slow, poll_seconds=0.0)
    promote(ledger, releases.write())
    live.poll()
    assert not live.ready
    may_load.set()
    settle(live)
    assert live.ready


def test_a_system_that_is_slow_to_load_does_not_hold_up_another(ledger, store, releases):
    may_load = threading.Event()
    homes, huts = releases.write(1.0), releases.write(2.0, system="huts")

    def load(folder):
        if folder.name == homes.digest:
            may_load.wait(10)
        return load_engine(folder)

    live = LiveReleases(ledger, store, load, poll_seconds=0.0)
    promote(ledger, homes)
    promote(ledger, huts)
    live.poll()
    eventually(lambda: live.standings["huts"].current)
    assert live.standings["homes"].current is None
    may_load.set()
    settle(live)
    assert live.ready


def test_a_release_that_does_not_verify_leaves_the_old_one_and_is_tried_again(live, ledger, releases):
    first, second = releases.write(1.0), releases.write(2.0)
    promote(ledger, first)
    settle(live)
    flip(folder_of(second) / "model.onnx")
    promote(ledger, second, version="2")
    settle(live)
    standing = live.standings["homes"]
    assert standing.current.digest == first.digest
    assert "model.onnx was changed" in standing.fault
    assert live.ready, "the old release answers"
    flip(folder_of(second) / "model.onnx")
    eventually(lambda: live.poll() or serving(live) == second.digest)
    assert live.standings["homes"].fault == ""


def test_a_release_that_fails_is_tried_less_and_less_often(ledger, store, releases, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(live_module.time, "monotonic", lambda: now[0])
    release = releases.write()
    flip(folder_of(release) / "model.onnx")
    promote(ledger, release)
    live = LiveReleases(ledger, store, load_engine, poll_seconds=0.5)
    waits = []
    for attempt in range(1, 10):
        live.poll()
        for thread in [thread for thread in threading.enumerate() if thread.name == "load-homes"]:
            thread.join()
        assert live.standings["homes"].attempts == attempt
        waits.append(live.standings["homes"].retry_at - now[0])
        now[0] = live.standings["homes"].retry_at
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_failed_release_is_forgotten_when_another_is_promoted(live, ledger, releases):
    broken, sound = releases.write(1.0), releases.write(2.0)
    flip(folder_of(broken) / "model.onnx")
    promote(ledger, broken)
    settle(live)
    assert not live.ready
    promote(ledger, sound, version="2")
    settle(live)
    assert serving(live) == sound.digest


def test_rolling_back_to_what_still_answers_does_not_load_it_again(ledger, store, releases):
    loaded = []

    def load(folder):
        loaded.append(folder.name)
        return load_engine(folder)

    live = LiveReleases(ledger, store, load, poll_seconds=0.0)
    first, broken = releases.write(1.0), releases.write(2.0)
    promote(ledger, first)
    settle(live)
    flip(folder_of(broken) / "model.onnx")
    promote(ledger, broken, version="2")
    settle(live)
    promote(ledger, first, decision="rollback")
    settle(live)
    standing = live.standings["homes"]
    assert standing.current.deployment.decision == "rollback"
    assert (standing.behind, standing.fault) == (False, "")
    assert loaded == [first.digest]


@pytest.mark.parametrize(
    "outage", [UnavailableError("the ledger does not answer"), OSError("postgres://u:pw@")]
)
def test_a_ledger_that_is_gone_changes_nothing(live, ledger, releases, outage):
    release = releases.write()
    promote(ledger, release)
    settle(live)
    ledger.outage = outage
    live.poll()
    assert serving(live) == release.digest
    assert live.ready
    assert live.ledger_fault in ("the ledger does not answer", "OSError")
    ledger.outage = None
    live.poll()
    assert live.ledger_fault == ""


def test_a_ledger_that_was_never_read_is_not_ready(live, ledger):
    ledger.outage = UnavailableError("the ledger does not answer")
    live.poll()
    assert not live.ready
    assert live.ledger_age is None


def test_a_system_the_ledger_forgets_goes_on_answering_and_says_so(live, ledger, releases):
    release = releases.write()
    promote(ledger, release)
    settle(live)
    rows, ledger.rows = ledger.rows, []
    live.poll()
    assert serving(live) == release.digest
    assert not live.standings["homes"].listed
    ledger.rows = rows
    live.poll()
    assert live.standings["homes"].listed
