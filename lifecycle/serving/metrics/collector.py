"""What was counted, as Prometheus metrics; the only place that knows their names.

`prometheus_client` is loaded by the first scrape, not by the start of the service.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import SummaryMetricFamily
from prometheus_client.registry import Collector

from lifecycle.serving.metrics.counts import BOUNDS, Counts
from lifecycle.serving.metrics.whole import Whole

_KEY = ("system", "release", "share")
_LE = (*(f"{bound:g}" for bound in BOUNDS), "+Inf")


def exposition(whole: Whole, accept: str) -> tuple[bytes, str]:
    """The text of all metrics, and its content type.

    Args:
        whole: What was counted.
        accept: The client's ``Accept`` header.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(whole))
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


class _Collector(Collector):
    def __init__(self, whole: Whole) -> None:
        self._whole = whole

    def collect(self) -> Iterable[Metric]:
        counts = self._whole.totals.counts
        yield from _requests(counts)
        yield _latency(counts)
        yield from _logs(self._whole)
        yield from _switches(self._whole)
        yield from _standing(self._whole)
        yield from _releases(self._whole)
        yield from _workers(self._whole)
        yield _build()


def _requests(counts: list[Counts]) -> Iterator[Metric]:
    requests = CounterMetricFamily("lifecycle_requests", "Requests, answered or refused.", labels=_KEY)
    answers = CounterMetricFamily(
        "lifecycle_answers", "Requests answered, by wire format.", labels=(*_KEY, "format")
    )
    errors = CounterMetricFamily(
        "lifecycle_errors",
        "Requests refused, by HTTP status and reason.",
        labels=(*_KEY, "code", "reason"),
    )
    rows = CounterMetricFamily("lifecycle_rows", "Predictions made.", labels=_KEY)
    for each in counts:
        requests.add_metric(each.key, each.answered_total + each.refused_total())
        rows.add_metric(each.key, each.rows)
        for wire, count in each.answers.items():
            answers.add_metric((*each.key, wire), count)
        for error, count in each.errors.items():
            errors.add_metric((*each.key, *error.split(" ", 1)), count)
    yield from (requests, answers, errors, rows)


def _latency(counts: list[Counts]) -> Metric:
    latency = HistogramMetricFamily(
        "lifecycle_latency_seconds", "From the whole request received to its answer.", labels=_KEY
    )
    for each in counts:
        if each.answers:
            buckets = list(zip(_LE, accumulate(each.latencies), strict=True))
            latency.add_metric(each.key, buckets, each.seconds)
    return latency


def _logs(whole: Whole) -> Iterator[Metric]:
    entries = CounterMetricFamily(
        "lifecycle_log_entries", "Entries written to the prediction log.", labels=("system",)
    )
    unlogged = CounterMetricFamily(
        "lifecycle_log_unlogged", "Requests answered and not logged, by reason.", labels=("system", "reason")
    )
    for each in whole.totals.logs:
        entries.add_metric((each.system,), each.entries)
        for reason, count in each.unlogged.items():
            unlogged.add_metric((each.system, reason), count)
    yield from (entries, unlogged)


def _switches(whole: Whole) -> Iterator[Metric]:
    switches = SummaryMetricFamily(
        "lifecycle_switch_seconds",
        "From reading a decision in the ledger to its release answering.",
        labels=("system",),
    )
    failures = CounterMetricFamily(
        "lifecycle_switch_failures",
        "Times a release could not be fetched, verified, loaded or warmed up.",
        labels=("system",),
    )
    for each in whole.totals.switches:
        switches.add_metric((each.system,), each.switches, each.seconds)
        failures.add_metric((each.system,), each.failures)
    yield from (switches, failures)


def _standing(whole: Whole) -> Iterator[Metric]:
    labels = ("system", "worker")
    faulty = GaugeMetricFamily(
        "lifecycle_release_faulty", "1: the release that the ledger wants cannot be served.", labels=labels
    )
    waiting = GaugeMetricFamily(
        "lifecycle_release_waiting", "1: another release answers than the ledger wants.", labels=labels
    )
    lag = GaugeMetricFamily(
        "lifecycle_log_lag_seconds", "Age of the oldest entry not yet as durable as promised.", labels=labels
    )
    failing = GaugeMetricFamily(
        "lifecycle_log_failing", "1: the prediction log cannot be written.", labels=labels
    )
    last = GaugeMetricFamily("lifecycle_switch_last_seconds", "How long the last switch took.", labels=labels)
    for worker in whole.workers:
        for fact in worker.facts.systems:
            key = (fact.system, worker.worker)
            faulty.add_metric(key, fact.faulty)
            waiting.add_metric(key, fact.waiting)
            lag.add_metric(key, fact.log_lag)
            failing.add_metric(key, fact.log_failing)
            if fact.last_switch is not None:
                last.add_metric(key, fact.last_switch)
    yield from (faulty, waiting, lag, failing, last)


def _releases(whole: Whole) -> Iterator[Metric]:
    info = GaugeMetricFamily(
        "lifecycle_release_info", "1: this release answers.", labels=(*_KEY, "version", "worker")
    )
    since = GaugeMetricFamily(
        "lifecycle_release_since_timestamp_seconds",
        "When it was decided that this release should answer.",
        labels=(*_KEY, "worker"),
    )
    for worker in whole.workers:
        for fact in worker.facts.releases:
            key = (fact.system, fact.release, fact.share)
            info.add_metric((*key, fact.version, worker.worker), 1)
            since.add_metric((*key, worker.worker), fact.since)
    yield from (info, since)


def _workers(whole: Whole) -> Iterator[Metric]:
    in_flight = _gauge("lifecycle_in_flight", "Requests being answered.")
    queued = _gauge("lifecycle_queued", "Requests waiting for their turn.")
    reachable = _gauge("lifecycle_ledger_reachable", "1: the ledger could be read the last time.")
    age = _gauge("lifecycle_ledger_age_seconds", "Since the ledger was last read.")
    memory = _gauge("process_resident_memory_bytes", "Resident memory.")
    started = _gauge("process_start_time_seconds", "When the worker began, seconds since 1970.")
    cpu = CounterMetricFamily("process_cpu_seconds", "Processor time, user and system.", labels=("worker",))
    for worker in whole.workers:
        key, facts = (worker.worker,), worker.facts
        in_flight.add_metric(key, facts.in_flight)
        queued.add_metric(key, facts.queued)
        reachable.add_metric(key, facts.ledger_reachable)
        if facts.ledger_age is not None:
            age.add_metric(key, facts.ledger_age)
        memory.add_metric(key, worker.process.memory)
        started.add_metric(key, worker.process.started)
        cpu.add_metric(key, worker.process.cpu)
    shared = GaugeMetricFamily(
        "lifecycle_metrics_shared",
        "0: the counters of other workers could not be read.",
        value=float(whole.shared),
    )
    yield from (in_flight, queued, reachable, age, memory, started, cpu, shared)


def _gauge(name: str, help_: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help_, labels=("worker",))


def _build() -> Metric:
    build = GaugeMetricFamily("lifecycle_build_info", "1.", labels=("version", "python", "onnxruntime"))
    build.add_metric((version("lifecycle"), platform.python_version(), version("onnxruntime")), 1)
    return build
