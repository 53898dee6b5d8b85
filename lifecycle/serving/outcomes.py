"""From a request's bytes to outcomes for the log: pure, one release's schema, every fault listed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import msgspec

from lifecycle.core.record import FieldSpec, RecordSchema
from lifecycle.core.suggest import nearest
from lifecycle.serving.log.entries import OutcomeEntry
from lifecycle.serving.problems import MAX_FAULTS, Fault, ProblemError, unprocessable

MAX_OUTCOMES = 10_000
"""Outcomes in one request."""
MAX_ID = 512
"""Characters of the longest id."""
AHEAD = timedelta(minutes=5)
"""How far a client's clock may run ahead of ours."""

SUBJECT = "subject"
"""The field of an outcome that names whom it is about, where records are sealed."""

_FIELDS = ("prediction_id", "record_id", "value", "observed_at")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_COMPARED = {
    "ge": ("greater than or equal to", float.__ge__),
    "gt": ("greater than", float.__gt__),
    "le": ("less than or equal to", float.__le__),
    "lt": ("less than", float.__lt__),
}
_Found = tuple[str, str, dict[str, Any]]
"""A fault: field, reason, bound."""


def read_outcomes(schema: RecordSchema, body: bytes, now: datetime) -> list[OutcomeEntry]:
    """The outcomes in a JSON body.

    Args:
        schema: Of the live release: its label says which values there are.
        body: ``{"prediction_id" | "record_id": ..., "value": ..., "observed_at": ...}``, or
            ``{"outcomes": [{...}, ...]}``.
        now: When they are received, timezone-aware.

    Raises:
        ProblemError: The body is not JSON, holds too many, or one of them is wrong: then none is taken.

    Example:
        >>> from lifecycle.core.record import FieldSpec
        >>> schema = RecordSchema(name="Home", fields=(FieldSpec(name="id", kind="text", record_id=True),
        ...                                           FieldSpec(name="price", kind="number", label=True)))
        >>> body = b'{"record_id": "h1", "value": 9.5, "observed_at": "2026-01-01T00:00:00Z"}'
        >>> read_outcomes(schema, body, datetime(2026, 1, 2, tzinfo=UTC))[0].value
        9.5
    """
    given, several = _parse(body)
    reader = _Reader(schema, now)
    entries: list[OutcomeEntry] = []
    faults: list[Fault] = []
    count = 0
    for position, outcome in enumerate(given):
        found = reader.read(outcome)
        if isinstance(found, OutcomeEntry):
            entries.append(found)
            continue
        count += len(found)
        instance = position if several else None
        faults += [
            Fault(field=field, instance=instance, reason=reason, bound=bound)
            for field, reason, bound in found[: MAX_FAULTS - len(faults)]
        ]
    if count:
        raise unprocessable(faults, count)
    return entries


def accepted(count: int) -> bytes:
    """The answer once outcomes are in the log.

    Example:
        >>> accepted(2)
        b'{"accepted":2}'
    """
    return msgspec.json.encode({"accepted": count})


def _parse(body: bytes) -> tuple[list[Any], bool]:
    """The outcomes in a body, unchecked, and whether the request named them ``outcomes``."""
    try:
        content = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ProblemError(HTTPStatus.BAD_REQUEST, "the body is not JSON") from None
    if not isinstance(content, dict) or content.keys() != {"outcomes"}:
        return [content], False
    outcomes = content["outcomes"]
    if not isinstance(outcomes, list) or not outcomes:
        fault = Fault(field="outcomes", instance=None, reason="should be a list of at least one outcome")
        raise unprocessable([fault], 1)
    if len(outcomes) > MAX_OUTCOMES:
        raise ProblemError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"{len(outcomes)} outcomes; at most {MAX_OUTCOMES} in one request: send several",
        )
    return outcomes, True


