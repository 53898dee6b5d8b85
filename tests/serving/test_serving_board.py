"""The board: whatever the workers go through, none answers with an older release than another before it."""

from __future__ import annotations

import tempfile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lifecycle.core.errors import StateError
from lifecycle.core.values import Deployment, Release
from lifecycle.serving.board import SIZE, Board, Seat, Slot, Wait, token_of
from tests.serving.conftest import NOON

SEATS = 2


def decision(number: int, uri: str = "file:///r", digest: str = "") -> Deployment:
    return Deployment(
        id=number,
        system="homes",
        decided_at=NOON,
        as_of=NOON,
        actor="ada",
        decision="promote",
        release=Release(system="homes", digest=digest or f"{number:064x}", uri=uri),
        version=str(number),
        previous=None,
        evidence={"why": "a test"},
    )


class Worker:
    """A worker process: what it holds and what it wants is gone when it dies."""

    def __init__(self, board: Board, number: int) -> None:
        self.seat: Seat = board.seat(number)
        self.slot: Slot = self.seat.slot("homes")
        self.held: set[int] = set()
        self.wanted: Deployment | None = None
        self.joined = False

    def inherit(self) -> None:
        if not self.joined:
            self.held |= {token_of(it) for it in self.seat.active()}

    def join(self) -> None:
        if not self.joined and self.seat.join(lambda _, token: token in self.held):
            self.joined = True
            if self.wanted:  # it may be older than what answers now
                self.wanted = None
                self.seat.withdraw(self.slot)

    def prepare(self) -> None:
        self.held.add(token_of(self.wanted))
        self.seat.prepare(self.slot, self.wanted)


class Service:
    """Processes at one board in a file; requests come one after the other, each to any of them."""

    def __init__(self, descriptor: int) -> None:
        self.board = Board(descriptor)
        self.ledger: list[Deployment] = []
        self.workers: dict[int, Worker] = {}
        self.answered = 0
        for number in range(SEATS):
            self.do("start", number)
            self.do("join", number)

    def do(self, what: str, number: int) -> None:
        worker = self.workers.get(number)
        if what == "promote":
            self.ledger.append(decision(len(self.ledger) + 1))
        elif what == "start" and worker is None:
            self.workers[number] = Worker(self.board, number)
        elif worker is not None and what in ("die", "die-unnoticed"):
            del self.workers[number]
            if what == "die":
                self.board.leave(number)
        elif worker is not None and what != "start":
            self.let(worker, what)
        for each in self.workers.values():
            assert not each.joined or each.slot.active in {0, *each.held}, "a request finds no release"

    def let(self, worker: Worker, what: str) -> None:
        if what == "inherit":
            worker.inherit()
        elif what == "join":
            worker.join()
        elif what == "look" and self.ledger and worker.wanted != self.ledger[-1]:
            worker.wanted = self.ledger[-1]
            worker.seat.withdraw(worker.slot)
        elif what == "load" and worker.wanted:
            worker.prepare()
        elif what == "fail" and worker.wanted:
            worker.seat.fail(worker.slot, token_of(worker.wanted), "no such file")
        elif what == "ask" and worker.joined and worker.slot.active:
            answer = [token_of(it) for it in self.ledger].index(worker.slot.active) + 1
            assert answer >= self.answered, "an older release follows a newer one"
            self.answered = answer

    def settle(self) -> None:
        """The dead are noticed, the living work on: whatever happened before, the newest answers."""
        self.do("promote", 0)
        self.do("start", 0)
        for number in set(range(SEATS)) - self.workers.keys():
            self.board.leave(number)
        for what in ("inherit", "join", "look", "load", "inherit", "join", "look", "load", "load", "ask"):
            for number in self.workers:
                self.do(what, number)
        assert self.answered == len(self.ledger)
        assert self.board.waits() == set()


STEPS = "promote look load load fail ask ask die die-unnoticed start start inherit inherit join join".split()


def story(text: str) -> list[tuple[str, int]]:
    """``load0 die1`` as steps."""
    return [(word[:-1], int(word[-1])) for word in text.split()]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, SEATS - 1)), min_size=60, max_size=60))
