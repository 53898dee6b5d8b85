"""Small record types of every shape, and rows that behave like real ones: a trend, a wall that matters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from lifecycle.core.params import SystemParams
from lifecycle.core.ports import Engine
from lifecycle.core.record import Record, schema_of
from lifecycle.core.roles import EventTime, Feature, Label, RecordId
from lifecycle.core.rows import Rows, encode
from lifecycle.core.system import System, Task
from lifecycle.core.values import EngineChoice
from lifecycle.training import fit

WALLS = ("brick", "wood stone", "plastic")
DISTRICTS = ("north end", "old town", "harbour")


class House(Record):
    """Numbers, a whole number, a boolean, a date, declared choices and free text."""

    house_id: Annotated[str, RecordId()]
    sold_on: Annotated[date, EventTime(), Feature()]
    area: Annotated[float, Feature()]
    floors: Annotated[int, Feature()]
    garden: Annotated[bool, Feature()]
    wall: Annotated[Literal["brick", "wood stone", "plastic"], Feature()]
    district: Annotated[str, Feature()]
    price: Annotated[float, Label()]


class Plain(Record):
    """Only numbers."""

    plain_id: Annotated[str, RecordId()]
    sold_on: Annotated[date, EventTime(), Feature()]
    area: Annotated[float, Feature()]
    floors: Annotated[int, Feature()]
    price: Annotated[float, Label()]


class Words(Record):
    """Only categories."""

    words_id: Annotated[str, RecordId()]
    sold_on: Annotated[date, EventTime()]
    wall: Annotated[Literal["brick", "wood stone", "plastic"], Feature()]
    district: Annotated[str, Feature()]
    price: Annotated[float, Label()]


class Gaps(Record):
    """Fields that may be missing."""

    gaps_id: Annotated[str, RecordId()]
    sold_on: Annotated[date, EventTime()]
    area: Annotated[float | None, Feature()]
    floors: Annotated[int | None, Feature()]
    garden: Annotated[bool | None, Feature()]
    renovated_on: Annotated[date | None, Feature()]
    wall: Annotated[Literal["brick", "wood stone", "plastic"] | None, Feature()]
    price: Annotated[float, Label()]


def make_rows(record: type[Record], task: Task = "regression", count: int = 600, seed: int = 0) -> Rows:
    """Rows of any of the record types, labels included."""
    random = np.random.default_rng(seed)
    schema = schema_of(record)
    days = random.integers(0, 700, count)
    columns: dict[str, Any] = {
        "sold_on": [date(1995, 1, 1) + timedelta(days=int(day)) for day in days],
        "area": random.gamma(9, 14, count),
        "floors": random.integers(1, 4, count),
        "garden": random.random(count) < 0.4,
        "wall": random.choice(WALLS, count).tolist(),
        "district": random.choice(DISTRICTS, count).tolist(),
    }
    columns["renovated_on"] = columns["sold_on"]
    price = 400 * columns["area"] * np.exp(days / 2000) * np.where(random.random(count) < 0.5, 1, 1.1)
    price *= np.where(np.array(columns["wall"]) == "brick", 1.5, 1.0)
    gone = {spec.name: random.random(count) < 0.2 for spec in schema.features if spec.optional}
    for name, missing in gone.items():
        columns[name] = [None if lost else value for value, lost in zip(columns[name], missing, strict=True)]
    label = price if task == "regression" else (price > np.median(price)).astype(float)
    return Rows(
        ids=np.array([f"r{i}" for i in range(count)]),
        event_time=(np.datetime64("1995-01-01", "us") + days.astype("timedelta64[D]")),
        tensors=encode(schema, columns, count),
        label=label,
        weight=np.ones(count),
    )


def system_of(record: type[Record], task: Task, build: Callable[[int], Any], **extra: Any) -> System:
    """A system around an estimator: ``build`` makes it from a seed."""
    metric = "mae" if task == "regression" else "auc"
    return System(
        name="test-system",
        record=record,
        task=task,
        build_model=build,
        metrics=(metric,),
        primary=metric,
        **extra,
    )


def weighted(rows: Rows) -> Rows:
    """The same rows with weights that halve every 200 days."""
    age = (rows.event_time.max() - rows.event_time) / np.timedelta64(1, "D")
    return replace(rows, weight=0.5 ** (age / 200))


PARAMS = SystemParams.model_validate(
    {
        "entry": "systems.test:SYSTEM",
        "code": "systems/test",
        "seed": 3,
        "sources": [{"origin": "user", "kind": "csv", "path": "rows.csv"}],
        "split": {"validation_days": 30, "test_days": 30},
    }
)

STRICT = PARAMS.model_copy(update={"requirements": PARAMS.requirements.model_copy(update={"engine": "onnx"})})
"""What ONNX does not answer alike is refused."""

COMPARED_ROWS = 4_000


def train_model(
    system: System, params: SystemParams, rows: Rows, out: Path, load_engine: Callable[[Path], Engine]
) -> EngineChoice:
    """As a flow does, on fewer probes: these tests train a hundred models."""
    return fit.train_model(system, params, rows, out, load_engine, least=COMPARED_ROWS)
