"""The load generator against small scripted servers: nothing it counts is lost, and no stall is forgotten."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.errors import ConfigError
from lifecycle.serving.load.generator import OpenLoop, arrivals
from lifecycle.serving.load.histogram import PRECISION, Histogram

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
Script = Callable[[int], Awaitable[bytes | None]]
"""Number of a request, from 0 -> the bytes to answer; None hangs up."""


class Scripted:
    """A server in a thread that answers each request as a script says."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve)
        self._started = threading.Event()
        self._ended: asyncio.Event
        self._writers: list[asyncio.StreamWriter] = []
        self.asked = 0
        self.connections = 0
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Scripted:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        self._loop.close()

    def hang_up(self) -> None:
        """End every connection, and return when that is done."""

        async def end() -> None:
            for writer in self._writers:
                writer.transport.abort()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()

    def _serve(self) -> None:
        self._loop.run_until_complete(self._main())

    async def _main(self) -> None:
        self._ended = asyncio.Event()
        server = await asyncio.start_server(self._connection, sock=self._listener)
        self._started.set()
        await self._ended.wait()
        server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split()[0]))
                number, self.asked = self.asked, self.asked + 1
                answer = await self._script(number)
                if answer is None:
                    break
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@contextmanager
def loaded(script: Script, **options: float) -> Iterator[tuple[Scripted, OpenLoop]]:
    with (
        Scripted(script) as server,
        OpenLoop([server.url], "/predict", [b"{}", b'{"a": 1}'], **options) as loop,  # type: ignore[arg-type]
    ):
        yield server, loop


async def well(_number: int) -> bytes:
    return OK


def test_every_request_is_answered_over_connections_that_are_kept():
    with loaded(well) as (server, loop):
        point = loop.offer(200, 0.5, seed=3)
    assert (point.sent, dict(point.answered), dict(point.failed)) == (100, {"200": 100}, {})
    assert server.connections == point.connections < 100
    assert 0 < point.p50_ms <= point.p99_ms <= point.max_ms
    assert not point.errors


def test_connections_are_kept_from_load_to_load_unless_the_server_ended_them():
    with loaded(well) as (server, loop):
        first, second = loop.offer(100, 0.1), loop.offer(100, 0.1)
        assert first.answered == second.answered == {"200": 10}
        assert server.connections < 20
        server.hang_up()
        assert loop.offer(100, 0.1).answered == {"200": 10}


def test_a_stall_counts_for_every_request_that_was_due_meanwhile():
    """Nobody is answered until the last has asked: a closed loop would send eight requests and wait for ever.

    The last is due after 0.19 s, so the first waits at least that long, the second 10 ms less, and so on.
    """
    everybody = asyncio.Event()

    async def stalled(number: int) -> bytes:
        if number == 19:
            everybody.set()
        await everybody.wait()
        return OK

    with loaded(stalled) as (_, loop):
        point = loop.offer(100, 0.2)
    assert point.answered == {"200": 20}
    assert point.max_ms >= 190
    assert point.p50_ms >= 90


def test_waiting_for_a_free_connection_counts():
    async def slow_first(number: int) -> bytes:
        if number == 0:
            await asyncio.sleep(0.2)
        return OK

    with loaded(slow_first, connections=1) as (server, loop):
        point = loop.offer(100, 0.2)
    assert (point.answered, server.connections) == ({"200": 20}, 1)
    assert point.p50_ms >= 90  # the tenth was due after 0.09 s and could be sent after 0.2 s


def test_a_server_slower_than_the_rate_is_told_early_and_nothing_is_lost():
    one_at_a_time = asyncio.Lock()

    async def slow(_number: int) -> bytes:
        async with one_at_a_time:
            await asyncio.sleep(0.02)
        return OK

    with loaded(slow, budget=0.05, patience=0.2) as (_, loop):
        point = loop.offer(200, 5)
    assert point.cut_short
    assert point.sent < 1000
    assert point.sent == sum(point.answered.values()) + sum(point.failed.values())
    assert point.p99_ms > 50
    assert point.growth > 0
    assert point.fault(50)


