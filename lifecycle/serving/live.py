"""Following the ledger: what it says is live is fetched, verified, loaded, warmed up, and then swapped in."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from pydantic import BaseModel, TypeAdapter

from lifecycle.core.errors import LifecycleError
from lifecycle.core.ports import Engine, Ledger, ReleaseStore
from lifecycle.core.record import RecordSchema
from lifecycle.core.release import MANIFEST, Manifest, read_schema
from lifecycle.core.values import Deployment
from lifecycle.serving.formats.reader import RecordReader

RELEASE_HEADER = "X-Lifecycle-Release"
"""The header that names the release by its digest."""

MAX_BACKOFF = 60.0
"""Longest wait before a release that failed is tried again, seconds."""

LoadEngine = Callable[[Path], Engine]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LiveRelease:
    """All that answering needs, of one release: a request that holds it is not touched by a swap.

    Attributes:
        deployment: The ledger's row that made it live.
        manifest: Of the verified release.
        schema: What a request must look like.
        engine: The loaded model.
    """

    deployment: Deployment
    manifest: Manifest
    schema: RecordSchema
    engine: Engine

    @cached_property
    def request_model(self) -> type[BaseModel]:
        """The pydantic model of one record."""
        return self.schema.request_model()

    @cached_property
    def requests(self) -> TypeAdapter[list[BaseModel]]:
        """Validates a list of records."""
        return TypeAdapter(list[self.request_model])  # type: ignore[name-defined]

    @cached_property
    def reader(self) -> RecordReader:
        """Decodes JSON records at full speed."""
        return RecordReader(self.schema)

    @cached_property
    def header(self) -> tuple[bytes, bytes]:
        """The header that names the release."""
        return RELEASE_HEADER.lower().encode(), self.digest.encode()

    @cached_property
    def budget_s(self) -> float:
        """Longest wait before a request is turned away, seconds."""
        return self.manifest.serving.budget_ms / 1000

    @cached_property
    def digest(self) -> str:
        """What names the release."""
        return self.deployment.release.digest


@dataclass(frozen=True)
class Standing:
    """How a system stands: what answers, and what the ledger wants, if that is another.

    Attributes:
        wanted: The ledger's live deployment when it was last read.
        current: What answers; None until the first one is loaded.
        fault: Why ``wanted`` is not ``current``; empty while it is loading.
        attempts: Times ``wanted`` failed.
        retry_at: Monotonic time of the next attempt, seconds.
        listed: Whether the ledger still knows the system.
    """

    wanted: Deployment
    current: LiveRelease | None = None
    fault: str = ""
    attempts: int = 0
    retry_at: float = 0.0
    listed: bool = True

    @property
    def behind(self) -> bool:
        """Whether something else than the ledger's live release answers, or nothing."""
        return self.current is None or not _same(self.current.deployment, self.wanted)


