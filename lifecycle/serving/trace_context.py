"""The W3C trace context of a request: which trace it belongs to, as its client says.

https://www.w3.org/TR/trace-context/, level 1.
"""

from __future__ import annotations

from typing import NamedTuple

_HEX = b"0123456789abcdef"
_LENGTH = 55
_DASH = 0x2D


class TraceContext(NamedTuple):
    """Where in a trace a request stands.

    Attributes:
        trace_id: 32 hex digits.
        parent_id: Of the client's span, 16 hex digits.
        sampled: Whether the client records the trace.
        state: ``tracestate`` as sent; what vendors keep in it.
    """

    trace_id: str
    parent_id: str
    sampled: bool
    state: str = ""


def read_trace_context(traceparent: bytes, tracestate: bytes = b"") -> TraceContext | None:
    """The context in a request's headers; None if there is none or it is malformed, as the standard asks.

    Args:
        traceparent: The header's value; empty if it was not sent.
        tracestate: The header's value, several joined with commas.

    Example:
        >>> read_trace_context(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").sampled
        True
    """
    if not traceparent:
        return None
    head = traceparent[:_LENGTH]
    if len(head) != _LENGTH or head.translate(None, _HEX) != b"---":
        return None
    if not head[2] == head[35] == head[52] == _DASH:
        return None
    version, trace_id, parent_id = head[:2], head[3:35], head[36:52]
    if version == b"ff" or trace_id == b"0" * 32 or parent_id == b"0" * 16:
        return None
    if len(traceparent) > _LENGTH and (version == b"00" or traceparent[_LENGTH] != _DASH):
        return None  # a later version may add fields, after a dash
    return TraceContext(
        trace_id=trace_id.decode(),
        parent_id=parent_id.decode(),
        sampled=bool(int(head[53:], 16) & 1),
        state=tracestate.decode("latin-1"),
    )
