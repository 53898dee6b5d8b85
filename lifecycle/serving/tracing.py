"""Spans of requests, sent to whatever speaks OpenTelemetry, where ``OTEL_*`` variables ask for it.

A span never holds an input or an answer. ``opentelemetry`` is loaded only where it is asked for.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING

from lifecycle import __version__
from lifecycle.core.errors import ConfigError
from lifecycle.serving.trace_context import TraceContext

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span as OtelSpan

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
EXPORTERS = "OTEL_TRACES_EXPORTER"
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
GRACE_SECONDS = 3.0
"""How long the last spans may take to be sent when the service ends."""


def open_spans() -> Spans | None:
    """What records spans, if the environment asks for it; made after a worker has forked.

    Raises:
        ConfigError: It asks for what is not installed, or for an exporter or protocol that is not there.
    """
    names = _exporters()
    if not names:
        return None
    try:
        return Spans(_provider(names))
    except ImportError as error:
        raise ConfigError(
            f"{_asked_by()} asks for traces, and {error.name} is not installed",
            hint='pip install "lifecycle[tracing]", or unset the variable',
        ) from error


class Span:
    """One request, being answered."""

    def __init__(self, span: OtelSpan) -> None:
        self._span = span
        self.trace_id = f"{span.get_span_context().trace_id:032x}"
        """The client's trace, or the one that begins here: 32 hex digits."""

    def answered(self, *, system: str, release: str, version: str, share: str, wire: str, rows: int) -> None:
        """Say what was answered.

        Args:
            system: Name of the system.
            release: Digest of the release.
            version: Its registered version.
            share: Of the traffic.
            wire: Name of the wire format.
            rows: Predictions made.
        """
        if self._span.is_recording():
            self._span.set_attributes(
                {
                    "lifecycle.system": system,
                    "lifecycle.release": release,
                    "lifecycle.version": version,
                    "lifecycle.share": share,
                    "lifecycle.format": wire,
                    "lifecycle.rows": rows,
                }
            )

    def end(self, status: int, reason: str = "") -> None:
        """End the span.

        Args:
            status: The HTTP status of the answer.
            reason: Why it was refused, as in the metrics.
        """
        if self._span.is_recording():
            from opentelemetry.trace import StatusCode

            self._span.set_attribute("http.response.status_code", status)
            if reason:
                self._span.set_attribute("error.type", reason)
            if status >= 500:  # a refusal by the client's fault is no failure of this service
                self._span.set_status(StatusCode.ERROR)
        self._span.end()


class Spans:
    """Records one span per request and sends them from a thread of its own.

    Args:
        provider: Of OpenTelemetry's tracers.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("lifecycle.serving", __version__)

    def begin(self, context: TraceContext | None, method: str, route: str, arrived: float) -> Span:
        """Begin the span of a request.

        Args:
            context: Of its client; a trace begins here if there is none.
            method: Such as ``POST``.
            route: The path with placeholders, such as ``/v1/{system}/predict``: never the path as sent.
            arrived: When the request was whole, ``time.perf_counter()`` seconds.
        """
        from opentelemetry.trace import SpanKind

        span = self._tracer.start_span(
            f"{method} {route}",
            context=_parent(context),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method, "http.route": route},
            start_time=time.time_ns() - int((time.perf_counter() - arrived) * 1e9),
        )
        return Span(span)

    def stop(self) -> None:
        """Send what is left, for at most ``GRACE_SECONDS``: a collector that is gone holds up no restart."""
        sending = threading.Thread(target=self._provider.shutdown, name="send-last-spans", daemon=True)
        sending.start()
        sending.join(GRACE_SECONDS)


def _parent(context: TraceContext | None) -> Context:
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, set_span_in_context

    if context is None:
        return Context()
    parent = SpanContext(
        trace_id=int(context.trace_id, 16),
        span_id=int(context.parent_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if context.sampled else TraceFlags.DEFAULT),
        trace_state=TraceState.from_header([context.state]) if context.state else None,
    )
    return set_span_in_context(NonRecordingSpan(parent), Context())


def _exporters() -> list[str]:
    """Names of the exporters asked for, as OpenTelemetry reads its variables."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    default = "otlp" if any(os.environ.get(name) for name in ENDPOINTS) else ""
    names = (os.environ.get(EXPORTERS) or default).split(",")
    return [name.strip() for name in names if name.strip() not in ("", "none")]


def _asked_by() -> str:
    return next(name for name in (EXPORTERS, *ENDPOINTS) if os.environ.get(name))


def _provider(names: list[str]) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # A malformed tracestate is ignored, as the standard asks; its text, a client's, is nothing for our log.
    logging.getLogger("opentelemetry.trace.span").setLevel(logging.ERROR)
    facts = Resource({"service.name": "lifecycle", "service.version": __version__})
    # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say goes before ours.
    asked = {key: value for key, value in Resource.create().attributes.items() if not _unnamed(key, value)}
    provider = TracerProvider(resource=facts.merge(Resource(asked)), shutdown_on_exit=False)
    for name in names:
        provider.add_span_processor(BatchSpanProcessor(_exporter(name)))
    return provider


def _unnamed(key: str, value: object) -> bool:
    return key == "service.name" and str(value).startswith("unknown_service")


def _exporter(name: str) -> SpanExporter:
    match name:
        case "otlp":
            protocol = next((os.environ[each] for each in PROTOCOLS if os.environ.get(each)), "http/protobuf")
            if protocol != "http/protobuf":
                raise ConfigError(
                    f"traces are sent by http/protobuf, not by {protocol!r}",
                    hint=f"set {PROTOCOLS[1]}=http/protobuf and the collector's port for it, usually 4318",
                )
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            return OTLPSpanExporter()
        case "console":
            import sys

            from opentelemetry.sdk.trace.export import ConsoleSpanExporter

            return ConsoleSpanExporter(out=sys.stderr)  # stdout holds the address alone
        case _:
            raise ConfigError(
                f"{EXPORTERS} names an unknown exporter {name!r}", hint="otlp, console and none are known"
            )
