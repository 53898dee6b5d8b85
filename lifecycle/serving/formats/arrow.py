"""Arrow IPC bodies on the typed endpoint, and answers in Arrow for whoever accepts them.

pyarrow is an extra, and is imported with the first Arrow body, so that others do not pay its memory.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import numpy as np

from lifecycle.serving.exchange import Answers, Asked, Reply, Request
from lifecycle.serving.formats.typed import TypedJson
from lifecycle.serving.live_release import LiveRelease
from lifecycle.serving.problems import ProblemError

STREAM = b"application/vnd.apache.arrow.stream"
FILE = b"application/vnd.apache.arrow.file"
MEDIA_TYPES = (STREAM, FILE)


class Arrow:
    """Columns in, checked as JSON records are; predictions out, in Arrow if the client accepts it."""

    name = "arrow"
    heavy = True

    def __init__(self) -> None:
        self._json = TypedJson()

    def read(self, live: LiveRelease, request: Request) -> Asked:
        """Decode and check an IPC stream or file."""
        from lifecycle.serving.formats.arrow_columns import columns_of

        media_type = media_type_of(request)
        if media_type not in MEDIA_TYPES:
            taken = " or ".join(name.decode() for name in MEDIA_TYPES)
            raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the content type should be {taken}")
        columns = columns_of(_pyarrow(), request.body, is_file=media_type == FILE, fields=live.columns.fields)
        return live.columns.read(columns)

    def write(self, live: LiveRelease, request: Request, asked: Asked, answers: Answers) -> Reply:
        """An IPC stream or file if ``Accept`` names one, else the JSON of ``Predictions``."""
        media_type = accepted(request.header(b"accept"))
        if not media_type:
            return self._json.write(live, request, asked, answers)
        return Reply(200, _encode(_pyarrow(), live, asked, answers, is_file=media_type == FILE), media_type)

    def refuse(self, problem: ProblemError) -> Reply:
        """RFC 9457 problem details."""
        return problem.reply()


def media_type_of(request: Request) -> bytes:
    """The content type of a request without its parameters, in lower case."""
    return request.header(b"content-type").partition(b";")[0].strip().lower()


def accepted(accept: bytes) -> bytes:
    """The Arrow type that an ``Accept`` header asks for; empty if it asks for none, or rather for JSON.

    Example:
        >>> accepted(b"application/vnd.apache.arrow.stream, */*;q=0.1")
        b'application/vnd.apache.arrow.stream'
        >>> accepted(b"application/json, application/vnd.apache.arrow.file;q=0.5")
        b''
    """
    weights: dict[bytes, float] = {}
    for item in accept.lower().split(b","):
        name, *parameters = (part.strip() for part in item.split(b";"))
        weights[name] = _weight(parameters)
    best = max(MEDIA_TYPES, key=lambda name: weights.get(name, 0.0))
    weight = weights.get(best, 0.0)
    return best if weight > 0 and weight >= weights.get(b"application/json", 0.0) else b""


def _weight(parameters: list[bytes]) -> float:
    for parameter in parameters:
        if parameter.startswith(b"q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError:
        raise ProblemError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            'this server has no Arrow: send JSON, or install it there with pip install "lifecycle[arrow]"',
        ) from None
    return pyarrow


def _encode(pa: Any, live: LiveRelease, asked: Asked, answers: Answers, *, is_file: bool) -> bytes:
    """The answers as one batch; its schema's metadata names the release.

    The arrays are made of buffers: ``pyarrow.array`` would import pandas wherever it is installed.
    """
    rows, values = len(answers.values), answers.values
    columns = {
        "prediction": pa.Array.from_buffers(pa.float64(), rows, [None, pa.py_buffer(values.tobytes())])
    }
    if live.manifest.task == "classification":
        bits = np.packbits(values >= live.manifest.threshold, bitorder="little")
        columns["decision"] = pa.Array.from_buffers(pa.bool_(), rows, [None, pa.py_buffer(bits.tobytes())])
    columns["prediction_id"] = _text(pa, answers.prediction_ids)
    if asked.record_ids:
        columns["record_id"] = _record_ids(pa, asked.record_ids)
    origin = {"system": live.deployment.system, "release": live.digest, "version": live.deployment.version}
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns), metadata=origin)
    sink = pa.BufferOutputStream()
    with (pa.ipc.new_file if is_file else pa.ipc.new_stream)(sink, batch.schema) as writer:
        writer.write_batch(batch)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _record_ids(pa: Any, ids: list[str | int | None]) -> Any:
    """As int64 where they are such integers, else as text."""
    if all(value is None or (isinstance(value, int) and -(2**63) <= value < 2**63) for value in ids):
        numbers = np.asarray([value or 0 for value in ids], dtype=np.int64)
        return pa.Array.from_buffers(pa.int64(), len(ids), [_known(pa, ids), pa.py_buffer(numbers.tobytes())])
    return _text(pa, [None if value is None else str(value) for value in ids])


def _text(pa: Any, values: list[str] | list[str | None]) -> Any:
    parts = [(value or "").encode() for value in values]
    offsets = np.cumsum([0, *map(len, parts)]).astype(np.int32)
    buffers = [_known(pa, values), pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"".join(parts))]
    return pa.Array.from_buffers(pa.string(), len(parts), buffers)


def _known(pa: Any, values: list[Any]) -> Any:
    """The bitmap of values that are there; None if all are."""
    known = np.asarray([value is not None for value in values])
    return None if known.all() else pa.py_buffer(np.packbits(known, bitorder="little").tobytes())