# What the one before on a seat had loaded is not loaded by its successor.
@example(story("promote0 look0 load0 die0 start0 inherit0 join0 look1 load1"))
# One that starts while the others switch, and is then left alone, does not go back to what it had read.
@example(
    story(
        "promote0 look0 load0 look1 load1 ask1 die0 start0 look0 load0 promote0 look1 load1 ask1"
        " die1 inherit0 join0 load0 ask0"
    )
)
def test_no_worker_answers_with_an_older_release_than_another_before_it_and_none_waits_for_ever(steps):
    with tempfile.TemporaryFile() as file:
        file.truncate(SIZE)
        service = Service(file.fileno())
        for what, number in steps:
            service.do(what, number)
        service.settle()


@pytest.fixture
def pair() -> tuple[Board, Seat, Seat, Slot]:
    board = Board()
    one, two = board.seat(0), board.seat(1)
    slot = one.slot("homes")
    for seat in (one, two):
        assert seat.join(lambda *_: False), "nothing is active yet"
    return board, one, two, slot


def test_nothing_switches_until_every_worker_has_loaded_it(pair):
    board, one, two, slot = pair
    one.prepare(slot, decision(1))
    assert slot.active == 0
    assert board.waits() == {Wait(1, token_of(decision(1)))}
    two.prepare(slot, decision(1))
    assert slot.active == token_of(decision(1))
    assert board.waits() == set()


def test_a_worker_that_cannot_load_it_says_why_to_all_and_is_not_waited_for_as_if_it_hung(pair):
    board, one, two, slot = pair
    token = token_of(decision(1))
    one.prepare(slot, decision(1))
    two.fail(slot, token, "model.onnx was changed")
    assert (slot.active, board.waits()) == (0, set())
    assert one.fault(slot, token) == "model.onnx was changed"
    two.prepare(slot, decision(1))
    assert (slot.active, one.fault(slot, token)) == (token, "")


def test_what_was_prepared_and_is_wanted_no_more_does_not_answer(pair):
    _, one, two, slot = pair
    one.prepare(slot, decision(1))
    one.withdraw(slot)
    two.prepare(slot, decision(1))
    assert slot.active == 0


def test_a_worker_that_has_gone_holds_up_nobody(pair):
    board, one, _, slot = pair
    one.prepare(slot, decision(1))
    board.leave(1)
    one.prepare(slot, decision(1))  # as each poll says again
    assert slot.active == token_of(decision(1))


def test_a_later_worker_learns_what_answers_and_joins_only_with_it(pair):
    board, one, two, slot = pair
    for seat in (one, two):
        seat.prepare(slot, decision(1))
    for seat in (one, two):
        seat.prepare(slot, decision(2))
    third = board.seat(2)
    assert list(third.active()) == [decision(2).model_copy(update={"evidence": {}})]
    assert not third.join(lambda *_: False)
    assert not board.takes_part(2)
    assert third.join(lambda system, token: (system, token) == ("homes", token_of(decision(2))))
    assert board.takes_part(2)


def test_an_id_that_a_restored_ledger_gives_again_is_another_decision():
    assert token_of(decision(1)) != token_of(decision(1, digest="f" * 64))
    assert token_of(decision(1)) == token_of(decision(1, uri="s3://elsewhere"))


def test_a_decision_too_long_for_the_board_answers_all_the_same():
    seat = Board().seat()
    slot = seat.slot("homes")
    seat.join(lambda *_: True)
    seat.prepare(slot, decision(1, uri="s3://" + "long" * 2000))
    assert slot.active
    assert list(seat.active()) == []


def test_systems_have_places_of_their_own_and_a_name_must_fit():
    seat = Board().seat()
    homes, huts = seat.slot("homes"), seat.slot("huts")
    homes.active = 1
    assert (seat.slot("homes").active, huts.active) == (1, 0)
    with pytest.raises(StateError, match="200 bytes, at most 199 fit"):
        seat.slot("x" * 200)


def test_a_full_board_is_told():
    seat = Board().seat()
    for number in range(256):
        seat.slot(f"system-{number}")
    with pytest.raises(StateError, match="more than 256 systems"):
        seat.slot("one-more")


def test_a_board_of_another_version_is_refused():
    with tempfile.TemporaryFile() as file:
        file.truncate(SIZE + 8)
        with pytest.raises(StateError, match="another version"):
            Board(file.fileno())
