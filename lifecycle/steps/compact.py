"""From segments to Parquet, exactly once: killed between any two steps, the next run ends with the same rows.

    close the segments of dead writers → read → write parts, synced, under draft names → count → rename
      → the list names parts and segments in one rename → delete the segments

Before the list is replaced, the segments are the truth and parts that it does not name are removed; after it,
the parts are, and segments that it names are deleted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from lifecycle.core.errors import IntegrityError
from lifecycle.core.ports import Vault
from lifecycle.core.values import Value
from lifecycle.data.log_parts import CompactedLog, Unlogged
from lifecycle.data.log_writing import PartWriter
from lifecycle.serving.log.recovery import closed_segments, recover
from lifecycle.serving.log.retention import announce_deletion, first_day_kept
from lifecycle.serving.log.unsealing import key_names
from lifecycle.serving.log.writer import OUTCOMES, PREDICTIONS
from lifecycle.steps.segments import SegmentTables

SEGMENT_FOLDERS = (PREDICTIONS, OUTCOMES)
"""Where segments lie below a system's folder of the log."""

_GROUP_BYTES = 64 << 20
"""Segments that are made into parts together; a file of many rows is better than many files."""


class Compaction(Value):
    """What a compaction did.

    Attributes:
        system: Name of the system.
        segments: Segments that were made into parts and deleted.
        predictions: Rows that went into parts.
        outcomes: Likewise.
        parts: Files that were written.
        deleted_days: Days that were older than the retention allows; they are deleted.
    """

    system: str
    segments: int = 0
    predictions: int = 0
    outcomes: int = 0
    parts: int = 0
    deleted_days: tuple[str, ...] = ()

    def __add__(self, other: Compaction) -> Compaction:
        return Compaction(
            system=self.system,
            segments=self.segments + other.segments,
            predictions=self.predictions + other.predictions,
            outcomes=self.outcomes + other.outcomes,
            parts=self.parts + other.parts,
            deleted_days=(*self.deleted_days, *other.deleted_days),
        )


def compact(
    log: CompactedLog, now: datetime, retention_days: int | None = None, vault: Vault | None = None
) -> Compaction:
    """Make parts of the segments that nobody writes any more, then delete what is too old.

    Servers may go on writing: their open segments are left alone. A segment that cannot be trusted stays
    where it is and does not hold up the others.

    Args:
        log: The system's log.
        now: What ``retention_days`` counts back from, timezone-aware.
        retention_days: Whole days that stay beside today's; None keeps all.
        vault: Of a system whose records are sealed: opens segments, whose keys it destroys afterwards.

    Raises:
        BusyError: Another compaction, an import or an ingest is at work.
        IntegrityError: Segments are damaged or counts differ; these are left as they are, and everything
            else is done.
        StorageError: The disk refuses; the next run does what is not done.
    """
    done = Compaction(system=log.system)
    faults: list[IntegrityError] = []
    with log.held():
        _delete_segments(log, vault)
        faults += _recover(log.folder)
        for group in _groups(log.folder):
            done += _carefully(log, group, faults, vault)
        if retention_days is not None:
            announce_deletion(log.folder, log.listing().parts, now, retention_days)
            deleted = log.forget_days(first_day_kept(now, retention_days))
            done += Compaction(system=log.system, deleted_days=tuple(deleted))
    if faults:
        first, more = faults[0], f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise IntegrityError(f"{first.message}{more}", hint=first.hint)
    return done


def _recover(folder: Path) -> list[IntegrityError]:
    """Close the segments of dead writers; one that nobody can read is kept under another name, and told."""
    return [
        IntegrityError(
            f"a segment that a dead server left is unreadable; it is kept as {found.path}",
            hint="look at the disk, and restore the file from a copy if there is one",
        )
        for place in SEGMENT_FOLDERS
        for found in recover(folder / place)
        if found.outcome == "unreadable"
    ]


def _groups(folder: Path) -> Iterator[list[Path]]:
    """The closed segments, some megabytes at a time."""
    group: list[Path] = []
    size = 0
    for place in SEGMENT_FOLDERS:
        for segment in closed_segments(folder / place):
            group.append(segment)
            size += segment.stat().st_size
            if size >= _GROUP_BYTES:
                yield group
                group, size = [], 0
    if group:
        yield group


def _carefully(
    log: CompactedLog, group: Sequence[Path], faults: list[IntegrityError], vault: Vault | None
) -> Compaction:
    """Compact a group; if it cannot be trusted, its segments one by one."""
    try:
        return _compact(log, group, vault)
    except IntegrityError as error:
        done = Compaction(system=log.system)
        if len(group) == 1:
            faults.append(IntegrityError(f"{group[0].name}: {error.message}", hint=error.hint))
            return done
    for segment in group:
        done += _carefully(log, [segment], faults, vault)
    return done


def _compact(log: CompactedLog, group: Sequence[Path], vault: Vault | None) -> Compaction:
    """One group, from its segments to parts that count."""
    names = {str(path.relative_to(log.folder)): path.stat().st_size for path in group}
    writer = PartWriter(log, hashlib.sha256("\n".join(names).encode()).hexdigest()[:16])
    try:
        tables = SegmentTables(writer.add, vault.segment_key if vault else None)
        for path in group:
            tables.read(path)
        tables.flush()
        parts = writer.finish(tables.rows)
    except IntegrityError:
        writer.discard()
        raise
    unlogged = {reason: Unlogged(**counts) for reason, counts in tables.unlogged.items()}
    for reason, rows in writer.left_out.items():
        counted = unlogged.get(reason, Unlogged())
        unlogged[reason] = Unlogged(requests=counted.requests + rows, rows=counted.rows + rows)
    log.commit(parts, names, unlogged)
    _delete_segments(log, vault)
    return Compaction(
        system=log.system,
        segments=len(group),
        predictions=tables.rows["predictions"],
        outcomes=tables.rows["outcomes"],
        parts=len(parts),
    )


def _delete_segments(log: CompactedLog, vault: Vault | None) -> None:
    """Delete the segments whose rows stand in parts, and the keys of sealed ones before that.

    Raises:
        IntegrityError: One is of another size than the one that was read; it is kept.
    """
    done, there = log.listing().segments, list[Path]()
    for name, size in done.items():
        path = log.folder / name
        if not path.exists():
            continue
        if path.stat().st_size != size:
            raise IntegrityError(
                f"{path} was compacted with {size} bytes and has {path.stat().st_size} now",
                hint="two segments never have one name: see what wrote this one, then move it away",
            )
        there.append(path)
    if vault:
        vault.drop_segment_keys([name for path in there for name in key_names(path)])
    for path in there:
        path.unlink()
    if done:
        log.forget_segments(list(done))
