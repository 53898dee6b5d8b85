"""A system whose records are sealed."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated

from lifecycle.core.record import Record
from lifecycle.core.roles import EventTime, Feature, Label, RecordId, Sensitive, SubjectId
from tests.untrained import untrained


class Visit(Record):
    """A visit."""

    visit: Annotated[str, RecordId(), Sensitive("identifiers")]
    number: Annotated[str, SubjectId(), Sensitive("identifiers")]
    seen: Annotated[date, EventTime()]
    age: Annotated[float, Feature(), Sensitive()]
    weight: Annotated[float, Label(unit="kg", delay=timedelta(0)), Sensitive()]


SYSTEM = untrained("clinic", Visit)
