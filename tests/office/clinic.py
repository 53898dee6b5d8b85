"""A system whose records are sealed."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated, Any

from lifecycle.core.record import Record
from lifecycle.core.roles import EventTime, Feature, Label, RecordId, Sensitive, SubjectId
from lifecycle.core.system import System


class Visit(Record):
    """A visit."""

    visit: Annotated[str, RecordId(), Sensitive("identifiers")]
    number: Annotated[str, SubjectId(), Sensitive("identifiers")]
    seen: Annotated[date, EventTime()]
    age: Annotated[float, Feature(), Sensitive()]
    weight: Annotated[float, Label(unit="kg", delay=timedelta(0)), Sensitive()]


def _no_model(_seed: int) -> Any:
    raise NotImplementedError


SYSTEM = System(
    name="clinic",
    record=Visit,
    task="regression",
    build_model=_no_model,
    metrics=("mae",),
    primary="mae",
)
