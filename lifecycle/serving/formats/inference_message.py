"""An inference request of the Open Inference Protocol: its JSON, and the binary tensors behind it."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lifecycle.serving.exchange import Request
from lifecycle.serving.problems import ProblemError

HEADER_LENGTH = b"inference-header-content-length"
_MEDIA_TYPES = (b"", b"application/json", b"application/octet-stream")
MAX_TENSORS = 10_000
_DTYPES = {
    "BOOL": "?",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
}
_JSON_TYPES: dict[str, set[type]] = {
    "BOOL": {bool},
    "FP": {float, int, type(None)},
    "INT": {int},
    "UINT": {int},
}


class _Input(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class Output(msgspec.Struct):
    """An output that a client asks for."""

    name: str
    parameters: dict[str, Any] = {}


class _Body(msgspec.Struct):
    inputs: list[_Input]
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[Output] = []


class Tensor(msgspec.Struct):
    """A decoded input.

    Attributes:
        shape: As announced, and kept.
        values: Flat, row by row: a numpy array, or a list of text; None in a float tensor is missing.
        datatype: As the protocol names it.
    """

    shape: list[int]
    values: NDArray[Any] | list[Any]
    datatype: str


class Message(msgspec.Struct):
    """A decoded request."""

    id: str | None
    inputs: dict[str, Tensor]
    outputs: list[Output]
    parameters: dict[str, Any]


_decode = msgspec.json.Decoder(_Body).decode


def parse(request: Request) -> Message:
    """Decode a request.

    Raises:
        ProblemError: 400; it is not one, or a tensor is not what it announces. 415; another content type.
    """
    if request.header(b"content-type").partition(b";")[0].strip().lower() not in _MEDIA_TYPES:
        raise ProblemError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "the content type should be application/json or application/octet-stream",
        )
    length = _header_length(request)
    body, binary = request.body[:length], memoryview(request.body)[length:]
    try:
        content = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise bad("the request is not an inference request: see /v2/models/{name} for the inputs") from None
    if len(content.inputs) > MAX_TENSORS:
        raise bad("too many inputs")
    inputs: dict[str, Tensor] = {}
    at = 0
    for entry in content.inputs:
        if entry.name in inputs:
            raise bad(f"input {entry.name[:64]!r} is given twice")
        size = _binary_size(entry)
        if size is None:
            inputs[entry.name] = Tensor(entry.shape, _from_json(entry), entry.datatype)
        else:
            if size > len(binary) - at:
                raise bad("the binary data is shorter than the inputs announce")
            inputs[entry.name] = Tensor(
                entry.shape, _from_bytes(entry, binary[at : at + size]), entry.datatype
            )
            at += size
    if at != len(binary):
        raise bad("the binary data is longer than the inputs announce")
    return Message(content.id, inputs, content.outputs, content.parameters)


def bad(message: str) -> ProblemError:
    """Status 400."""
    return ProblemError(HTTPStatus.BAD_REQUEST, message)


def _header_length(request: Request) -> int:
    announced = request.header(HEADER_LENGTH)
    if not announced:
        return len(request.body)
    if not announced.isdigit() or len(announced) > 10 or int(announced) > len(request.body):
        raise bad("Inference-Header-Content-Length should be the length of the JSON in the body")
    return int(announced)


def _binary_size(entry: _Input) -> int | None:
    """Bytes of an input behind the JSON; None if its data stands in it."""
    if entry.parameters.get("shared_memory_region") is not None:
        raise _of(entry, "lies in shared memory, which this server has not")
    size = entry.parameters.get("binary_data_size")
    if size is None:
        return None
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise _of(entry, "has a binary_data_size that is not a length")
    if entry.data is not None:
        raise _of(entry, "has both data and binary_data_size")
    return size


def _count(entry: _Input) -> int:
    """How many values an input announces."""
    if not entry.shape or len(entry.shape) > 8 or min(entry.shape) < 0:
        raise _of(entry, "has a shape that is none")
    return math.prod(entry.shape)


def _from_json(entry: _Input) -> NDArray[Any] | list[Any]:
    values = _flat(entry)
    if len(values) != _count(entry):
        raise _of(entry, "does not have as many values as its shape says")
    types = set(map(type, values))
    if entry.datatype == "BYTES":
        if not types <= {str}:
            raise _of(entry, "should hold text, as its datatype says")
        return values
    dtype = _dtype(entry)
    if not types <= _JSON_TYPES[entry.datatype.rstrip("0123456789")]:
        raise _of(entry, "has values that are not of its datatype")
    try:
        with np.errstate(over="ignore"):
            array: NDArray[Any] = np.array(values, dtype=dtype)
            return array
    except OverflowError:
        raise _of(entry, "has values that its datatype cannot hold") from None


def _flat(entry: _Input) -> list[Any]:
    """Data may be nested as its shape is, or flat."""
    values: list[Any] = entry.data if entry.data is not None else []
    for _ in entry.shape[1:]:
        if not values or not all(isinstance(value, list) for value in values):
            break
        values = [value for inner in values for value in inner]
    return values


def _from_bytes(entry: _Input, data: memoryview) -> NDArray[Any] | list[Any]:
    count = _count(entry)
    if entry.datatype == "BYTES":
        return _texts(entry, data, count)
    dtype = np.dtype(_dtype(entry))
    if len(data) != count * dtype.itemsize:
        raise _of(entry, "does not have as many bytes as its shape and datatype say")
    values = np.frombuffer(data, dtype=np.uint8 if dtype == np.bool_ else dtype)
    return values.astype(np.bool_) if dtype == np.bool_ else values


def _texts(entry: _Input, data: memoryview, count: int) -> list[str]:
    """Each text stands behind its length, four bytes."""
    if 4 * count > len(data):
        raise _of(entry, "does not have as many bytes as its shape and datatype say")
    texts, at = [], 0
    for _ in range(count):
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        if at + 4 > len(data) or end > len(data):
            raise _of(entry, "ends in the middle of a text")
        try:
            texts.append(str(data[at + 4 : end], "utf-8"))
        except UnicodeDecodeError:
            raise _of(entry, "should hold text in UTF-8") from None
        at = end
    if at != len(data):
        raise _of(entry, "has more bytes than its shape says")
    return texts


def _dtype(entry: _Input) -> str:
    if entry.datatype not in _DTYPES:
        raise _of(entry, f"has none of the datatypes {', '.join(_DTYPES)}, BYTES")
    return _DTYPES[entry.datatype]


def _of(entry: _Input, what: str) -> ProblemError:
    return bad(f"input {entry.name[:64]!r} {what}")
