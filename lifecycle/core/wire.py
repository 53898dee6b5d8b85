"""Tensors and answers as bytes, between a process that serves and one that runs an estimator.

A message is its length in 8 bytes and then that many bytes. Nothing in it is code: numbers travel as they lie
in memory, text as UTF-8, and whoever reads checks that the lengths add up.

    tensors  rows, numbers, categories (uint32 each) | float32 numbers | uint32 lengths | text
    reply    0 | float64 answers        or        1 | why there are none, as text
"""

from __future__ import annotations

import socket
import struct
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.rows import Tensors

_LENGTH = struct.Struct("<Q")
_SHAPE = struct.Struct("<III")
_ANSWERS, _REFUSAL = b"\x00", b"\x01"


def send(connection: socket.socket, message: bytes) -> None:
    """Send one message."""
    connection.sendall(_LENGTH.pack(len(message)) + message)


def receive(connection: socket.socket) -> bytes | None:
    """The next message; None if the other side has gone, even in the midst of one."""
    header = _exactly(connection, _LENGTH.size)
    return None if header is None else _exactly(connection, _LENGTH.unpack(header)[0])


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    content = bytearray(size)
    view = memoryview(content)
    while view:
        count = connection.recv_into(view)
        if not count:
            return None
        view = view[count:]
    return bytes(content)


def pack_tensors(tensors: Tensors) -> bytes:
    """Tensors as a message."""
    texts = [text.encode("utf-8", "surrogatepass") for text in tensors.categories.ravel().tolist()]
    return b"".join(
        (
            _SHAPE.pack(len(tensors), tensors.numbers.shape[1], tensors.categories.shape[1]),
            np.ascontiguousarray(tensors.numbers, dtype="<f4").tobytes(),
            np.array([len(text) for text in texts], dtype="<u4").tobytes(),
            *texts,
        )
    )


def unpack_tensors(message: bytes) -> Tensors:
    """The tensors of a message.

    Raises:
        ValueError: The lengths do not add up.

    Example:
        >>> tensors = Tensors(np.array([[1.5], [np.nan]], dtype=np.float32),
        ...                   np.array([["brick"], [""]], dtype=object))
        >>> again = unpack_tensors(pack_tensors(tensors))
        >>> again.numbers.tolist(), again.categories.tolist()
        ([[1.5], [nan]], [['brick'], ['']])
    """
    rows, numbers, categories = _SHAPE.unpack_from(message)
    lengths_at = _SHAPE.size + 4 * rows * numbers
    text_at = lengths_at + 4 * rows * categories
    values = np.frombuffer(message, "<f4", rows * numbers, _SHAPE.size).astype(np.float32)
    lengths = np.frombuffer(message, "<u4", rows * categories, lengths_at).tolist()
    ends = list(accumulate(lengths, initial=text_at))
    if ends[-1] != len(message):
        raise ValueError("the lengths of a message do not add up")
    texts = np.empty(rows * categories, dtype=object)
    texts[:] = [message[start:end].decode("utf-8", "surrogatepass") for start, end in pairwise(ends)]
    return Tensors(values.reshape(rows, numbers), texts.reshape(rows, categories))


def pack_reply(reply: NDArray[np.float64] | str) -> bytes:
    """Answers, or why there are none, as a message."""
    if isinstance(reply, str):
        return _REFUSAL + reply.encode()
    return _ANSWERS + np.ascontiguousarray(reply, dtype="<f8").tobytes()


def unpack_reply(message: bytes) -> NDArray[np.float64] | str:
    """The answers of a message, or why there are none.

    Example:
        >>> unpack_reply(pack_reply(np.array([1.5, 2.0]))).tolist(), unpack_reply(pack_reply("no"))
        ([1.5, 2.0], 'no')
    """
    if message[:1] == _REFUSAL:
        return message[1:].decode()
    return np.frombuffer(message, "<f8", offset=1).astype(np.float64)
