"""The format of a segment, and the reader that trusts none of its bytes.

    header   magic 8s | version u16 | bytes of the name u16 | process 16s | name of the system | crc32 u32
    frame    length u32 | crc32 u32 | payload: one entry in msgpack

All numbers are little-endian. A frame's checksum covers its length and its payload, and starts from the
header's checksum: a frame of another process, left behind in a block of the disk, does not fit here.
"""

from __future__ import annotations

import logging
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, get_args
from uuid import UUID
from zlib import crc32

import msgspec

from lifecycle.core.errors import IntegrityError
from lifecycle.serving.log.entries import Entry

MAGIC = b"LCYCLOG\n"
VERSION = 1
MAX_ENTRY = 256 * 2**20
"""The longest payload of a frame, bytes."""

_HEADER = struct.Struct("<8sHH16s")
_FRAME = struct.Struct("<II")
_CRC = struct.Struct("<I")
_CHUNK = 2**20
_HEAD_BYTES = 16
"""More than the first bytes of a payload that say what kind of entry it is."""
_HEADS = re.compile(
    b"[\x90-\x9f](?:"
    + b"|".join(
        re.escape(msgspec.msgpack.encode(kind.__struct_config__.tag))
        for kind in get_args(Entry)  # each is an array that begins with its tag
    )
    + b")"
)
_decoder: msgspec.msgpack.Decoder[Entry] = msgspec.msgpack.Decoder(Entry)
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Header:
    """Who wrote a segment.

    Attributes:
        system: The system's name.
        process: Drawn anew by every process that writes.
    """

    system: str
    process: UUID

    def encode(self) -> bytes:
        """The first bytes of a segment."""
        name = self.system.encode()
        head = _HEADER.pack(MAGIC, VERSION, len(name), self.process.bytes) + name
        return head + _CRC.pack(crc32(head))

    @property
    def seed(self) -> int:
        """What the checksum of every frame starts from."""
        return crc32(self.encode()[: -_CRC.size])


def frame(payload: bytes, seed: int) -> bytes:
    """One entry as it stands in a segment.

    Args:
        payload: The entry in msgpack, 1 to ``MAX_ENTRY`` bytes.
        seed: Of the segment's header.
    """
    length = len(payload)
    return _FRAME.pack(length, crc32(payload, seed ^ length)) + payload


@dataclass(frozen=True)
class Damage:
    """Bytes amid a segment that are no whole frame, while whole frames follow.

    Attributes:
        offset: Of the first such byte in the file.
        length: How many bytes.
    """

    offset: int
    length: int


