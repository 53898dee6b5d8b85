"""The log of a small system, written as servers write it."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import polars as pl
import pytest
from annotated_types import Ge, Le

from lifecycle.core.record import Record, RecordSchema, schema_of
from lifecycle.core.roles import EventTime, Feature, Label, RecordId
from lifecycle.data.log_files import ClearLog
from lifecycle.data.log_parts import CompactedLog, Kind
from lifecycle.serving.log.entries import (
    Entry,
    OutcomeEntry,
    PredictionEntry,
    SchemaEntry,
    Share,
)
from lifecycle.serving.log.segment import Header, frame

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Home(Record):
    """One home, with a feature of every kind; it is appraised when it is asked for."""

    home_id: Annotated[str, RecordId()]
    asked_at: Annotated[datetime, EventTime()]
    built: Annotated[date, Feature()]
    seen: Annotated[datetime | None, Feature()]
    area: Annotated[float, Feature(unit="m2"), Ge(10), Le(1000)]
    beds: Annotated[int, Feature(), Ge(0), Le(30)]
    garden: Annotated[bool, Feature()]
    wall: Annotated[Literal["brick", "wood"], Feature()]
    note: Annotated[str | None, Feature()]
    price: Annotated[float, Label(unit="EUR", delay=timedelta(days=1)), Ge(0)]


HOMES = schema_of(Home)
HOME: dict[str, Any] = {"built": "1996-01-31", "area": 120.5, "beds": 3, "garden": True, "wall": "brick"}
RELEASE = "a1" * 32


def micros(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def prediction(
    key: str,
    *records: dict[str, Any],
    at: datetime = NOON,
    share: Share = "champion",
    release: str = RELEASE,
    shape: Literal["record", "instances", "columns"] | None = None,
) -> PredictionEntry:
    """What a server logs of one request; without records, of one bare home."""
    rows = [HOME | record for record in records] or [HOME]
    shape = shape or ("record" if len(rows) == 1 else "instances")
    content: Any = {"instances": rows}
    if shape == "record":
        [content] = rows
    elif shape == "columns":
        content = {"columns": {name: [row.get(name) for row in rows] for name in {**rows[0], **rows[-1]}}}
    return PredictionEntry(
        key,
        micros(at),
        release,
        "1",
        share,
        250,
        f"request-{key}",
        "",
        shape,
        json.dumps(content).encode(),
        b"".join(struct.pack("<d", 100.0 + i) for i in range(len(rows))),
    )


def outcome(
    value: float,
    observed: datetime,
    *,
    of: str | None = None,
    record: str | None = None,
    received: datetime | None = None,
) -> OutcomeEntry:
    return OutcomeEntry(of, record, value, micros(observed), micros(received or observed))


@dataclass
class Written:
    """A system's folder of the log; segments appear in it as if servers had closed them."""

    log: CompactedLog
    schemas: dict[str, RecordSchema] = field(default_factory=lambda: {RELEASE: HOMES})
    count: int = 0

    @property
    def folder(self) -> Path:
        return self.log.folder

    def segment(self, *entries: Entry, closed: bool = True, tail: bytes = b"") -> Path:
        """One segment of predictions."""
        releases = {it.release for it in entries if isinstance(it, PredictionEntry)}
        schemas = [SchemaEntry(key, self.schemas[key].model_dump_json().encode()) for key in sorted(releases)]
        return self._write("segments", [*schemas, *entries], closed, tail)

    def outcomes(self, *entries: OutcomeEntry) -> Path:
        """One segment of outcomes."""
        return self._write("outcome-segments", entries, True, b"")

    def rows(self, kind: Kind = "predictions") -> pl.DataFrame:
        """Everything that is compacted."""
        paths = self.log.paths(kind)
        return (
            pl.concat([pl.read_parquet(path) for path in paths], how="diagonal") if paths else pl.DataFrame()
        )

    def segments(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("*segments/*"))

    def _write(self, place: str, entries: Sequence[Entry], closed: bool, tail: bytes) -> Path:
        self.count += 1
        header = Header(self.log.system, UUID(int=self.count))
        path = self.folder / place / f"20260301T120000-{self.count:08}-1.{'seg' if closed else 'open'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(header.encode() + _frames(entries, header.seed) + tail)
        return path


def _frames(entries: Iterable[Entry], seed: int) -> bytes:
    return b"".join(frame(msgspec.msgpack.encode(entry), seed) for entry in entries)


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(CompactedLog(tmp_path / "log" / "homes", "homes", ClearLog()))
