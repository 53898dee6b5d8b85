"""Which days of the compacted log have expired, and the record of what was deleted."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import msgspec

from lifecycle.core.errors import StorageError

RECORD = "deleted.jsonl"


class CompactedPart(Protocol):
    """One file of the compacted log."""

    @property
    def kind(self) -> str:
        """``predictions`` or ``outcomes``."""
        ...

    @property
    def day(self) -> str:
        """The UTC day of its rows, as ``2026-01-31``."""
        ...

    @property
    def rows(self) -> int:
        """In it."""
        ...

    @property
    def bytes(self) -> int:
        """Its size."""
        ...


class DeletedDay(msgspec.Struct, frozen=True):
    """One line of the record.

    Attributes:
        kind: ``predictions`` or ``outcomes``.
        day: As ``2026-01-31``, UTC.
        files: How many files it had.
        rows: In them.
        bytes: Their size.
        retention_days: How long the system keeps its log.
        as_of: The moment these days count back from, ISO 8601 in UTC.
    """

    kind: str
    day: str
    files: int
    rows: int
    bytes: int
    retention_days: int
    as_of: str


def first_day_kept(as_of: datetime, retention_days: int) -> str:
    """The oldest UTC day of which anything is younger than the retention allows; earlier days have expired.

    Args:
        as_of: What the days count back from, timezone-aware.
        retention_days: From ``ServingParams``, at least 1.

    Example:
        >>> first_day_kept(datetime(2026, 1, 31, 12, tzinfo=UTC), 30)
        '2026-01-01'
    """
    return f"{as_of.astimezone(UTC) - timedelta(days=retention_days):%Y-%m-%d}"


def announce_deletion(
    folder: Path, parts: Iterable[CompactedPart], as_of: datetime, retention_days: int
) -> list[DeletedDay]:
    """Write down which days are about to be deleted; their deletion follows.

    The record stands before the first file goes, so that nothing disappears unsaid. Who is killed in between
    says it again the next time.

    Args:
        folder: The system's folder of the log; gets ``deleted.jsonl``.
        parts: All that is in the compacted log.
        as_of: What the days count back from, timezone-aware.
        retention_days: From ``ServingParams``.

    Returns:
        One item per kind and day that has expired, oldest first; they are in the record now.

    Raises:
        StorageError: The record cannot be written; delete nothing.
    """
    before, moment = first_day_kept(as_of, retention_days), as_of.astimezone(UTC).isoformat()
    expired: dict[tuple[str, str], list[CompactedPart]] = {}
    for part in parts:
        if part.day < before:
            expired.setdefault((part.day, part.kind), []).append(part)
    days = [
        DeletedDay(
            kind=kind,
            day=day,
            files=len(found),
            rows=sum(part.rows for part in found),
            bytes=sum(part.bytes for part in found),
            retention_days=retention_days,
            as_of=moment,
        )
        for (day, kind), found in sorted(expired.items())
    ]
    if days:
        _record(folder / RECORD, days)
    return days


def _record(path: Path, days: list[DeletedDay]) -> None:
    draft = path.with_name(f".{path.name}.draft")
    try:
        before = path.read_bytes() if path.exists() else b""
        with draft.open("wb") as stream:
            stream.write(before + b"".join(msgspec.json.encode(day) + b"\n" for day in days))
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    except OSError as error:
        raise StorageError(
            f"what is to be deleted cannot be written down in {path}: {error.strerror}",
            hint="nothing was deleted; look at the disk, and at who owns the folder of the log",
        ) from error


def deleted_days(folder: Path) -> list[DeletedDay]:
    """All that retention has deleted of a system's log, in the order it was deleted."""
    try:
        lines = (folder / RECORD).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    return [msgspec.json.decode(line, type=DeletedDay) for line in lines]
