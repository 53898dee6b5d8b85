"""Files that only their owner may read, written whole or not at all."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lifecycle.core.errors import ConfigError


@contextmanager
def alone(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold a folder, which is made if need be: no other process that holds it is beside this one.

    Args:
        folder: The folder.
        shared: Be beside others that say so too; the folder must be there.

    Raises:
        OSError: It cannot be made or opened.
    """
    if not shared:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read_private(path: Path, what: str) -> bytes | None:
    """The content of a file that nobody else can read or change; None if there is no such file.

    Args:
        path: The file.
        what: What it is, for a message: "the signing key".

    Raises:
        ConfigError: Others can read or change it, or this user may not read it.
    """
    try:
        with path.open("rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            if mode & 0o077:
                raise ConfigError(
                    f"{path} has mode {mode:04o}: others can read or change {what}",
                    hint=f"if nobody has: chmod 600 {path}; otherwise replace {what}",
                )
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise ConfigError(
            f"this user may not read {what} {path}",
            hint=f"run as its owner, or: chown {os.geteuid()} {path}",
        ) from None


def store_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all, and safe from a power loss.

    Raises:
        OSError: The disk refuses it.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the name too
        finally:
            os.close(folder)
    finally:
        draft.unlink(missing_ok=True)
