"""Faults of disks and shares, told in the project's own words."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from lifecycle.core.errors import StorageError

REFUSALS = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.ENOTDIR,
        errno.EIO,
    }
)
"""What the system says when a place will not store: full, over quota, read-only, forbidden, not a folder."""

_HINT = "free space there or mend its permissions, then run the same command again"


@contextmanager
def storing(place: str) -> Iterator[None]:
    """Turn a refusal to store inside the block into a ``StorageError``; every other error passes.

    Args:
        place: Where the block writes; named when the system's own error names no file.

    Example:
        >>> with storing("the disk"):
        ...     raise OSError(errno.ENOSPC, "No space left on device")
        Traceback (most recent call last):
        ...
        lifecycle.core.errors.StorageError: cannot write to the disk: No space left on device
          → free space there or mend its permissions, then run the same command again
    """
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        raise StorageError(
            f"cannot write to {error.filename or place}: {error.strerror}", hint=_HINT
        ) from error


def without_secrets(url: str) -> str:
    """A URL fit for a message: user name and password are hidden.

    Example:
        >>> without_secrets("https://ann:pw@example.org/data"), without_secrets("/mnt/share")
        ('https://***@example.org/data', '/mnt/share')
    """
    return re.sub(r"//[^/@]+@", "//***@", url)
