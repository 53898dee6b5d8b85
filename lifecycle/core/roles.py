"""What a field of a Record is for, written beside its type: ``Annotated[float, Label(unit="USD")]``."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from lifecycle.core.purposes import TRAINING

AccessGroup = Literal["identifiers", "clinical", "free text"]
"""What is opened together: who somebody is, what is measured, what somebody wrote."""


@dataclass(frozen=True)
class RecordId:
    """Names the record; unique within a system. Exactly one per record."""


@dataclass(frozen=True)
class SubjectId:
    """Names the person or thing the record is about; its records never straddle a split boundary."""


@dataclass(frozen=True)
class EventTime:
    """When it happened. Exactly one per record, a date or a datetime."""


@dataclass(frozen=True)
class Feature:
    """An input of the model.

    Args:
        unit: The unit of measure, shown on the API page and in reports.
    """

    unit: str = ""


@dataclass(frozen=True)
class Label:
    """The truth to predict. Exactly one per record.

    Args:
        unit: The unit of measure.
        delay: How long after the event time the truth is known.
    """

    unit: str = ""
    delay: timedelta = field(default=timedelta(0))


@dataclass(frozen=True)
class Sensitive:
    """Must never rest in clear, and with it the whole record: what is not classified is sealed as clinical.

    Args:
        group: The access group it is opened with.
    """

    group: AccessGroup = "clinical"


@dataclass(frozen=True)
class Consent:
    """A boolean field: whether the subject agreed to this use.

    Args:
        purpose: What was agreed to: training, scoring or logging.
    """

    purpose: str = TRAINING


Role = RecordId | SubjectId | EventTime | Feature | Label | Sensitive | Consent
