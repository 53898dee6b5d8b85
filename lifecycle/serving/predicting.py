"""Predictions at the desk: the live release reads, answers, logs and counts."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.errors import OverloadedError
from lifecycle.core.ports import Custody
from lifecycle.core.purposes import SCORING
from lifecycle.core.suggest import nearest
from lifecycle.serving.accounts import Account, Accounts
from lifecycle.serving.desk import Send, Work, as_problem, overloaded, wanted
from lifecycle.serving.exchange import Answers, Asked, Format, Reply, Request
from lifecycle.serving.formats.typed import TypedJson
from lifecycle.serving.keys import Access
from lifecycle.serving.live import LiveReleases
from lifecycle.serving.live_release import LiveRelease
from lifecycle.serving.log.entries import row_ids
from lifecycle.serving.metrics import Metrics
from lifecycle.serving.problems import MAX_FAULTS, ProblemError
from lifecycle.serving.trace_context import read_trace_context
from lifecycle.serving.tracing import Span

_UNNAMED = (b"", b"application/x-www-form-urlencoded")
"""No media type, or the one that curl names where its user names none."""

_PROCESS = secrets.token_hex(8)
_COUNT = itertools.count(1)


def new_prediction_id() -> str:
    """Names a prediction, unique everywhere: this process at random, and a count."""
    return f"{_PROCESS}{next(_COUNT):08x}"


class PredictRoute:
    """Predictions of one system.

    Args:
        live: What is live.
        accounts: Keep what is answered.
        system: Its name, as the path has it.
        formats: By media type; the first is taken where a request names none.
        name: The path with placeholders, for traces.
    """

    method = "POST"
    access: Access = "predict"

    def __init__(
        self,
        live: LiveReleases,
        accounts: Accounts,
        system: str,
        formats: Mapping[bytes, Format],
        name: str = "/v1/{system}/predict",
    ) -> None:
        self._live = live
        self._accounts = accounts
        self.system: str | None = system
        self._system = system
        self._formats = formats
        self._default = next(iter(formats.values()))
        self._name = name

    @property
    def budget_s(self) -> float:
        """As the live release says."""
        release = self._live.current(self._system)
        return release.budget_s if release else 1.0

    def begin(self, request: Request) -> Work:
        """With the release that is live now; whatever is promoted meanwhile, it answers."""
        release = self._live.current(self._system)
        if release is None:
            raise no_release(self._live, self._system)
        media_type = request.header(b"content-type")
        chosen = self._formats.get(media_type) or self._choose(media_type)
        prediction = Prediction(self._accounts, self._accounts.of(release), chosen, request)
        if traceparent := request.header(b"traceparent"):
            context = read_trace_context(traceparent, request.header(b"tracestate"))
            prediction.trace_id = context.trace_id if context else ""
        else:
            context = None
        if spans := self._accounts.spans:
            prediction.span = spans.begin(context, self.method, self._name, request.arrived)
            prediction.trace_id = prediction.span.trace_id
        return prediction

    def refuse(self, problem: ProblemError) -> Reply:
        """As the default format words it."""
        known = self._system if self._system in self._live.standings else ""
        self._accounts.metrics.counts(known).refused(problem.status, problem.reason)
        return self._default.refuse(problem)

    def _choose(self, media_type: bytes) -> Format:
        bare = media_type.partition(b";")[0].strip().lower()
        if bare in _UNNAMED:
            return self._default
        if bare not in self._formats:
            known = ", ".join(name.decode() for name in self._formats)
            raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"this path takes {known}")
        return self._formats[bare]


def refuse_objections(custody: Custody, subjects: Sequence[str], purpose: str, *, single: bool) -> None:
    """Refuse what is about people who were erased, or have withdrawn their consent.

    Raises:
        ProblemError: 403, with the positions of those in a request that holds several.
    """
    if refused := custody.refused(subjects, purpose):
        shown = ", ".join(map(str, refused[:MAX_FAULTS])) + (", ..." if len(refused) > MAX_FAULTS else "")
        which = (
            "its subject"
            if single
            else f"the subjects of {len(refused)} records (at {shown}, counted from 0)"
        )
        raise ProblemError(
            HTTPStatus.FORBIDDEN,
            f"{which} may not be used for {purpose}: consent was withdrawn, or the person was erased; "
            "leave them out",
        )


def no_release(live: LiveReleases, system: str) -> ProblemError:
    """Why nothing answers for a system."""
    standings = live.standings
    if system not in standings:
        known = ", ".join(sorted(standings)) or "none yet"
        return ProblemError(
            HTTPStatus.NOT_FOUND,
            f"no system of that name is live{nearest(system, standings)} (live: {known})",
        )
    reason = standings[system].reason
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, f"{system} has no release that answers: {reason}")


@dataclass(slots=True)
class Prediction:
    """One prediction request on its way through the desk."""

    accounts: Accounts
    account: Account
    format: Format
    request: Request
    trace_id: str = ""
    span: Span | None = None
    _asked: Asked | None = None
    _values: NDArray[np.float64] | None = None
    _reply: Reply | None = None
    _prediction_id: str = ""

    @property
    def inline(self) -> bool:
        """Whether the model answers in this process."""
        return self.account.live.engine.inline

    @property
    def heavy(self) -> bool:
        """As the format says."""
        return self.format.heavy

    def compute(self) -> None:
        """Read the request; run the model if it is in this process."""
        live = self.account.live
        self._asked = asked = self.format.read(live, self.request)
        if asked.subjects and live.custody:
            refuse_objections(live.custody, asked.subjects, SCORING, single=asked.single)
        if live.engine.inline:
            self.answer(asked, live.engine.predict(asked.tensors))

    def answer(self, asked: Asked, values: NDArray[np.float64]) -> Reply:
        """Word the model's answers."""
        if not (isfinite(values[0]) if len(values) == 1 else np.isfinite(values).all()):
            position = "" if asked.single else f" for instance {int(np.argmin(np.isfinite(values)))}"
            problem = ProblemError(
                HTTPStatus.INTERNAL_SERVER_ERROR, f"the model has no finite answer{position}"
            )
            problem.reason = "engine-fault"
            raise problem
        name = new_prediction_id()
        self._values, self._prediction_id = values, name
        ids = row_ids(name, asked.shape, len(values))
        self._reply = reply = self.format.write(self.account.live, self.request, asked, Answers(values, ids))
        reply.headers.append(self.account.live.header)
        return reply

    def settle(self, send: Send) -> None:
        """Log, count and send the answer, once there is one."""
        if self._reply is None:
            self._ask_elsewhere(send)
        else:
            self._keep(send)

    def _ask_elsewhere(self, send: Send) -> None:
        """Ask a model that runs in processes of its own; the answer comes on this event loop."""
        assert self._asked is not None
        asked = self._asked

        def done(outcome: NDArray[np.float64] | Exception) -> None:
            if not wanted(send):
                return
            try:
                if isinstance(outcome, Exception):
                    raise outcome
                self.answer(asked, outcome)
                self._keep(send)
            except Exception as error:  # noqa: BLE001 - every request gets an answer
                send(self.refuse(as_problem(error)))

        try:
            self.account.live.engine.submit(asked.tensors, done)
        except OverloadedError:
            raise overloaded("more requests wait for this model than it can answer in time") from None

    def _keep(self, send: Send) -> None:
        """Log the answer, then send it."""
        assert self._asked is not None
        assert self._values is not None
        entry = self.account.entry(
            self.request, self._asked, self._prediction_id, self._values.tobytes(), self.trace_id
        )
        self.accounts.gather(self.account, entry, partial(self._kept, send))

    def _kept(self, send: Send, ok: bool) -> None:
        """It is in the log as safely as promised, or not, though it should be."""
        try:
            if not ok:
                assert self._values is not None
                self.account.unlogged(len(self._values))
            self._send(send)
        except Exception as error:  # noqa: BLE001 - those logged with it are answered all the same
            send(self.refuse(as_problem(error)))

    def _send(self, send: Send) -> None:
        assert self._reply is not None
        assert self._values is not None
        rows, live = len(self._values), self.account.live
        self.account.counts.answered(time.perf_counter() - self.request.arrived, rows, self.format.name)
        if self.span:
            self.span.answered(
                system=live.deployment.system,
                release=live.digest,
                version=live.deployment.version,
                share=self.account.share,
                wire=self.format.name,
                rows=rows,
            )
            self.span.end(self._reply.status)
        send(self._reply)

    def refuse(self, problem: ProblemError) -> Reply:
        """Count and word a refusal."""
        self.account.counts.refused(problem.status, problem.reason)
        if self.span:
            self.span.end(problem.status, problem.reason or "")
        reply = self.format.refuse(problem)
        reply.headers.append(self.account.live.header)
        return reply


def answer(live: LiveRelease, body: bytes) -> bytes:
    """What the typed endpoint answers to a JSON body, as an example: it is neither logged nor counted.

    Raises:
        ProblemError: The body does not fit the record, or the model has no answer.
    """
    accounts = Accounts(Metrics())
    prediction = Prediction(accounts, accounts.of(live), TypedJson(), Request("POST", "", (), body, 0.0))
    try:
        asked = prediction.format.read(live, prediction.request)
        return prediction.answer(asked, live.engine.predict(asked.tensors)).body
    except Exception as error:  # noqa: BLE001 - no error shows a value of the request
        raise as_problem(error) from None
