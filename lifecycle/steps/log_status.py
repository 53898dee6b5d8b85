"""How a prediction log stands: what is compacted, what waits in segments, what was never logged."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from lifecycle.core.values import Value
from lifecycle.data.log_parts import KINDS, CompactedLog, Unlogged
from lifecycle.serving.log.entries import OutcomeEntry, PredictionEntry, SealedEntry, UnloggedEntry
from lifecycle.serving.log.segment import read_segment
from lifecycle.steps.compact import SEGMENT_FOLDERS

_ANSWER_BYTES = 8


class Waiting(Value):
    """What waits in segments.

    Attributes:
        open: Segments that a server writes, or that a dead one left.
        closed: Segments that are full.
        entries: Whole entries in them.
        predictions: Rows of these; of sealed ones, requests.
        outcomes: Outcomes among these.
        bytes: Size of the files.
    """

    open: int = 0
    closed: int = 0
    entries: int = 0
    predictions: int = 0
    outcomes: int = 0
    bytes: int = 0


class Stored(Value):
    """What is compacted, of one kind: ``days`` from the first to the last, ``parts``, ``rows``, ``bytes``."""

    days: int = 0
    first_day: str | None = None
    last_day: str | None = None
    parts: int = 0
    rows: int = 0
    bytes: int = 0


class LogStatus(Value):
    """How the log of one system stands; ``parked`` is None where the log is sealed."""

    system: str
    stored: dict[str, Stored]
    waiting: Waiting
    unlogged: dict[str, Unlogged]
    parked: int | None


def log_status(log: CompactedLog, parked: int | None) -> LogStatus:
    """Look at a log; servers may write to it meanwhile.

    Args:
        log: The system's log.
        parked: Outcomes without a prediction; None: not counted, as the log is sealed.

    Raises:
        IntegrityError: A segment is none, or the list of parts was changed.
    """
    listing = log.listing()
    waiting: dict[str, int] = defaultdict(int)
    unlogged = {reason: counts.model_dump() for reason, counts in listing.unlogged.items()}
    for path in _segments(log.folder):
        if str(path.relative_to(log.folder)) in listing.segments:
            continue  # its rows stand in parts; only its file is still there
        try:
            _count(path, waiting, unlogged)
        except FileNotFoundError:
            continue  # closed or compacted since it was listed
    return LogStatus(
        system=log.system,
        stored={kind: _stored(log, kind) for kind in KINDS},
        waiting=Waiting(**waiting),
        unlogged={reason: Unlogged(**counts) for reason, counts in unlogged.items()},
        parked=parked,
    )


def as_text(status: LogStatus) -> str:
    """A few plain lines."""
    lines = [f"prediction log of {status.system}"]
    for kind, found in status.stored.items():
        days = f"{found.first_day} to {found.last_day}" if found.days else "no day yet"
        lines.append(
            f"  {kind:<12} {found.rows:>12,} rows in {found.parts} parts, {_size(found.bytes)}: {days}"
        )
    it = status.waiting
    lines.append(
        f"  {'in segments':<12} {it.predictions:>12,} predictions, {it.outcomes:,} outcomes "
        f"in {it.open} open and {it.closed} closed, {_size(it.bytes)}"
    )
    lines += [
        f"  {'not logged':<12} {counts.rows:>12,} predictions of {counts.requests:,} requests: {reason}"
        for reason, counts in status.unlogged.items()
    ]
    if status.parked is not None:
        lines.append(f"  {'parked':<12} {status.parked:>12,} outcomes wait for their prediction")
    return "\n".join(lines)


def _segments(folder: Path) -> list[Path]:
    return [
        path
        for place in SEGMENT_FOLDERS
        for end in ("seg", "open")
        for path in (folder / place).glob(f"*.{end}")
    ]


def _count(path: Path, waiting: dict[str, int], unlogged: dict[str, dict[str, int]]) -> None:
    size = path.stat().st_size
    reader = read_segment(path)
    for entry in reader:
        if isinstance(entry, PredictionEntry):
            waiting["predictions"] += len(entry.predictions) // _ANSWER_BYTES
        elif isinstance(entry, OutcomeEntry):
            waiting["outcomes"] += 1
        elif isinstance(entry, SealedEntry):
            waiting[f"{entry.kind}s"] += 1
        elif isinstance(entry, UnloggedEntry):
            counts = unlogged.setdefault(entry.reason, {"requests": 0, "rows": 0})
            counts["requests"] += entry.requests
            counts["rows"] += entry.rows
    waiting["entries"] += reader.entries
    waiting["bytes"] += size
    waiting["open" if path.suffix == ".open" else "closed"] += 1


def _stored(log: CompactedLog, kind: str) -> Stored:
    parts = [part for part in log.listing().parts if part.kind == kind]
    days = sorted({part.day for part in parts})
    if not days:
        return Stored()
    return Stored(
        days=len(days),
        first_day=days[0],
        last_day=days[-1],
        parts=len(parts),
        rows=sum(part.rows for part in parts),
        bytes=sum(part.bytes for part in parts),
    )


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
