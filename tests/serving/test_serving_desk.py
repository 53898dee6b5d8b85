"""The desk under more than it can bear: who waits too long is turned away, and nobody is forgotten."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from lifecycle.serving import desk as desk_module
from lifecycle.serving.desk import Desk, Send
from lifecycle.serving.exchange import Reply, Request
from lifecycle.serving.keys import KeyRing
from lifecycle.serving.limits import INLINE_BODY, MAX_IN_THREADS
from lifecycle.serving.problems import ProblemError


class Errand:
    """A route whose work does what a test says."""

    method = "POST"
    inline = True
    heavy = False
    access = "everybody"
    system = "homes"

    def __init__(self, budget_s: float = 1.0, compute: Callable[[], None] = lambda: None) -> None:
        self.budget_s = budget_s
        self.computed = 0
        self._compute = compute

    def begin(self, _: Request) -> Errand:
        return self

    def compute(self) -> None:
        self.computed += 1
        self._compute()

    def settle(self, send: Send) -> None:
        send(Reply(200, b"done"))

    def refuse(self, problem: ProblemError) -> Reply:
        return problem.reply()


def request(body: bytes = b"", age: float = 0.0) -> Request:
    return Request("POST", "/", (), body, time.perf_counter() - age)


def run(errand: Errand, requests: Callable[[], list[Request]]) -> list[int]:
    """The statuses of requests that are taken in one pass of the event loop, in the order of the answers."""

    async def take() -> list[int]:
        desk = Desk(lambda _: errand, KeyRing(None))
        desk.open(asyncio.get_running_loop())
        replies: list[int] = []
        asked = requests()
        for each in asked:
            desk.take(errand, each, lambda reply: replies.append(reply.status))
        async with asyncio.timeout(10):
            while len(replies) < len(asked):
                await asyncio.sleep(0)
        desk.close()
        return replies

    return asyncio.run(take())


def test_a_few_requests_are_answered_as_they_come():
    assert run(Errand(), lambda: [request() for _ in range(10)]) == [200] * 10


def test_what_does_not_fit_in_a_slice_waits_its_turn_and_is_answered(monkeypatch):
    monkeypatch.setattr(desk_module, "SLICE_SECONDS", 1e-9)
    errand = Errand()
    assert run(errand, lambda: [request() for _ in range(50)]) == [200] * 50
    assert errand.computed == 50


def test_a_request_that_has_waited_for_half_its_time_is_turned_away_unread(monkeypatch):
    monkeypatch.setattr(desk_module, "SLICE_SECONDS", 1e-9)
    errand = Errand(budget_s=1.0)
    ages = [99, 0.6, 0.1, 0]  # the first finds the desk free
    assert run(errand, lambda: [request(age=age) for age in ages]) == [200, 503, 200, 200]
    assert errand.computed == 3


def test_a_large_body_does_not_hold_up_the_small_ones_behind_it():
    small_was_answered = threading.Event()

    def wait() -> None:
        if threading.current_thread() is not threading.main_thread():
            assert small_was_answered.wait(10)
        else:
            small_was_answered.set()

    large = b"x" * (INLINE_BODY + 1)
    assert run(Errand(budget_s=10, compute=wait), lambda: [request(large), request()]) == [200, 200]


def test_a_large_request_that_takes_too_long_is_told_so_once():
    may_end = threading.Event()
    errand = Errand(budget_s=0.01, compute=lambda: may_end.wait(10) and None)
    replies: list[Reply] = []

    async def take() -> None:
        desk = Desk(lambda _: errand, KeyRing(None))
        desk.open(asyncio.get_running_loop())
        desk.take(errand, request(b"x" * (INLINE_BODY + 1)), replies.append)
        async with asyncio.timeout(10):
            while not replies:
                await asyncio.sleep(0)
        may_end.set()
        await asyncio.to_thread(desk.close)
        await asyncio.sleep(0)

    asyncio.run(take())
    assert [reply.status for reply in replies] == [503]
    assert b"was not answered within 0.01 s" in replies[0].body
    assert (b"retry-after", b"1") in replies[0].headers


def test_only_so_many_large_requests_wait():
    may_end = threading.Event()
    errand = Errand(budget_s=10, compute=lambda: may_end.wait(10) and None)

    def crowd() -> list[Request]:
        threading.Timer(0.05, may_end.set).start()
        return [request(b"x" * (INLINE_BODY + 1)) for _ in range(MAX_IN_THREADS + 3)]

    statuses = run(errand, crowd)
    assert sorted(statuses) == [200] * MAX_IN_THREADS + [503] * 3


@pytest.mark.parametrize("size", [0, INLINE_BODY + 1])
def test_whatever_breaks_is_answered_and_tells_no_value(size, caplog):
    def fail() -> None:
        raise ValueError("s3cret")

    replies: list[Reply] = []

    async def take() -> None:
        errand = Errand(compute=fail)
        desk = Desk(lambda _: errand, KeyRing(None))
        desk.open(asyncio.get_running_loop())
        desk.take(errand, request(b"x" * size), replies.append)
        async with asyncio.timeout(10):
            while not replies:
                await asyncio.sleep(0)
        desk.close()

    asyncio.run(take())
    assert replies[0].status == 500
    assert b"s3cret" not in replies[0].body
    assert "s3cret" not in caplog.text
