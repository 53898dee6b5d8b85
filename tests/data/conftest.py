"""A small record of rented bicycles, and an ingest of whatever rows a test writes down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
import pytest
from annotated_types import Ge, Le, MaxLen

from lifecycle.core.params import QuarantineParams, SourceParams, SplitParams, SystemParams
from lifecycle.core.record import Record, RecordSchema, schema_of
from lifecycle.core.roles import EventTime, Feature, Label, RecordId, SubjectId
from lifecycle.data.ingest import Ingested, ingest


class Ride(Record):
    """One ride of a rented bicycle; what it cost is settled ten days later."""

    ride: Annotated[str, RecordId(), MaxLen(16)]
    rider: Annotated[str | None, SubjectId()]
    began: Annotated[datetime, EventTime(), Feature()]
    bike: Annotated[Literal["city", "cargo", "race"], Feature()]
    gears: Annotated[int, Feature(), Ge(1), Le(30)]
    km: Annotated[float, Feature(unit="km"), Ge(0), Le(300)]
    helmet: Annotated[bool | None, Feature()]
    cost: Annotated[float, Label(unit="EUR", delay=timedelta(days=10)), Ge(0)]


HEADER = "ride,rider,began,bike,gears,km,helmet,cost"


def line(ride: str, began: str = "2026-01-05T08:00:00+00:00", **other: object) -> str:
    """One good line of the rides' CSV, except for what a test says."""
    values = {"rider": "r1", "bike": "city", "gears": 7, "km": 4.5, "helmet": "true", "cost": 3.5} | other
    return ",".join(str(value) for value in {"ride": ride, **_ordered(began, values)}.values())


def _ordered(began: str, values: dict[str, object]) -> dict[str, object]:
    both = {"began": began, **values}
    return {name: both[name] for name in HEADER.split(",")[1:]}


@dataclass
class Project:
    """A folder with sources, and the ingest of them."""

    root: Path
    schema: RecordSchema

    @property
    def out(self) -> Path:
        return self.root / "data" / "rides"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine" / "rides.jsonl"

    def csv(self, *lines: str, name: str = "rides.csv", header: str = HEADER) -> Path:
        """Write a CSV source."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([header, *lines, ""]), encoding="utf-8")
        return path

    def ingest(
        self,
        *sources: dict[str, Any],
        as_of: datetime = datetime(2026, 7, 1, tzinfo=UTC),
        max_share: float = 0.0,
    ) -> Ingested:
        """Ingest the sources; without any, ``rides.csv`` as the user's own."""
        listed = sources or ({"path": "rides.csv"},)
        params = SystemParams(
            entry="rides:SYSTEM",
            code="rides.py",
            sources=tuple(SourceParams.model_validate({"origin": "user", "kind": "csv"} | s) for s in listed),
            quarantine=QuarantineParams(max_share=max_share),
            split=SplitParams(validation_days=30, test_days=30),
        )
        return ingest(self.schema, params, self.root, as_of, self.out, self.quarantine)

    def rows(self) -> pl.DataFrame:
        """Everything in the snapshot, oldest first."""
        return pl.concat(pl.read_parquet(path) for path in sorted(self.out.glob("*.parquet")))

    def digest(self) -> dict[str, bytes]:
        """The bytes of every file of the snapshot."""
        return {path.name: path.read_bytes() for path in sorted(self.out.iterdir())}


@pytest.fixture(scope="session")
def schema() -> RecordSchema:
    return schema_of(Ride)


@pytest.fixture
def project(tmp_path: Path, schema: RecordSchema) -> Project:
    return Project(tmp_path, schema)


@pytest.fixture
def ride_line() -> Callable[..., str]:
    """``line``, for tests: one good line of the rides' CSV."""
    return line