class SegmentReader:
    """The entries of one segment, read as a stream; memory is bounded by the longest entry.

    Iterating ends at the last whole frame and fills the attributes, anew each time. A torn tail is how a
    killed process or a power cut leaves a file. Damage in the middle is not: a disk has rotted or somebody
    has edited. What is whole is still yielded, and whoever relies on the log calls ``verify``.

    Args:
        path: A segment, closed or open.

    Attributes:
        header: Who wrote it; None if the file was torn within its header.
        entries: Whole entries so far.
        whole: Where the last whole frame ends, bytes from the start of the file.
        torn: Bytes after it.
        damage: Places amid the file where frames are lost.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reset()

    def _reset(self) -> None:
        self.header: Header | None = None
        self.entries = self.whole = self.torn = 0
        self.damage: list[Damage] = []

    def __iter__(self) -> Iterator[Entry]:
        """The entries, in the order they were written.

        Raises:
            IntegrityError: It is not a segment, or an entry in it is none that this version knows.
        """
        for payload in self.payloads():
            try:
                yield _decoder.decode(payload)
            except msgspec.DecodeError:
                raise IntegrityError(
                    f"{self.path.name}: the entry before byte {self.whole} is whole, but none that this "
                    "version knows",
                    hint="read it with the version of lifecycle that wrote it",
                ) from None

    def payloads(self) -> Iterator[bytes]:
        """The entries in msgpack.

        Raises:
            IntegrityError: It is not a segment.
        """
        self._reset()
        with self.path.open("rb", buffering=_CHUNK) as stream:
            self._size = stream.seek(0, 2)
            self.header = self._read_header(stream)
            if self.header is None:
                self.torn = self._size
                return
            self._seed = self.header.seed
            self.whole = len(self.header.encode())
            yield from self._frames(stream)
            self.torn = self._size - self.whole
        if self.torn:
            logger.info("%s: %d bytes after the last whole entry", self.path.name, self.torn)

    def verify(self) -> None:
        """Refuse a segment that lost entries in its middle; call it after iterating.

        Raises:
            IntegrityError: There is damage.
        """
        if self.damage:
            first, lost = self.damage[0], sum(place.length for place in self.damage)
            raise IntegrityError(
                f"{self.path.name}: {lost} bytes in {len(self.damage)} places are damaged, the first at byte "
                f"{first.offset}; {self.entries} entries are whole",
                hint="look at the disk, and restore the file from a copy if there is one",
            )

    def _read_header(self, stream: BinaryIO) -> Header | None:
        stream.seek(0)
        head = stream.read(_HEADER.size)
        if len(head) < _HEADER.size and MAGIC.startswith(head[: len(MAGIC)]):
            return None
        if not head.startswith(MAGIC):
            raise IntegrityError(f"{self.path.name} is not a segment of a prediction log")
        _, version, length, process = _HEADER.unpack(head)
        rest = stream.read(length + _CRC.size)
        if version != VERSION:
            raise IntegrityError(
                f"{self.path.name} has version {version}, and this version of lifecycle reads {VERSION}",
                hint="read it with the version of lifecycle that wrote it",
            )
        if len(rest) < length + _CRC.size:
            return None
        name, checksum = rest[:length], _CRC.unpack(rest[length:])[0]
        if checksum != crc32(head + name):
            raise IntegrityError(f"{self.path.name}: the checksum of its header is wrong")
        return Header(name.decode(), UUID(bytes=process))

    def _frames(self, stream: BinaryIO) -> Iterator[bytes]:
        while self.whole < self._size:
            payload = self._frame(stream, self.whole)
            if payload is None:
                following = self._next_whole(stream, self.whole + 1)
                if following is None:
                    return
                place = Damage(self.whole, following - self.whole)
                self.damage.append(place)
                logger.error("%s: %d bytes at %d are damaged", self.path.name, place.length, place.offset)
                self.whole = following
                stream.seek(following)
                continue
            self.entries += 1
            self.whole += _FRAME.size + len(payload)
            yield payload

    def _frame(self, stream: BinaryIO, place: int) -> bytes | None:
        """The payload of the frame at the stream's place in the file; None if there is no whole frame."""
        head = stream.read(_FRAME.size)
        if len(head) < _FRAME.size:
            return None
        length, checksum = _FRAME.unpack(head)
        if not 0 < length <= min(MAX_ENTRY, self._size - place - _FRAME.size):
            return None
        payload = stream.read(length)
        whole = len(payload) == length and crc32(payload, self._seed ^ length) == checksum
        return payload if whole else None

    def _next_whole(self, stream: BinaryIO, start: int) -> int | None:
        """Where the next whole frame begins, found by the first bytes of its payload."""
        for position in range(start, self._size, _CHUNK):
            stream.seek(position)
            chunk = stream.read(_CHUNK + _HEAD_BYTES)
            for match in _HEADS.finditer(chunk):
                place = position + match.start() - _FRAME.size
                if place >= start:
                    stream.seek(place)
                    if self._frame(stream, place) is not None:
                        return place
        return None


def read_segment(path: Path) -> SegmentReader:
    """Read a segment: iterate over the result, then look at its ``torn`` and ``damage``.

    Raises:
        IntegrityError: While iterating: it is not a segment, or holds an entry this version does not know.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from lifecycle.serving.log.entries import UnloggedEntry
        >>> header = Header("homes", UUID(int=7))
        >>> payload = msgspec.msgpack.encode(UnloggedEntry("sampled", 3, 4, 0))
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.seg"
        ...     written = path.write_bytes(header.encode() + frame(payload, header.seed) + b"torn")
        ...     reader = read_segment(path)
        ...     print([entry.rows for entry in reader], reader.torn)
        [4] 4
    """
    return SegmentReader(path)
