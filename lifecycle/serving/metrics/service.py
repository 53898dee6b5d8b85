"""The counters of one worker, and their sum over all."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from fastapi import FastAPI, Request, Response

from lifecycle.core.errors import StorageError
from lifecycle.serving.metrics.counts import Counts, LogCounts, SwitchCounts
from lifecycle.serving.metrics.facts import Facts, process_fact
from lifecycle.serving.metrics.files import Folder, Published, Totals
from lifecycle.serving.metrics.minute import Window
from lifecycle.serving.metrics.whole import Whole, whole_of

INTERVAL = 1.0
"""How often a worker tells the others what it counted, seconds; ``kill -9`` loses at most so much of it."""

SHORT = 12
"""Digits of a release's digest in a label."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scrape:
    """An answer for Prometheus."""

    body: bytes
    media_type: str


class Metrics:
    """What this worker counts, and what the whole service did.

    A request touches only the object that ``counts`` returned for its release. Once a second a thread writes
    all of it to a file; whoever asks, in whichever worker, gets the sum of all files. It is made after
    the worker has forked, and shown only after it has been written: so no sum ever falls, whoever is asked.

    Args:
        folder: Where the workers of one service share their counters; None: there is one worker.
        worker: Name of this one, in the labels of what cannot be summed; None: its process id.
        facts: How things stand now; asked once a second and at each scrape, from other threads.

    Raises:
        StorageError: The folder cannot be used.
    """

    def __init__(
        self, folder: Path | None = None, *, worker: str | None = None, facts: Callable[[], Facts] = Facts
    ) -> None:
        self.facts = facts
        self.worker = worker or str(os.getpid())
        self.fault = ""
        self._started = time.time()
        self._counts: dict[tuple[str, str, str], Counts] = {}
        self._logs: dict[str, LogCounts] = {}
        self._switches: dict[str, SwitchCounts] = {}
        self._seen: dict[tuple[str, str, str], int] = {}
        self._window = Window()
        self._lock = threading.Lock()  # of readers and the thread; a request takes none
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._publish_for_ever, name="publish-metrics", daemon=True)
        self._folder = _opened(folder) if folder else None

    def counts(self, system: str, release: str = "", share: str = "") -> Counts:
        """What to count requests with; keep it with the release.

        Args:
            system: A system that is served: a name from a client would make a label of it. Empty for a
                request that names none.
            release: Digest of the release that answers; empty if none was found.
            share: Of the traffic; empty if none was chosen.
        """
        key = (system, release[:SHORT], share)
        return self._counts.get(key) or self._counts.setdefault(key, Counts(*key))

    def log(self, system: str) -> LogCounts:
        """What to count log entries of a system with."""
        return self._logs.get(system) or self._logs.setdefault(system, LogCounts(system))

    def switches(self, system: str) -> SwitchCounts:
        """What to count a system's switches with."""
        return self._switches.get(system) or self._switches.setdefault(system, SwitchCounts(system))

    def start(self) -> None:
        """Begin to tell the others."""
        self.tick()
        self._thread.start()

    def stop(self) -> None:
        """Tell the others a last time; what was counted stays in their sums."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            self._publish()
        if self._folder:
            self._folder.close()
            self._folder = None

    def tick(self) -> None:
        """Remember a second, and tell the others."""
        with self._lock:
            self._window.tick(time.monotonic(), list(self._counts.values()))
            self._publish()

    def whole(self) -> Whole:
        """What all workers counted; it waits for files, so it is for a thread, not for the event loop."""
        with self._lock:
            own = self._publish()
            others: list[Published] = []
            past, shared = Totals(), True
            if self._folder:
                try:
                    others, past = self._folder.read()
                except OSError as error:
                    shared = False
                    self._tell(f"the counters of other workers cannot be read: {error.strerror or error}")
        found = whole_of(own, others, past, shared=shared)
        found.forget_idle(time.time())
        return found

    def scrape(self, accept: str = "") -> Scrape:
        """The whole service as Prometheus or OpenMetrics text, whichever the client prefers.

        Args:
            accept: The request's ``Accept`` header.
        """
        from lifecycle.serving.metrics.collector import exposition

        body, media_type = exposition(self.whole(), accept)
        return Scrape(body, media_type)

    def _publish_for_ever(self) -> None:
        while not self._stop.wait(INTERVAL):
            try:
                self.tick()
            except Exception as error:  # noqa: BLE001 - a thread that dies would freeze the numbers in silence
                self._tell(f"what this worker counts cannot be told: {type(error).__name__}")

    def _publish(self) -> Published:
        """Write what this worker counted, and return exactly that."""
        counts = list(self._counts.values())
        self._mark_changed(counts)
        now = time.monotonic()
        content = msgspec.json.encode(
            Published(
                worker=self.worker,
                at=now,
                totals=Totals(counts, list(self._logs.values()), list(self._switches.values())),
                minute=self._window.last(now, counts),
                facts=self.facts(),
                process=process_fact(self._started),
            )
        )
        if self._folder:
            try:
                self._folder.publish(content)
            except OSError as error:
                self._tell(f"what this worker counts cannot be written: {error.strerror or error}")
            else:
                self.fault = ""
        return msgspec.json.decode(content, type=Published)

    def _mark_changed(self, counts: list[Counts]) -> None:
        for each in counts:
            requests = each.answered_total + each.refused_total()
            if self._seen.get(each.key) != requests:
                self._seen[each.key], each.changed = requests, time.time()

    def _tell(self, fault: str) -> None:
        if fault != self.fault:
            logger.warning("%s", fault)
        self.fault = fault


def _opened(folder: Path) -> Folder:
    try:
        return Folder(folder)
    except OSError as error:
        raise StorageError(
            f"the workers cannot share their counters in {folder}: {error.strerror or error}",
            hint="free the folder, or give LIFECYCLE_HOME a place that can be written",
        ) from error


def add_metrics(app: FastAPI, metrics: Metrics) -> None:
    """Answer ``GET /metrics`` with the whole service, whichever worker is asked."""

    @app.get("/metrics", include_in_schema=False)
    def scrape(request: Request) -> Response:  # not async: FastAPI runs it in a thread
        found = metrics.scrape(request.headers.get("accept", ""))
        return Response(found.body, headers={"content-type": found.media_type, "cache-control": "no-store"})
