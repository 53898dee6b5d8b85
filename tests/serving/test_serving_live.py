"""What answers follows the ledger, and stays when what the ledger wants cannot be served."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from lifecycle.core.errors import IntegrityError, UnavailableError
from lifecycle.serving import live as live_module
from lifecycle.serving.board import Board
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


class Crew:
    """The workers of one service, in one process, each polled by hand."""

    def __init__(self, ledger, store, count: int = 3) -> None:
        self.board = Board()
        self.ledger, self.store = ledger, store
        self.broken: set[int] = set()
        self.workers = {number: self.start(number) for number in range(count)}

    def start(self, number: int) -> LiveReleases:
        def load(folder):
            if number in self.broken:
                raise IntegrityError("model.onnx does not load here")
            return load_engine(folder)

        return LiveReleases(self.ledger, self.store, load, 0.0, self.board.seat(number))

    def poll(self) -> None:
        for worker in self.workers.values():
            worker.poll()

    def answers(self) -> set[str]:
        found = [worker.current("homes") for worker in self.workers.values()]
        return {release.digest if release else "none" for release in found}

    def all_answer(self, digest: str) -> None:
        eventually(lambda: self.poll() or self.answers() == {digest})


@pytest.fixture
def crew(ledger, store) -> Crew:
    crew = Crew(ledger, store)
    crew.poll()  # so that all take part before anything is live
    return crew


def test_workers_switch_as_one_and_remember_when(crew, ledger, releases):
    first, second = releases.write(1.0), releases.write(2.0)
    promote(ledger, first)
    crew.all_answer(first.digest)
    promote(ledger, second, version="2")
    for number in (0, 1):  # the third has not looked yet
        eventually(lambda number=number: crew.workers[number].poll() or prepared(crew.workers[number]))
        assert crew.answers() == {first.digest}
        assert "other workers still load it" in crew.workers[number].standings["homes"].reason
    eventually(lambda: crew.workers[2].poll() or crew.answers() == {second.digest})
    for worker in crew.workers.values():
        standing = worker.standings["homes"]
        assert standing.current.digest == second.digest
        assert [swap.deployment.version for swap in standing.swaps] == ["1", "2"]
        assert all(0 <= swap.seconds < 10 for swap in standing.swaps)


def prepared(live: LiveReleases) -> bool:
    return live.standings["homes"].prepared


def test_what_one_worker_cannot_load_none_answers_with_and_each_says_why(crew, ledger, releases):
    first, second = releases.write(1.0), releases.write(2.0)
    promote(ledger, first)
    crew.all_answer(first.digest)
    crew.broken = {1}
    promote(ledger, second, version="2")

    def all_say_why() -> bool:
        crew.poll()
        faults = {worker.standings["homes"].fault for worker in crew.workers.values()}
        return faults == {"model.onnx does not load here"}

    eventually(all_say_why)
    assert crew.answers() == {first.digest}
    assert all(worker.ready for worker in crew.workers.values())
    crew.broken = set()
    crew.all_answer(second.digest)
    assert all(worker.standings["homes"].fault == "" for worker in crew.workers.values())


def test_a_worker_that_dies_while_the_others_wait_for_it_holds_nothing_up(crew, ledger, releases):
    first, second = releases.write(1.0), releases.write(2.0)
    promote(ledger, first)
    crew.all_answer(first.digest)
    del crew.workers[1]
    promote(ledger, second, version="2")
    for worker in crew.workers.values():
        eventually(lambda worker=worker: worker.poll() or prepared(worker))
    assert crew.answers() == {first.digest}
    crew.board.leave(1)  # as the parent does
    crew.all_answer(second.digest)


def test_a_successor_answers_as_the_others_even_while_the_ledger_is_away(crew, ledger, releases):
    release = releases.write(1.0)
    promote(ledger, release)
    crew.all_answer(release.digest)
    ledger.outage = UnavailableError("the ledger does not answer")
    crew.board.leave(1)
    crew.workers[1] = crew.start(1)
    assert not crew.workers[1].joined
    crew.all_answer(release.digest)
    eventually(lambda: crew.poll() or crew.workers[1].joined)  # it answers as soon as it can, and then joins
    assert crew.workers[1].ready
    assert crew.workers[1].standings["homes"].swaps == (), "it saw no switch"


def test_a_successor_that_loads_what_others_cannot_answers_with_what_they_do(crew, ledger, releases):
    first, second = releases.write(1.0), releases.write(2.0)
    promote(ledger, first)
    crew.all_answer(first.digest)
    crew.broken = {0}
    promote(ledger, second, version="2")
    crew.board.leave(1)
    crew.workers[1] = crew.start(1)
    eventually(lambda: crew.poll() or (crew.workers[1].joined and prepared(crew.workers[1])))
    assert crew.answers() == {first.digest}


def test_the_old_release_is_let_go_once_no_request_holds_it(live, ledger, releases):
    promote(ledger, releases.write(1.0))
    settle(live)
    request = live.current("homes")
    engine = weakref.ref(request.engine)
    promote(ledger, releases.write(2.0), version="2")
    settle(live)
    gc.collect()
    assert engine() is request.engine
    del request
    gc.collect()
    assert engine() is None


def test_a_ledger_restored_from_a_backup_is_followed_back(live, ledger, releases):
    promote(ledger, releases.write(1.0))
    settle(live)
    backup = ledger.rows[:]
    promote(ledger, releases.write(2.0), version="2")
    settle(live)
    ledger.rows = backup
    settle(live)
    assert live.current("homes").deployment.version == "1"
    again = releases.write(3.0)
    promote(ledger, again, version="3")  # the id of version 2 once more
    settle(live)
    assert serving(live) == again.digest