class _Reader:
    """Checks outcomes one by one."""

    def __init__(self, schema: RecordSchema, now: datetime) -> None:
        self._id = schema.record_id
        self._about = schema.about
        self._label = schema.label
        self._received = (now - _EPOCH) // _MICROSECOND
        self._latest = (now + AHEAD - _EPOCH) // _MICROSECOND

    def read(self, outcome: Any) -> OutcomeEntry | list[_Found]:
        """The entry, or everything that is wrong."""
        if not isinstance(outcome, dict):
            return [("", "should be an object with a prediction_id or record_id, value and observed_at", {})]
        prediction, record = outcome.get("prediction_id"), outcome.get("record_id")
        value: Any = outcome.get("value")
        observed = _microseconds(outcome.get("observed_at"))
        faults = [
            *_unknown(outcome, self._known),
            *self._ids(prediction, record),
            *self._subject_faults(outcome.get(SUBJECT)),
            *_value_faults(self._label, value),
            *self._time_faults(outcome.get("observed_at"), observed),
        ]
        if faults or observed is None:
            return faults
        key = None if record is None else str(int(record) if self._id.kind == "integer" else record)
        subject = str(outcome[SUBJECT]) if self._about else None
        return OutcomeEntry(prediction, key, float(value), observed, self._received, subject)

    @property
    def _known(self) -> tuple[str, ...]:
        return (*_FIELDS, SUBJECT) if self._about else _FIELDS

    def _subject_faults(self, given: Any) -> Iterator[_Found]:
        if self._about is None:
            return
        if given is None:
            yield SUBJECT, f"is missing: send the {self._about.name} of whom it is about", {}
        else:
            yield from _key_faults(SUBJECT, given, self._about)

    def _ids(self, prediction: Any, record: Any) -> Iterator[_Found]:
        if (prediction is None) == (record is None):
            which = (
                "is missing: send it or a record_id"
                if prediction is None
                else "and record_id exclude each other"
            )
            yield "prediction_id", which, {}
            return
        field, given, spec = "prediction_id", prediction, FieldSpec(name="prediction_id", kind="text")
        if prediction is None:
            field, given, spec = "record_id", record, self._id
        yield from _key_faults(field, given, spec)

    def _time_faults(self, given: Any, observed: int | None) -> Iterator[_Found]:
        if given is None:
            yield "observed_at", "is missing", {}
        elif observed is None:
            yield "observed_at", "should be a time with its offset, as 2026-01-31T06:00:00+00:00", {}
        elif observed > self._latest:
            yield "observed_at", "should not be more than 5 minutes ahead of the server's clock", {}


def _key_faults(field: str, given: Any, spec: FieldSpec) -> Iterator[_Found]:
    """What keeps a value from naming a prediction, a record or a subject."""
    if spec.kind == "integer":
        if isinstance(given, bool) or not _is_whole(given):
            yield field, "should be a whole number", {}
    elif not isinstance(given, str):
        yield field, "should be text", {}
    elif not given:
        yield field, "should not be empty", {}
    elif len(given) > MAX_ID:
        yield field, f"should have at most {MAX_ID} characters", {"max_length": MAX_ID}


def _unknown(outcome: dict[str, Any], known: Sequence[str]) -> Iterator[_Found]:
    for name in outcome:
        if name not in known:
            yield name[:64], f"is not a field of an outcome{nearest(name, known)}", {}


def _value_faults(label: FieldSpec, value: Any) -> Iterator[_Found]:
    """What keeps a value from being the label's."""
    if value is None:
        yield "value", "is missing", {}
    elif label.kind == "boolean":
        if not isinstance(value, int | float) or value not in (0, 1):
            yield "value", "should be true or false (or 1 or 0)", {}
    elif isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
        yield "value", "should be a finite number", {}
    elif label.kind == "integer" and value != int(value):
        yield "value", "should be a whole number", {}
    else:
        for name, (words, keeps) in _COMPARED.items():
            bound = getattr(label, name)
            if bound is not None and not keeps(float(value), float(bound)):
                yield "value", f"should be {words} {bound:g}", {name: bound}


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def _is_whole(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= 20 and value.removeprefix("-").isascii() and value.removeprefix("-").isdigit()
    return isinstance(value, int)


def _microseconds(text: Any) -> int | None:
    """A time in microseconds since 1970 UTC; None if it is none, or has no offset."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return None if moment.tzinfo is None else (moment - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):
        return None
