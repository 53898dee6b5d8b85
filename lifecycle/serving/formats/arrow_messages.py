"""What an Arrow IPC body announces, read before anything in it is decoded.

A few bytes can announce much: buffers that decompress to gigabytes, a dictionary that grows with every
message, a file whose footer names one batch a thousand times, a batch of 2**60 nulls. So the metadata of
every message is looked at here, as the flatbuffers that the format specifies, and what needs more memory than
the body has is refused. Source: Arrow columnar format 1.5, "Serialization and Interprocess Communication".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from http import HTTPStatus

from lifecycle.serving.formats.columns import too_many
from lifecycle.serving.limits import MAX_INSTANCES
from lifecycle.serving.problems import ProblemError

MAX_BATCHES = 1_000
"""Record and dictionary batches in one body."""

MAGIC = b"ARROW1"
_CONTINUES = 0xFFFFFFFF
_DICTIONARY, _RECORDS = 2, 3  # union MessageHeader


def check_stream(body: bytes) -> None:
    """Check an IPC stream.

    Raises:
        ProblemError: 400 or 413; what it announces is not taken.
    """
    _check(_stream_messages(body))


def check_file(body: bytes) -> None:
    """Check an IPC file, whose messages the footer names.

    Raises:
        ProblemError: 400 or 413; what it announces is not taken.
    """
    _check(_file_messages(body))


def malformed(what: str) -> ProblemError:
    """Status 400."""
    return ProblemError(HTTPStatus.BAD_REQUEST, f"the body is not the Arrow IPC that is taken here: {what}")


def _check(messages: Iterator[_Table]) -> None:
    rows = 0
    try:
        for count, message in enumerate(messages):
            if count > MAX_BATCHES:
                raise malformed(f"more than {MAX_BATCHES} batches")
            rows += _announced_rows(message)
            if rows > MAX_INSTANCES:
                raise too_many(rows)
    except (struct.error, IndexError):
        raise malformed("it ends early, or a length in it is wrong") from None


def _announced_rows(message: _Table) -> int:
    kind, header = message.number(1, "B"), message.table(2)
    if kind == _DICTIONARY:
        if header.number(2, "?"):
            raise malformed("a dictionary grows: send it whole")
        header = header.table(1)
    elif kind != _RECORDS:
        return 0
    if header.slot(3):
        raise malformed("its buffers are compressed: write it without compression")
    rows = header.number(0, "q")
    if rows < 0:
        raise malformed("a batch has a negative length")
    if kind == _DICTIONARY:
        if rows > MAX_INSTANCES:
            raise malformed(f"a dictionary of more than {MAX_INSTANCES} words")
        return 0
    return rows


def _stream_messages(body: bytes) -> Iterator[_Table]:
    at = 0
    while at < len(body):
        start, length = _prefix(body, at)
        if length == 0:
            return
        message = _message(body, start, length)
        yield message
        at = start + length + message.number(3, "q")
        if at > len(body) or at < start:
            raise IndexError


def _file_messages(body: bytes) -> Iterator[_Table]:
    if not body.startswith(MAGIC) or not body.endswith(MAGIC):
        raise malformed("a file begins and ends with ARROW1")
    end = len(body) - len(MAGIC) - 4
    (length,) = struct.unpack_from("<i", body, end)
    if not 0 < length <= end:
        raise IndexError
    footer = _Table(body[end - length : end])
    blocks = [*footer.structs(2, "<qi4xq"), *footer.structs(3, "<qi4xq")]
    if sum(metadata + content for _, metadata, content in blocks) > len(body):
        raise malformed("its footer names one part twice")
    for offset, metadata, content in blocks:
        if min(offset, metadata, content) < 0 or offset + metadata + content > len(body):
            raise IndexError
        yield _message(body, *_prefix(body, offset))


def _prefix(body: bytes, at: int) -> tuple[int, int]:
    """Where the metadata of the message at ``at`` begins, and how long it is."""
    (length,) = struct.unpack_from("<I", body, at)
    if length != _CONTINUES:  # as written before Arrow 0.15
        return at + 4, int(length)
    (length,) = struct.unpack_from("<I", body, at + 4)
    return at + 8, int(length)


def _message(body: bytes, start: int, length: int) -> _Table:
    if start + length > len(body):
        raise IndexError
    return _Table(body[start : start + length])


class _Table:
    """A table in a flatbuffer: fields by their number, each of them optional.

    Args:
        data: The whole buffer.
        at: Where the table stands; by default what the buffer names as its root.
    """

    def __init__(self, data: bytes, at: int | None = None) -> None:
        self._data = data
        self._at = struct.unpack_from("<I", data)[0] if at is None else at
        self._fields = self._at - self._read("<i", self._at)

    def slot(self, field: int) -> int:
        """Where a field stands; 0 if it is left out."""
        size = self._read("<H", self._fields)
        entry = 4 + 2 * field
        relative = self._read("<H", self._fields + entry) if entry < size else 0
        return self._at + relative if relative else 0

    def number(self, field: int, form: str) -> int:
        """A number; 0 if it is left out."""
        slot = self.slot(field)
        return self._read(f"<{form}", slot) if slot else 0

    def table(self, field: int) -> _Table:
        """A table within it, which must be there."""
        slot = self.slot(field)
        if not slot:
            raise IndexError
        return _Table(self._data, slot + self._read("<I", slot))

    def structs(self, field: int, form: str) -> list[tuple[int, ...]]:
        """A list of structs; empty if it is left out."""
        slot = self.slot(field)
        if not slot:
            return []
        start = slot + self._read("<I", slot)
        count, size = self._read("<I", start), struct.calcsize(form)
        if count > MAX_BATCHES:
            raise malformed(f"more than {MAX_BATCHES} batches")
        return [struct.unpack_from(form, self._data, start + 4 + i * size) for i in range(count)]

    def _read(self, form: str, at: int) -> int:
        if at < 0:
            raise IndexError
        return int(struct.unpack_from(form, self._data, at)[0])