async def refuses_every_other(number: int) -> bytes:
    refusal = b'{"detail": "too much"}'
    head = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: %d\r\n\r\n" % len(refusal)
    return OK if number % 2 else head + refusal


async def hangs_up(number: int) -> bytes | None:
    return OK if number % 2 else None


async def says_nothing(number: int) -> bytes | None:
    await asyncio.Event().wait()
    return OK


async def is_no_http(_number: int) -> bytes:
    return b"220 mail.example ESMTP\r\n\r\n"


@pytest.mark.parametrize(
    ("script", "answered", "failed"),
    [
        (refuses_every_other, {"200": 20, "503": 20}, {}),
        (hangs_up, {"200": 20}, {"hung up": 20}),
        (says_nothing, {}, {"not answered in time": 40}),
        (is_no_http, {}, {"answered without a length": 40}),
    ],
)
def test_what_goes_wrong_is_counted_by_what_it_was(script, answered, failed):
    with loaded(script, patience=0.1) as (_, loop):
        point = loop.offer(200, 0.2)
    assert (dict(point.answered), dict(point.failed)) == (answered, failed)
    assert point.errors == 40 - answered.get("200", 0)
    assert point.fault(1e6)


def test_the_first_refusal_is_kept_in_the_servers_words():
    with loaded(refuses_every_other) as (_, loop):
        loop.offer(100, 0.1)
        assert loop.refusal == "503: too much"


def test_a_connection_that_the_server_ends_after_its_answer_is_replaced():
    async def last(_number: int) -> bytes:
        return OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")

    with loaded(last) as (server, loop):
        point = loop.offer(200, 0.1)
    assert (point.answered, server.connections) == ({"200": 20}, 20)


def test_nobody_listening_is_a_failure_of_every_request():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    point = OpenLoop([f"http://127.0.0.1:{port}"], "/", [b""]).offer(100, 0.1)
    assert point.failed == {"refused": 10}


def test_a_generator_that_cannot_keep_its_schedule_says_so():
    with loaded(well, connections=2, patience=0.05) as (_, loop):
        point = loop.offer(10_000_000, 0.002)
    assert point.sent == 20_000 == sum(point.answered.values()) + sum(point.failed.values())
    assert not point.valid
    assert "load generator" in point.fault(1e6)


def test_connections_take_turns_at_the_targets():
    with (
        Scripted(well) as one,
        Scripted(well) as other,
        OpenLoop([one.url, other.url], "/", [b""], connections=2) as loop,
    ):
        point = loop.offer(1000, 0.1)
    assert point.answered == {"200": 100}
    assert one.asked + other.asked == 100


@pytest.mark.parametrize("url", ["https://127.0.0.1", "127.0.0.1:8000", "http://"])
def test_only_plain_http_is_asked(url):
    with pytest.raises(ConfigError, match="is not an address"):
        OpenLoop([url], "/", [b""])


def test_arrivals_are_exactly_as_many_as_the_rate_says():
    drawn = arrivals(123.4, 10, seed=5)
    assert len(drawn) == 1234
    assert list(drawn) == sorted(drawn) == arrivals(123.4, 10, seed=5)
    assert 0 <= drawn[0] <= drawn[-1] <= 10
    assert arrivals(0.1, 1) == [0.0]


@given(
    st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99, 0.999, 1.0])
)
def test_a_quantile_is_never_understated_and_at_most_a_percent_over(seconds, share):
    histogram = Histogram()
    for one in seconds:
        histogram.add(one)
    true = float(np.quantile(seconds, share, method="inverted_cdf"))
    assert true * (1 - 1e-9) <= histogram.quantile(share) <= true * (1 + PRECISION) * (1 + 1e-9)