class LiveReleases:
    """The live release of every system, kept true to the ledger by a thread.

    A release that does not verify, load or warm up changes nothing: what answered before goes on, the
    fault is told by ``standings`` and the release is tried again, later each time. A ledger that cannot be
    read changes nothing either. Systems do not wait for each other.

    Args:
        ledger: Says what is live; read by one thread only.
        store: Brings a release here, verified.
        load_engine: Loads and warms up the model of a folder.
        poll_seconds: How often the ledger is read.
    """

    def __init__(
        self, ledger: Ledger, store: ReleaseStore, load_engine: LoadEngine, poll_seconds: float
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._load_engine = load_engine
        self._poll_seconds = poll_seconds
        self._stop = threading.Event()
        self._lock = threading.Lock()  # of writers; readers take the whole mapping at once
        self._standings: Mapping[str, Standing] = MappingProxyType({})
        self._loading: set[str] = set()
        self._last_read: float | None = None
        self.ledger_fault = ""

    @property
    def standings(self) -> Mapping[str, Standing]:
        """How every system stands at one moment; immutable."""
        return self._standings

    def current(self, system: str) -> LiveRelease | None:
        """The release that answers for a system now."""
        standing = self._standings.get(system)
        return standing.current if standing else None

    @property
    def ledger_age(self) -> float | None:
        """Seconds since the ledger was last read; None if it never was."""
        return None if self._last_read is None else time.monotonic() - self._last_read

    @property
    def ready(self) -> bool:
        """Whether the ledger has been read and every system it knows has a release that answers."""
        return self._last_read is not None and all(s.current for s in self._standings.values())

    def start(self) -> None:
        """Begin to follow."""
        threading.Thread(target=self._follow, name="follow-ledger", daemon=True).start()

    def stop(self) -> None:
        """Stop following; what is loaded goes on answering."""
        self._stop.set()

    def _follow(self) -> None:
        while not self._stop.is_set():
            self.poll()
            self._stop.wait(self._poll_seconds)

    def poll(self) -> None:
        """Read the ledger once and begin to load what it wants."""
        try:
            self._obey(self._ledger.live_all())
        except Exception as error:  # noqa: BLE001 - a poller that dies would serve an old release in silence
            fault = _words(error)
            if fault != self.ledger_fault:
                logger.warning("the ledger cannot be read, serving goes on: %s", fault)
            self.ledger_fault = fault
        else:
            # Last, so that nobody sees a ledger that was read and its systems not yet.
            self._last_read, self.ledger_fault = time.monotonic(), ""

    def _obey(self, deployments: Sequence[Deployment]) -> None:
        listed = {deployment.system for deployment in deployments}
        for system in self._standings.keys() - listed:
            self._change(system, listed=False)
        for deployment in deployments:
            self._want(deployment)

    def _want(self, deployment: Deployment) -> None:
        system = deployment.system
        known = self._standings.get(system)
        if known is None or not _same(known.wanted, deployment):
            self._change(system, wanted=deployment, fault="", attempts=0, retry_at=0.0, listed=True)
        elif not known.listed:
            self._change(system, listed=True)
        standing = self._standings[system]
        if standing.behind and system not in self._loading and time.monotonic() >= standing.retry_at:
            self._loading.add(system)
            arguments = (deployment, standing.current)
            threading.Thread(target=self._load, args=arguments, name=f"load-{system}", daemon=True).start()

    def _load(self, deployment: Deployment, current: LiveRelease | None) -> None:
        """Make a deployment the one that answers, or tell why not."""
        system = deployment.system
        try:
            if current and current.digest == deployment.release.digest:
                fresh = replace(current, deployment=deployment)  # another decision for the same release
            else:
                fresh = self._bring(deployment)
            _ = fresh.requests, fresh.reader  # built here, not by the first request
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the old release goes on
            fault, attempts = _words(error), self._standings[system].attempts + 1
            wait = min(self._poll_seconds * 2 ** min(attempts, 16), MAX_BACKOFF)
            if _same(self._standings[system].wanted, deployment):
                retry_at = time.monotonic() + wait
                self._change(system, fault=fault, attempts=attempts, retry_at=retry_at)
            logger.warning("%s: release %s is not served: %s", system, deployment.release.digest[:12], fault)
        else:
            self._change(system, current=fresh, fault="", attempts=0)
            logger.info("%s: version %s answers now, %s", system, deployment.version, fresh.digest[:12])
        finally:
            self._loading.discard(system)

    def _bring(self, deployment: Deployment) -> LiveRelease:
        folder = self._store.fetch(deployment.release)
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
        return LiveRelease(deployment, manifest, read_schema(folder), self._load_engine(folder))

    def _change(self, system: str, **changes: object) -> None:
        """Swap one reference: readers see all of a change, or nothing of it."""
        with self._lock:
            old = self._standings.get(system)
            new = replace(old, **changes) if old else Standing(**changes)  # type: ignore[arg-type]
            self._standings = MappingProxyType({**self._standings, system: new})


def _same(one: Deployment, other: Deployment) -> bool:
    """Whether two rows are one decision; a ledger restored from a backup may give a number again."""
    return (one.id, one.release.digest) == (other.id, other.release.digest)


def _words(error: Exception) -> str:
    """What may be told of an error: our own words, or only the type of a foreign one."""
    return error.message if isinstance(error, LifecycleError) else type(error).__name__
