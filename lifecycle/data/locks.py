"""One flow per system: a lock that the kernel releases, however its holder ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from lifecycle.core.errors import BusyError
from lifecycle.data.storage import storing

_GRACE_S = 10.0
"""How long to wait for the children of a holder that was killed; they end within milliseconds."""
_POLL_S = 0.05


class SystemLock:
    """An advisory lock on one file, held as long as its descriptor is open somewhere.

    The children of a flow inherit the descriptor. So after ``kill -9`` of the flow, the lock is free when
    the last of them is gone too, and nobody else ever works in a worktree that an orphan still writes to.

    Args:
        path: The lock file. It stays where it is: removing it would let two flows hold two files.
        system: Name of the system, for messages.
        what: What of it is held, for messages.
    """

    def __init__(self, path: Path, system: str, what: str = "the system") -> None:
        self.path = path
        self.system = system
        self.what = what

    @contextmanager
    def held(self) -> Iterator[int]:
        """Hold the lock for the block, which gets the descriptor that children are to inherit.

        Raises:
            BusyError: Another process holds it.
        """
        with storing(str(self.path)):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._acquire(descriptor)
            with storing(str(self.path)):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            try:
                yield descriptor
            finally:
                os.ftruncate(descriptor, 0)
        finally:
            os.close(descriptor)

    def _acquire(self, descriptor: int) -> None:
        deadline = time.monotonic() + _GRACE_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                holder = _holder(descriptor)
                if _is_alive(holder) or time.monotonic() > deadline:
                    raise self._busy(descriptor, holder) from None
            time.sleep(_POLL_S)  # the holder was killed: its children are about to end

    def _busy(self, descriptor: int, holder: int | None) -> BusyError:
        since = datetime.fromtimestamp(os.fstat(descriptor).st_mtime, UTC)
        who = f"process {holder}" if holder else "a process that is just starting"
        return BusyError(
            f"{self.system}: another flow holds {self.what} ({who}, since {since:%Y-%m-%d %H:%M:%S} UTC)",
            hint="wait until it ends, then run the same command again",
        )


def _holder(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    return int(text) if text.isdigit() else None


def _is_alive(process: int | None) -> bool:
    if process is None:  # it holds the lock and has not written its number yet
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # alive, and another user's
        return True
    return True
