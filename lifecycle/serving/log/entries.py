"""What stands in a segment of the prediction log."""

from __future__ import annotations

from typing import Literal

import msgspec

Shape = Literal["record", "instances", "columns"]
Sealed = Literal["prediction", "outcome"]
Reason = Literal["sampled", "failed", "withdrawn"]
Share = Literal["champion", "canary", "shadow"]


class SchemaEntry(msgspec.Struct, frozen=True, array_like=True, tag="schema"):
    """The record schema of a release; stands in every segment before the first prediction of that release.

    Attributes:
        release: Digest of the release.
        schema: ``RecordSchema`` as JSON.
    """

    release: str
    schema: bytes


class PredictionEntry(msgspec.Struct, frozen=True, array_like=True, tag="prediction"):
    """One answered request; it holds one prediction or several.

    Attributes:
        id: Names the request's prediction, unique everywhere; row i of several is ``f"{id}-{i}"``.
        at: When it was answered, microseconds since 1970 UTC, by this machine's clock.
        release: Digest of the release that answered.
        version: Its registered version.
        share: Which share of the traffic the request was in.
        latency_us: From the whole request received to the answer written, microseconds.
        request_id: As the client sent it in ``X-Request-ID``, or empty.
        trace_id: Of the W3C trace context, 32 hex digits, or empty.
        shape: How ``inputs`` is to be read: JSON of one record ``{...}``, of
            ``{"instances": [{...}, ...]}``, or of ``{"columns": {"area": [...], ...}}``.
        inputs: What was asked, as JSON that the release's schema accepted.
        predictions: The answers, float64 little-endian, one per row.
    """

    id: str
    at: int
    release: str
    version: str
    share: Share
    latency_us: int
    request_id: str
    trace_id: str
    shape: Shape
    inputs: bytes
    predictions: bytes


class OutcomeEntry(msgspec.Struct, frozen=True, array_like=True, tag="outcome"):
    """A late truth. Exactly one of the two ids is given.

    Attributes:
        prediction_id: Of a single answer, or of one row of several.
        record_id: As text.
        value: The truth.
        observed_at: When it became known, microseconds since 1970 UTC.
        received_at: When it was received here.
        subject: Whom it is about, where records are sealed.
    """

    prediction_id: str | None
    record_id: str | None
    value: float
    observed_at: int
    received_at: int
    subject: str | None = None


class KeyEntry(msgspec.Struct, frozen=True, array_like=True, tag="key"):
    """The key that the sealed entries of a segment are sealed with; stands before the first of them.

    Attributes:
        name: Of the key, in the key table.
    """

    name: bytes


class SealedEntry(msgspec.Struct, frozen=True, array_like=True, tag="sealed"):
    """An entry about people, which only the holder of the segment's key can read.

    Attributes:
        kind: What it is.
        number: One more than that of the sealed entry before it in its segment.
        content: The entry in msgpack, sealed.
    """

    kind: Sealed
    number: int
    content: bytes


class UnloggedEntry(msgspec.Struct, frozen=True, array_like=True, tag="unlogged"):
    """How many requests were answered and not logged since the last such entry, and why.

    Attributes:
        reason: ``sampled``: the sampling left them out. ``failed``: the log could not be written.
            ``withdrawn``: somebody in them allows no logging.
        requests: How many requests.
        rows: How many predictions they held.
        at: When this was counted, microseconds since 1970 UTC.
    """

    reason: Reason
    requests: int
    rows: int
    at: int


Entry = SchemaEntry | PredictionEntry | OutcomeEntry | UnloggedEntry | KeyEntry | SealedEntry


def row_ids(entry: str, shape: Shape, rows: int) -> list[str]:
    """The ids of a request's predictions: its own for one bare record, else one per row.

    Example:
        >>> row_ids("7f3a", "record", 1), row_ids("7f3a", "instances", 2)
        (['7f3a'], ['7f3a-0', '7f3a-1'])
    """
    return [entry] if shape == "record" else [f"{entry}-{i}" for i in range(rows)]
