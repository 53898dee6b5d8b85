"""What is kept of every answer: an entry in the prediction log, counts, and a span where traces are on."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from lifecycle.serving.exchange import Asked, Request
from lifecycle.serving.live import LiveRelease
from lifecycle.serving.log.entries import PredictionEntry, Share
from lifecycle.serving.log.sampling import sampled
from lifecycle.serving.log.terms import UnloggedError
from lifecycle.serving.problems import ProblemError

if TYPE_CHECKING:
    from lifecycle.serving.log.commit import Ticket
    from lifecycle.serving.log.terms import LogState
    from lifecycle.serving.log.writer import Appender, PredictionLog
    from lifecycle.serving.metrics import Metrics
    from lifecycle.serving.tracing import Spans

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

    def record(
        self, request: Request, asked: Asked, prediction_id: str, predictions: bytes, trace_id: str
    ) -> Ticket | None:
        """Log an answer, before it is sent.

        Args:
            request: As it came.
            asked: What was asked.
            prediction_id: Of the request.
            predictions: float64 little-endian, one per row.
            trace_id: Of its trace; empty if it has none.

        Returns:
            None: it may be sent. A ticket: once it is settled.

        Raises:
            ProblemError: 503: the log cannot be written, and the system answers nothing that is not logged.
        """
        log = self._log
        if log is None:
            return None
        rows = len(asked.tensors)
        if self._sampled < 1 and not sampled(_key(asked, prediction_id), self._sampled):
            log.unlogged("sampled", 1, rows)
            return None
        entry = PredictionEntry(
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
        try:
            return log.append(_encode(entry))
        except UnloggedError:
            self.unlogged(rows)
            return None

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
        log: Where predictions are written; None: nothing is logged.
        spans: Where traces are sent, if they are.
    """

    def __init__(
        self, metrics: Metrics, log: PredictionLog | None = None, spans: Spans | None = None
    ) -> None:
        self.metrics = metrics
        self.log = log
        self.spans = spans
        self._known: dict[str, Account] = {}

    def close(self) -> None:
        """Write what waits, send what is left of the traces, and tell the counts a last time."""
        if self.log is not None:
            self.log.close()
        if self.spans is not None:
            self.spans.stop()
        self.metrics.stop()

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
            appender = self.log.predictions(system, live.digest, schema, durability)
        return Account(live, appender, self.metrics)


def _key(asked: Asked, prediction_id: str) -> bytes:
    """What a request is sampled by: its record, so that it is logged always or never; else at random."""
    if asked.record_ids and asked.record_ids[0] is not None:
        return str(asked.record_ids[0]).encode()
    return prediction_id.encode()
