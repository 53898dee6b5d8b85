"""What passes between the wire and the desk: plain requests and replies, whoever speaks HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lifecycle.core.rows import Tensors
    from lifecycle.serving.live_release import LiveRelease
    from lifecycle.serving.log.entries import Shape
    from lifecycle.serving.problems import ProblemError

MAX_REQUEST_ID = 128
"""Longest request id that is kept and given back, bytes."""

Headers = Sequence[tuple[bytes, bytes]]
RecordIds = list[str | int | None] | None
"""The records' ids as sent; None if none was."""
Subjects = list[str] | None
"""Whom each record is about, as text; None where records are not sealed."""


@dataclass(slots=True)
class Request:
    """One whole request.

    Attributes:
        method: Such as ``POST``.
        path: Without the query, percent-decoded.
        headers: Names in lower case, in the order they came.
        body: All of it.
        arrived: When it was whole, ``time.perf_counter()`` seconds.
    """

    method: str
    path: str
    headers: Headers
    body: bytes
    arrived: float
    _named: dict[bytes, bytes] | None = None

    def header(self, name: bytes) -> bytes:
        """The value of a header by its lower-case name, the last one if it was sent twice; empty if not."""
        if self._named is None:
            self._named = dict(self.headers)
        return self._named.get(name, b"")

    @property
    def request_id(self) -> str:
        """What the client calls this request in ``X-Request-ID``; empty if no header may hold it."""
        given = self.header(b"x-request-id")
        if not given or len(given) > MAX_REQUEST_ID or not given.isascii():
            return ""
        name = given.decode()
        return name if name.isprintable() else ""


@dataclass(slots=True)
class Reply:
    """One whole answer.

    Attributes:
        status: HTTP status.
        body: All of it.
        media_type: The content type.
        headers: Further headers, names in lower case.
    """

    status: int
    body: bytes
    media_type: bytes = b"application/json"
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


@dataclass(slots=True)
class Asked:
    """What a request asks the model.

    Attributes:
        tensors: The model's inputs, one row per record.
        single: Whether the request held one bare record, so that the answer is one bare prediction.
        record_ids: The records' ids as sent; None if none was.
        subjects: Whom each record is about; None where records are not sealed.
        shape: How ``inputs`` is to be read, as in the prediction log.
        inputs: What the prediction log keeps.
        context: What the format itself needs to write the answer, such as the names of the outputs asked for.
    """

    tensors: Tensors
    single: bool
    record_ids: RecordIds
    shape: Shape
    inputs: bytes
    context: object = None
    subjects: Subjects = None


@dataclass(slots=True)
class Answers:
    """What the model answered.

    Attributes:
        values: float64 ``[rows]``, all finite.
        prediction_ids: One per row.
    """

    values: NDArray[np.float64]
    prediction_ids: list[str]


class Format(Protocol):
    """A wire format of predictions."""

    name: str
    """As in metrics: ``json``, ``arrow``, ``mlflow``, ``inference-v2``."""

    heavy: bool
    """Whether even a small body is read in a thread, as by a library that is loaded at first use."""

    def read(self, live: LiveRelease, request: Request) -> Asked:
        """Decode and check a request.

        Raises:
            ProblemError: It does not fit the record; no value from the request is in it.
        """
        ...

    def write(self, live: LiveRelease, request: Request, asked: Asked, answers: Answers) -> Reply:
        """Encode the answers."""
        ...

    def refuse(self, problem: ProblemError) -> Reply:
        """Encode a refusal as this format's clients expect it."""
        ...
