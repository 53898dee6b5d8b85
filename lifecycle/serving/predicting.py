"""Predictions at the desk: the live release reads, answers, logs and counts."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.suggest import nearest
from lifecycle.serving.desk import Send, Work, as_problem
from lifecycle.serving.exchange import Answers, Asked, Format, Reply, Request
from lifecycle.serving.formats.typed import TypedJson
from lifecycle.serving.keys import Access
from lifecycle.serving.live import LiveRelease, LiveReleases
from lifecycle.serving.problems import ProblemError

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
        system: Its name, as the path has it.
        formats: By media type; the first is taken where a request names none.
    """

    method = "POST"
    access: Access = "predict"

    def __init__(self, live: LiveReleases, system: str, formats: Mapping[bytes, Format]) -> None:
        self._live = live
        self.system: str | None = system
        self._formats = formats
        self._default = next(iter(formats.values()))

    @property
    def budget_s(self) -> float:
        """As the live release says."""
        release = self._live.current(self.system or "")
        return release.budget_s if release else 1.0

    def begin(self, request: Request) -> Work:
        """With the release that is live now; whatever is promoted meanwhile, it answers."""
        release = self._live.current(self.system or "")
        if release is None:
            raise self._nothing()
        media_type = request.header(b"content-type")
        chosen = self._formats.get(media_type) or self._choose(media_type)
        return Prediction(release, chosen, request)

    def refuse(self, problem: ProblemError) -> Reply:
        """As the default format words it."""
        return self._default.refuse(problem)

    def _choose(self, media_type: bytes) -> Format:
        bare = media_type.partition(b";")[0].strip().lower()
        if bare in _UNNAMED:
            return self._default
        if bare not in self._formats:
            known = ", ".join(name.decode() for name in self._formats)
            raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"this path takes {known}")
        return self._formats[bare]

    def _nothing(self) -> ProblemError:
        standings, system = self._live.standings, self.system or ""
        if system not in standings:
            known = ", ".join(sorted(standings)) or "none yet"
            return ProblemError(
                HTTPStatus.NOT_FOUND,
                f"no system of that name is live{nearest(system, standings)} (live: {known})",
            )
        reason = standings[system].fault or "it is loading"
        return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, f"{system} has no release that answers: {reason}")


@dataclass(slots=True)
class Prediction:
    """One prediction request on its way."""

    live: LiveRelease
    format: Format
    request: Request
    asked: Asked | None = None
    answers: Answers | None = None
    reply: Reply | None = None

    def compute(self) -> None:
        """Read the request and run the model."""
        self.asked = asked = self.format.read(self.live, self.request)
        self._answer(asked, self.live.engine.predict(asked.tensors))

    def _answer(self, asked: Asked, values: NDArray[np.float64]) -> None:
        if not np.isfinite(values).all():
            position = "" if asked.single else f" for instance {int(np.argmin(np.isfinite(values)))}"
            raise ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, f"the model has no finite answer{position}")
        name = new_prediction_id()
        ids = [name] if asked.single else [f"{name}-{i}" for i in range(len(values))]
        self.answers = Answers(values, ids)
        self.reply = self.format.write(self.live, self.request, asked, self.answers)
        self.reply.headers.append(self.live.header)

    def settle(self, send: Send) -> None:
        """Log, count, reply."""
        assert self.reply is not None
        send(self.reply)

    def refuse(self, problem: ProblemError) -> Reply:
        """Count and word a refusal."""
        reply = self.format.refuse(problem)
        reply.headers.append(self.live.header)
        return reply


def answer(live: LiveRelease, body: bytes) -> bytes:
    """What the typed endpoint answers to a JSON body, as an example: it is neither logged nor counted.

    Raises:
        ProblemError: The body does not fit the record, or the model has no answer.
    """
    prediction = Prediction(live, TypedJson(), Request("POST", "", (), body, 0.0))
    try:
        prediction.compute()
    except Exception as error:  # noqa: BLE001 - no error shows a value of the request
        raise as_problem(error) from None
    assert prediction.reply is not None
    return prediction.reply.body
