"""The desk: the one path of every request, whichever lane it came by.

    admit (overload, method, key) → compute (read, predict) → settle (log, count, reply)

What cannot be answered at once waits in a queue whose bound is time: a request that has waited for half of
what it may take is turned away, at a fraction of the cost of an answer, so that those accepted stay within
their time whatever comes in.

Computing is pure and may run in a thread; the rest happens on the event loop, so that counters and log need
no locks. A reply is handed to a callback: at once, or later where the log syncs the disk, a thread reads a
large body, or worker processes run the model.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Protocol

from lifecycle.core.errors import UnavailableError
from lifecycle.serving.exchange import Reply, Request
from lifecycle.serving.keys import Access, KeyRing
from lifecycle.serving.limits import INLINE_BODY, MAX_BODY, MAX_IN_THREADS
from lifecycle.serving.problems import ProblemError, unforeseen


class Send(Protocol):
    """Takes the reply to one request."""

    def __call__(self, reply: Reply, /) -> None:
        """Send it."""
        ...


_THREADS = 2
SLICE_SECONDS = 0.002
"""How long requests are answered before the event loop looks at its sockets again."""


class Work(Protocol):
    """One request on its way through the desk."""

    @property
    def inline(self) -> bool:
        """Whether its answer takes microseconds; else it has a time to be answered in."""
        ...

    @property
    def heavy(self) -> bool:
        """Whether even a small request is computed in a thread."""
        ...

    def compute(self) -> None:
        """Read and work out the answer: pure, so that it may run in a thread."""
        ...

    def settle(self, send: Send) -> None:
        """Make it true on the event loop (log it, count it), and send the reply, now or later."""
        ...

    def refuse(self, problem: ProblemError) -> Reply:
        """Count a refusal, and word it as the client expects."""
        ...


class Route(Protocol):
    """What is asked by one path."""

    @property
    def method(self) -> str:
        """The method it takes."""
        ...

    @property
    def access(self) -> Access:
        """What the key must allow."""
        ...

    @property
    def system(self) -> str | None:
        """The system it belongs to, if any."""
        ...

    @property
    def budget_s(self) -> float:
        """Longest wait before a request is turned away, seconds."""
        ...

    def begin(self, request: Request) -> Work:
        """Take up a request; ``ProblemError`` if nothing can answer it."""
        ...

    def refuse(self, problem: ProblemError) -> Reply:
        """Count and word the refusal of a request that was not taken up."""
        ...


class Desk:
    """Takes requests and sends replies.

    Args:
        find: The route of a path; None if there is none.
        keys: Who may ask.
    """

    def __init__(self, find: Callable[[str], Route | None], keys: KeyRing) -> None:
        self.find = find
        self.keys = keys
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="large-body")
        self._in_threads = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pass_began: float | None = None
        self._queue: deque[tuple[Route, Request, Send]] = deque()

    @property
    def queued(self) -> int:
        """Requests that wait for their turn."""
        return len(self._queue)

    @property
    def in_threads(self) -> int:
        """Large requests that are being read or answered."""
        return self._in_threads

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin, on this event loop."""
        self._loop = loop

    def close(self) -> None:
        """End; what is in threads is finished first."""
        self._threads.shutdown()

    def take(self, route: Route, request: Request, send: Send) -> None:
        """Answer a request; ``send`` is called once, on the event loop, now or later.

        Args:
            route: From ``find``.
            request: Whole.
            send: Takes the reply.
        """
        if request_id := request.request_id:
            send = _echoing(request_id.encode(), send)
        if self._queue or self._pass_seconds(request.arrived) > SLICE_SECONDS:
            self._queue.append((route, request, send))
        else:
            self._answer(route, request, send)

    def _answer(self, route: Route, request: Request, send: Send) -> None:
        work: Work | None = None
        try:
            self._admit(route, request)
            work = route.begin(request)
            small = len(request.body) <= INLINE_BODY and not work.heavy
            if not (small and work.inline):
                send = self._timed(route, work, send)
            if small:
                work.compute()
                work.settle(send)
            else:
                self._compute_in_thread(work, send)
        except Exception as error:  # noqa: BLE001 - every request gets an answer, and no error shows a value
            send((work or route).refuse(as_problem(error)))

    def _admit(self, route: Route, request: Request) -> None:
        if request.method != route.method:
            problem = ProblemError(HTTPStatus.METHOD_NOT_ALLOWED, f"this path takes {route.method}")
            problem.headers["Allow"] = route.method
            raise problem
        self.keys.check(request, route.access, route.system, time.time())
        if len(request.body) > MAX_BODY:
            raise too_large()
        if request.header(b"content-encoding") not in (b"", b"identity"):
            raise ProblemError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "this content encoding is not taken: send it as it is"
            )

    def _pass_seconds(self, now: float) -> float:
        """How long the event loop has been in its present pass over the sockets, seconds."""
        if self._pass_began is None:
            self._pass_began = now
            assert self._loop is not None
            self._loop.call_soon(self._end_pass)
        return now - self._pass_began

    def _end_pass(self) -> None:
        """Answer from the queue for a slice of time, then let the event loop look at its sockets again."""
        began = self._pass_began = time.perf_counter()
        now = began
        while self._queue and now - began < SLICE_SECONDS:
            route, request, send = self._queue.popleft()
            if now - request.arrived > route.budget_s / 2:
                send(route.refuse(overloaded("more requests arrive than this server can answer in time")))
            else:
                self._answer(route, request, send)
            now = time.perf_counter()
        self._pass_began = None
        if self._queue:
            self._pass_seconds(now)

    def _timed(self, route: Route, work: Work, send: Send) -> Once:
        """Send what comes first: the reply, or that it did not come in time."""
        assert self._loop is not None
        answer = Once(send)

        def late() -> None:
            if not answer.given:
                problem = overloaded(f"it was not answered within {route.budget_s:g} s")
                problem.reason = "late"
                answer(work.refuse(problem))

        answer.timer = self._loop.call_later(route.budget_s, late)
        return answer

    def _compute_in_thread(self, work: Work, send: Send) -> None:
        if self._in_threads >= MAX_IN_THREADS:
            raise overloaded("too many large requests are waiting")
        assert self._loop is not None
        loop = self._loop

        def compute() -> None:
            fault: Exception | None = None
            try:
                if wanted(send):
                    work.compute()
            except Exception as error:  # noqa: BLE001 - told below
                fault = error
            loop.call_soon_threadsafe(done, fault)

        def done(fault: Exception | None) -> None:
            self._in_threads -= 1
            if not wanted(send):
                return
            try:
                if fault:
                    raise fault
                work.settle(send)
            except Exception as error:  # noqa: BLE001 - as above
                send(work.refuse(as_problem(error)))

        self._in_threads += 1
        self._threads.submit(compute)


