"""A request keeps its place in the client's trace, and its span reaches a real collector."""

from __future__ import annotations

import builtins
import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from lifecycle.core.errors import ConfigError
from lifecycle.serving.trace_context import TraceContext, read_trace_context
from lifecycle.serving.tracing import GRACE_SECONDS, Spans, open_spans

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{PARENT}-01".encode()


@pytest.fixture(autouse=True)
def _no_telemetry_asked(monkeypatch):
    for name in (
        "OTEL_SDK_DISABLED",
        "OTEL_TRACES_EXPORTER",
        "OTEL_TRACES_SAMPLER",
        "OTEL_SERVICE_NAME",
        "OTEL_RESOURCE_ATTRIBUTES",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    ):
        monkeypatch.delenv(name, raising=False)


class Collector(ThreadingHTTPServer):
    """Takes spans as OpenTelemetry's collector does: OTLP, protobuf over HTTP."""

    def __init__(self) -> None:
        self.received: list[ResourceSpans] = []
        super().__init__(("127.0.0.1", 0), _Take)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def spans(self) -> list[Span]:
        return [span for each in self.received for scope in each.scope_spans for span in scope.spans]


class _Take(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        assert self.headers["content-type"] == "application/x-protobuf"
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.extend(ExportTraceServiceRequest.FromString(body).resource_spans)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def spans(collector, monkeypatch) -> Spans:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
    return open_spans()


def attributes(message: Span | object) -> dict[str, object]:
    values = {each.key: each.value for each in message.attributes}
    return {key: getattr(value, value.WhichOneof("value")) for key, value in values.items()}


def test_the_context_of_a_request_is_read():
    assert read_trace_context(SAMPLED, b"a=1") == TraceContext(TRACE, PARENT, True, "a=1")
    assert not read_trace_context(SAMPLED[:-2] + b"00").sampled
    assert read_trace_context(SAMPLED[:-2] + b"03").sampled  # flags of level 2
    assert read_trace_context(b"cc" + SAMPLED[2:] + b"-what-the-future-brings").trace_id == TRACE
    assert read_trace_context(b"") is None


@pytest.mark.parametrize(
    "header",
    [
        b"ff" + SAMPLED[2:],
        b"0g" + SAMPLED[2:],
        SAMPLED.upper(),
        SAMPLED + b"-more",
        SAMPLED + b" ",
        b"cc" + SAMPLED[2:] + b"more",
        SAMPLED[:-1],
        SAMPLED.replace(TRACE.encode(), b"0" * 32),
        SAMPLED.replace(PARENT.encode(), b"0" * 16),
        SAMPLED.replace(b"-", b"_"),
        b"-" + SAMPLED[:2] + SAMPLED[3:],
        b"00-" + b"a" * 31 + b"-" + b"b" * 17 + b"-01",
        b"00-" + b"a" * 33 + b"-" + b"b" * 15 + b"-01",
        b"00-" + b"a" * 32 + b"-" + b"b" * 17 + b"-1",
        b"\xff" * 55,
        b"-" * 55,
    ],
)
def test_a_malformed_context_is_no_context(header):
    assert read_trace_context(header) is None


@given(st.binary(max_size=70) | st.text("0123456789abcdef-", min_size=50, max_size=60).map(str.encode))
def test_no_header_breaks_the_reading(header):
    context = read_trace_context(header)
    assert context is None or header.startswith(f"-{context.trace_id}-{context.parent_id}-".encode(), 2)


def test_a_span_says_what_was_answered_below_its_clients_span(spans, collector):
    span = spans.begin(
        read_trace_context(SAMPLED, b"vendor=x"), "POST", "/v1/{system}/predict", time.perf_counter() - 0.25
    )
    assert span.trace_id == TRACE
    span.answered(system="homes", release="ab12", version="7", share="champion", wire="json", rows=3)
    span.end(200)
    spans.stop()

    [sent] = collector.spans
    assert (sent.trace_id.hex(), sent.parent_span_id.hex()) == (TRACE, PARENT)
    assert (sent.name, sent.kind) == ("POST /v1/{system}/predict", Span.SPAN_KIND_SERVER)
    assert sent.trace_state == "vendor=x"
    assert attributes(sent) == {
        "http.request.method": "POST",
        "http.route": "/v1/{system}/predict",
        "http.response.status_code": 200,
        "lifecycle.system": "homes",
        "lifecycle.release": "ab12",
        "lifecycle.version": "7",
        "lifecycle.share": "champion",
        "lifecycle.format": "json",
        "lifecycle.rows": 3,
    }
    assert sent.end_time_unix_nano - sent.start_time_unix_nano >= 0.25e9
    assert abs(sent.end_time_unix_nano / 1e9 - time.time()) < 60
    assert attributes(collector.received[0].resource)["service.name"] == "lifecycle"


def test_a_refusal_says_why_and_only_ours_is_an_error(spans, collector):
    for status, reason in ((422, "invalid"), (503, "log-failure")):
        spans.begin(None, "POST", "/v1/{system}/predict", time.perf_counter()).end(status, reason)
    spans.stop()
    found = {attributes(each)["error.type"]: each.status.code for each in collector.spans}
    assert found == {"invalid": 0, "log-failure": 2}


def test_what_the_client_does_not_sample_is_not_sent_and_keeps_its_trace(spans, collector):
    span = spans.begin(read_trace_context(SAMPLED[:-2] + b"00"), "POST", "/p", time.perf_counter())
    assert span.trace_id == TRACE
    span.answered(system="homes", release="ab", version="7", share="champion", wire="json", rows=1)
    span.end(200)
    begun = spans.begin(None, "POST", "/p", time.perf_counter())
    begun.end(200)
    spans.stop()
    assert [each.trace_id.hex() for each in collector.spans] == [begun.trace_id]


def test_a_malformed_tracestate_is_left_out_and_not_logged(spans, collector, caplog):
    with caplog.at_level(logging.WARNING):
        context = read_trace_context(SAMPLED, b"a secret of a client")
        spans.begin(context, "POST", "/p", time.perf_counter()).end(200)
        spans.stop()
    assert [(each.trace_state, each.parent_span_id.hex()) for each in collector.spans] == [("", PARENT)]
    assert "secret" not in caplog.text


def test_the_service_is_named_as_the_environment_says(collector, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "prices")
    spans = open_spans()
    spans.begin(None, "GET", "/", time.perf_counter()).end(200)
    spans.stop()
    assert attributes(collector.received[0].resource)["service.name"] == "prices"


def test_a_collector_that_is_gone_holds_up_nothing(monkeypatch, caplog):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setattr("lifecycle.serving.tracing.GRACE_SECONDS", 0.05)
    assert GRACE_SECONDS < 10  # of the server, for requests in flight
    spans = open_spans()
    for _ in range(10):
        spans.begin(None, "GET", "/", time.perf_counter()).end(200)
    spans.stop()
    assert spans.begin(None, "GET", "/", time.perf_counter()).trace_id


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
    ],
)
def test_nothing_is_recorded_unless_it_is_asked_for(environment, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert open_spans() is None


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "unknown exporter 'zipkin'"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "not by 'grpc'"),
    ],
)
def test_an_exporter_that_is_not_there_is_told_at_the_start(environment, message, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        open_spans()


def test_a_missing_library_is_told_with_the_extra_that_brings_it(monkeypatch):
    real = builtins.__import__

    def without(name: str, *arguments: object, **named: object) -> object:
        if name.startswith("opentelemetry"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *arguments, **named)

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match="OTEL_EXPORTER_OTLP_ENDPOINT asks for traces") as caught:
        open_spans()
    assert "lifecycle[tracing]" in caught.value.hint


def test_spans_for_the_terminal_go_to_stderr(monkeypatch, capsys):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    spans = open_spans()
    spans.begin(None, "GET", "/", time.perf_counter()).end(200)
    spans.stop()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert '"name": "GET /"' in captured.err
