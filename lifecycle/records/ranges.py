"""An object of a store as a file: what is read of it is asked for in ranges, and nothing else."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any


class Ranges(io.RawIOBase):
    """A file to read, whose bytes lie elsewhere.

    Args:
        read: Gives the bytes from one position up to another.
        size: How many there are.

    Attributes:
        error: What ``read`` raised last: libraries that read files tell it in words of their own.

    Example:
        >>> content = bytes(range(100))
        >>> file = Ranges(lambda start, end: content[start:end], len(content))
        >>> file.seek(-3, os.SEEK_END), file.read(8)
        (97, b'abc')
    """

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read = read
        self._size = size
        self._at = 0
        self.error: Exception | None = None

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position, which may lie beyond the end."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as there are bytes; how many."""
        end = min(self._at + len(buffer), self._size)
        if end <= self._at:
            return 0
        try:
            content = self._read(self._at, end)
        except Exception as error:
            self.error = error
            raise
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)