class Once:
    """Passes the first reply on and drops what comes after it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.given = False
        self.timer: asyncio.TimerHandle | None = None

    def __call__(self, reply: Reply) -> None:
        """Send this, if nothing was sent yet."""
        if not self.given:
            self.given = True
            if self.timer is not None:
                self.timer.cancel()
            self._send(reply)


def wanted(send: Send) -> bool:
    """Whether a reply is still waited for; one that comes too late is neither sent nor logged."""
    return not (isinstance(send, Once) and send.given)


def as_problem(error: Exception) -> ProblemError:
    """What a client may hear of an error."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, UnavailableError):  # the processes of an estimator are being started again
        return ProblemError(
            HTTPStatus.SERVICE_UNAVAILABLE, "the model does not answer now: try again in a second"
        )
    return unforeseen(error)


def overloaded(why: str) -> ProblemError:
    """Status 503 with the request to come again in a second."""
    problem = ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, f"{why}: try again in a second")
    problem.reason = "shed"
    return problem


def too_large() -> ProblemError:
    """Status 413."""
    return ProblemError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {MAX_BODY} bytes: send fewer instances"
    )


def _echoing(request_id: bytes, send: Send) -> Send:
    def echo(reply: Reply) -> None:
        reply.headers.append((b"x-request-id", request_id))
        send(reply)

    return echo
