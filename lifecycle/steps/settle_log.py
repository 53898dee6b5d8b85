"""After an erasure: what servers have logged of the person goes no further.

A segment of the log is sealed as a whole, under a key of its own, until it is compacted. Servers close theirs
within a second or two of an erasure; then they are compacted here, which leaves the person's rows out and
destroys the keys of the segments.
"""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

from lifecycle.core.errors import BusyError
from lifecycle.core.ports import Vault
from lifecycle.data.log_parts import CompactedLog
from lifecycle.serving.log.recovery import OPEN, adoptable, closed_segments
from lifecycle.serving.log.unsealing import key_names
from lifecycle.steps.compact import SEGMENT_FOLDERS, compact

PATIENCE_SECONDS = 5.0
"""How long servers have to close what they write, and whoever else compacts to end."""

_LOOK_SECONDS = 0.1


def settle_log(log: CompactedLog, vault: Vault, now: datetime, patience: float = PATIENCE_SECONDS) -> int:
    """Compact every sealed segment that may hold somebody who was erased just now.

    Args:
        log: The system's log; need not be there.
        vault: Of its records.
        now: Timezone-aware.
        patience: Longest wait, seconds.

    Returns:
        Sealed segments that still wait, as a server did not close them in time, or another compaction is at
        work. The next compaction leaves the person out of them.

    Raises:
        IntegrityError: A segment is damaged; it is left as it is.
        StorageError: The disk refuses.
    """
    if not log.folder.is_dir():
        return 0
    mine = [path for path in _sealed(log.folder) if path.suffix == OPEN]
    deadline = time.monotonic() + patience
    while any(path.exists() for path in mine) and time.monotonic() < deadline:
        dead = {path for place in SEGMENT_FOLDERS for path in adoptable(log.folder / place)}
        mine = [path for path in mine if path not in dead]
        time.sleep(_LOOK_SECONDS)
    while True:
        try:
            compact(log, now, vault=vault)
            return sum(path.exists() for path in mine)
        except BusyError:
            if time.monotonic() >= deadline:
                return len(_sealed(log.folder))
            time.sleep(_LOOK_SECONDS)


def _sealed(folder: Path) -> list[Path]:
    """The sealed segments of a log, open and closed."""
    paths = []
    for place in SEGMENT_FOLDERS:
        paths += [*closed_segments(folder / place), *(folder / place).glob(f"*{OPEN}")]
    return [path for path in paths if _is_sealed(path)]


def _is_sealed(path: Path) -> bool:
    try:
        return bool(key_names(path))
    except FileNotFoundError:  # it was closed or compacted since it was listed
        return False
