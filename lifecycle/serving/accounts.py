"""What is kept of every answer: an entry in the prediction log, counts, and a span where traces are on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from lifecycle.core.purposes import LOGGING
from lifecycle.serving.exchange import Asked, Request
from lifecycle.serving.live_release import LiveRelease
from lifecycle.serving.log.entries import PredictionEntry, Share
from lifecycle.serving.log.sampling import sampled
from lifecycle.serving.log.terms import UnloggedError
from lifecycle.serving.problems import ProblemError

if TYPE_CHECKING:
    from lifecycle.serving.log.terms import LogState
    from lifecycle.serving.log.writer import Appender, PredictionLog
    from lifecycle.serving.metrics import Metrics
    from lifecycle.serving.tracing import Spans

Settled = Callable[[bool], None]
"""Told whether an entry is in the log as safely as promised; raises nothing."""

_encode = msgspec.msgpack.Encoder().encode


class Account:
    """Keeps what one release answers.

    Args:
        live: The release.
        log: Where its predictions are written; None: nothing of it is logged.
        metrics: Of this process.
        share: Of the traffic.
    """

    def __init__(
        self, live: LiveRelease, log: Appender | None, metrics: Metrics, share: Share = "champion"
    ) -> None:
        manifest, deployment = live.manifest, live.deployment
        self.live = live
        self.share: Share = share
        self.counts = metrics.counts(deployment.system, live.digest, share)
        self._log = log
        self._sampled = manifest.logging_share if manifest.logging == "sampled" else 1.0
        self._refuses = manifest.serving.on_log_failure == "refuse"

    def entry(
        self, request: Request, asked: Asked, prediction_id: str, predictions: bytes, trace_id: str
    ) -> bytes | None:
        """What the log keeps of an answer; None if this one is not logged.

        Args:
            request: As it came.
            asked: What was asked.
            prediction_id: Of the request.
            predictions: float64 little-endian, one per row.
            trace_id: Of its trace; empty if it has none.
        """
        if self._log is None:
            return None
        if asked.subjects and self._withdrawn(asked.subjects):
            self._log.unlogged("withdrawn", 1, len(asked.tensors))
            return None
        if self._sampled < 1 and not sampled(_key(asked, prediction_id), self._sampled):
            self._log.unlogged("sampled", 1, len(asked.tensors))
            return None
        return _encode(
            PredictionEntry(
                id=prediction_id,
                at=time.time_ns() // 1000,
                release=self.live.digest,
                version=self.live.deployment.version,
                share=self.share,
                latency_us=int((time.perf_counter() - request.arrived) * 1e6),
                request_id=request.request_id,
                trace_id=trace_id,
                shape=asked.shape,
                inputs=asked.inputs,
                predictions=predictions,
            )
        )

    def _withdrawn(self, subjects: Sequence[str]) -> bool:
        """Whether somebody in a request allows no logging: then none of it is logged."""
        custody = self.live.custody
        return custody is not None and bool(custody.refused(subjects, LOGGING))

    def write(self, answers: Sequence[tuple[bytes | None, Settled]]) -> None:
        """Log answers by one write, and say of each whether it is as safe as promised, now or later.

        Args:
            answers: Entries, None for an answer that is not logged, and whom to tell.
        """
        _settle([settled for entry, settled in answers if entry is None], True)
        waiting = [settled for entry, settled in answers if entry is not None]
        if self._log is None or not waiting:
            return
        try:
            ticket = self._log.extend([entry for entry, _ in answers if entry is not None])
        except UnloggedError:
            _settle(waiting, False)
        else:
            if ticket is None:
                _settle(waiting, True)
            else:
                ticket.on_done(partial(_settle, waiting))

    def unlogged(self, rows: int) -> None:
        """An answer could not be logged: refuse it, or count it, as the system says.

        Raises:
            ProblemError: 503: the system answers nothing that is not logged.
        """
        assert self._log is not None
        if self._refuses:
            problem = ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "the prediction log cannot be written, and this system answers nothing that is not logged: "
                "try again in a second",
            )
            problem.reason = "log-failure"
            raise problem
        self._log.unlogged("failed", 1, rows)


class Accounts:
    """The accounts of this process, one for each release that answers.

    Args:
        metrics: Of this process.
    """

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self.log: PredictionLog | None = None
        self.spans: Spans | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._known: dict[str, Account] = {}
        self._gathered: dict[Account, list[tuple[bytes | None, Settled]]] = {}

    def close(self) -> None:
        """Write what waits, send what is left of the traces, and tell the counts a last time."""
        if self.log is not None:
            self.log.close()
        if self.spans is not None:
            self.spans.stop()
        self.metrics.stop()

    def open(self, loop: asyncio.AbstractEventLoop, log: PredictionLog | None, spans: Spans | None) -> None:
        """Begin, on this event loop.

        Args:
            loop: Of the service.
            log: Where predictions are written; None: nothing is logged.
            spans: Where traces are sent, if they are.
        """
        self._loop, self.log, self.spans = loop, log, spans

    def gather(self, account: Account, entry: bytes | None, settled: Settled) -> None:
        """Log an answer together with the others of this pass of the event loop, before any of them is sent.

        One write for all of them costs hardly more than for one, and to predict them all and then send them
        all keeps the processor's caches warm. No answer comes later for it: the event loop sends what was
        written at the end of its pass in any case.

        Args:
            account: Of the release that answers.
            entry: What to log; None: nothing.
            settled: Told once the answer may be sent, or that the log could not be written.
        """
        if not self._gathered:
            assert self._loop is not None
            self._loop.call_soon(self._write)
        self._gathered.setdefault(account, []).append((entry, settled))

    def _write(self) -> None:
        gathered, self._gathered = self._gathered, {}
        for account, answers in gathered.items():
            account.write(answers)

    def log_states(self) -> dict[str, LogState]:
        """How the log of predictions fares, by system."""
        return self.log.prediction_states() if self.log is not None else {}

    def of(self, live: LiveRelease) -> Account:
        """The account of a release."""
        known = self._known.get(live.deployment.system)
        if known is None or known.live is not live:
            known = self._known[live.deployment.system] = self._open(live)
        return known

    def _open(self, live: LiveRelease) -> Account:
        manifest = live.manifest
        appender = None
        if self.log is not None and manifest.logging != "none":
            schema = live.schema.model_dump_json().encode()
            system, durability = live.deployment.system, manifest.serving.durability
            appender = self.log.predictions(system, live.digest, schema, durability, live.custody)
        return Account(live, appender, self.metrics)


def _settle(waiting: Sequence[Settled], ok: bool) -> None:
    for settled in waiting:
        settled(ok)


def _key(asked: Asked, prediction_id: str) -> bytes:
    """What a request is sampled by: its record, so that it is logged always or never; else at random."""
    if asked.record_ids and asked.record_ids[0] is not None:
        return str(asked.record_ids[0]).encode()
    return prediction_id.encode()
