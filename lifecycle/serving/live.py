"""Following the ledger: what it says is live is fetched, verified, loaded, warmed up, and then swapped in."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from lifecycle.core.errors import LifecycleError, StateError, UnavailableError
from lifecycle.core.ports import Engine, Ledger, OpenCustody, ReleaseStore
from lifecycle.core.release import MANIFEST, Manifest, read_schema
from lifecycle.core.values import Deployment
from lifecycle.serving import memory
from lifecycle.serving.board import Board, Seat, Slot, token_of
from lifecycle.serving.custodies import Custodies
from lifecycle.serving.live_release import LiveRelease
from lifecycle.serving.standing import Standing, Swap, same

MAX_BACKOFF = 60.0
"""Longest wait before a release that failed is tried again, seconds."""

KEPT_SWAPS = 10
"""Switches that each process remembers."""

_USUAL_INTERVAL = sys.getswitchinterval()
_LOADING_INTERVAL = _USUAL_INTERVAL / 10
_LOADING_NICENESS = 10

LoadEngine = Callable[[Path], Engine]
logger = logging.getLogger(__name__)


@dataclass
class _Place:
    """What a worker keeps of one system.

    Attributes:
        slot: Where it stands on the board.
        held: What is loaded, by token: what answers, and what is to answer next.
        answering: Token of what ``Standing.current`` tells.
    """

    slot: Slot
    held: dict[int, LiveRelease] = field(default_factory=dict)
    answering: int = 0

    def keep(self, *tokens: int) -> None:
        """Let go of all but these; a request that holds another keeps it to its end."""
        self.held = {token: release for token, release in self.held.items() if token in tokens}


class LiveReleases:
    """The live release of every system, kept true to the ledger by a thread.

    A release that does not verify, load or warm up changes nothing: what answered before goes on, the
    fault is told by ``standings`` and the release is tried again, later each time. A ledger that cannot be
    read changes nothing either. Systems do not wait for each other; the workers of a service do, and switch
    as one: see ``board``.

    Args:
        ledger: Says what is live; read by one thread only.
        store: Brings a release here, verified.
        load_engine: Loads and warms up the model of a folder.
        poll_seconds: How often the ledger is read.
        seat: This worker's place among the others; None for a service of one process.
        open_custody: Opens the custody of a system whose records are sealed; None: it is not served.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: ReleaseStore,
        load_engine: LoadEngine,
        poll_seconds: float,
        seat: Seat | None = None,
        open_custody: OpenCustody | None = None,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._load_engine = load_engine
        self._poll_seconds = poll_seconds
        self._custodies = Custodies(open_custody)
        self._seat = seat or Board().seat()
        self._stopped = False
        self._look = threading.Event()
        self._joined = False
        self._let_go = False
        self._lock = threading.RLock()  # of writers; readers take the whole mapping at once
        self._standings: Mapping[str, Standing] = MappingProxyType({})
        self._places: dict[str, _Place] = {}
        self._loading: set[str] = set()
        self._last_read: float | None = None
        self.ledger_fault = ""

    def current(self, system: str) -> LiveRelease | None:
        """The release that answers now, None if there is none; for every request, once, at its start.

        What it gives is never older than what any worker of the service has given before.
        """
        place = self._places.get(system)
        if place is None:
            return None
        while True:
            token = place.slot.active
            release = place.held.get(token)
            if release is not None or token == place.slot.active:  # else it was switched in between
                return release

    @property
    def standings(self) -> Mapping[str, Standing]:
        """How every system stands at one moment; immutable."""
        self._note()
        return self._standings

    @property
    def ledger_age(self) -> float | None:
        """Seconds since the ledger was last read; None if it never was."""
        return None if self._last_read is None else time.monotonic() - self._last_read

    @property
    def ready(self) -> bool:
        """Whether every system has a release that answers, of a ledger read here or by the other workers."""
        standings = self.standings
        known = self._last_read is not None or bool(standings)
        return known and self._joined and all(it.current for it in standings.values())

    def start(self) -> None:
        """Begin to follow."""
        threading.Thread(target=self._follow, name="follow-ledger", daemon=True).start()

    def stop(self) -> None:
        """Stop following; what is loaded goes on answering."""
        self._stopped = True
        self._look.set()

    def look(self) -> None:
        """Read the ledger now, without waiting for the next time; returns at once."""
        self._look.set()

    @property
    def joined(self) -> bool:
        """Whether this worker has all that the others answer with, and switches with them."""
        return self._joined

    def _follow(self) -> None:
        while not self._stopped:
            self.poll()
            self._custodies.refresh()
            self._look.wait(self._poll_seconds)
            self._look.clear()

    def poll(self) -> None:
        """Read the ledger once and begin to load what it wants."""
        if self._let_go:  # since the last time; requests that began before have ended, or nearly all
            self._let_go = False
            memory.give_back()
        active = {} if self._joined else {it.system: it for it in self._seat.active()}
        for deployment in active.values():
            if deployment.system not in self._standings:
                self._want(deployment)
        self._load_missing(active)
        self._agree()  # a ledger that is slow to fail holds up nothing
        try:
            self._obey(self._read_ledger())
        except Exception as error:  # noqa: BLE001 - a poller that dies would serve an old release in silence
            fault = _words(error)
            if fault != self.ledger_fault:
                logger.warning("the ledger cannot be read, serving goes on: %s", fault)
            self.ledger_fault = fault
        else:
            self._load_missing(active)
            # Last, so that nobody sees a ledger that was read and its systems not yet.
            self._last_read, self.ledger_fault = time.monotonic(), ""
        self._agree()

    def _read_ledger(self) -> Sequence[Deployment]:
        """What the ledger says; one that is not there yet is empty, but not while others answer from it."""
        deployments = self._ledger.live_all()
        if not deployments and self._standings and self._last_read is None:
            raise UnavailableError(
                "the ledger is empty or gone", hint="restore it; what is loaded answers on"
            )
        return deployments

    def _obey(self, deployments: Sequence[Deployment]) -> None:
        listed = {deployment.system for deployment in deployments}
        for system in self._standings.keys() - listed:
            self._change(system, listed=False)
        for deployment in deployments:
            self._want(deployment)

    def _want(self, deployment: Deployment) -> None:
        system = deployment.system
        known = self._standings.get(system)
        if known and same(known.wanted, deployment):
            if not known.listed:
                self._change(system, listed=True)
            return
        with self._lock:
            wanted = {"wanted": deployment, "seen": time.monotonic(), "prepared": False, "listed": True}
            self._change(system, **wanted, fault="", attempts=0, retry_at=0.0)
            try:
                if system not in self._places:
                    self._places[system] = _Place(self._seat.slot(system))
                place = self._places[system]
                self._seat.withdraw(place.slot)
                place.keep(place.slot.active)
            except StateError as error:
                self._change(system, fault=error.message)

    def _load_missing(self, active: Mapping[str, Deployment]) -> None:
        """Begin to load what is wanted, and what the other workers answer with, if it is not here."""
        for system, place in self._places.items():
            standing = self._standings[system]
            needed = {token_of(it): it for it in (active.get(system), standing.wanted) if it}
            missing = [it for token, it in needed.items() if token not in place.held]
            if missing and system not in self._loading and time.monotonic() >= standing.retry_at:
                self._loading.add(system)
                arguments = (place, missing)
                threading.Thread(
                    target=self._load, args=arguments, name=f"load-{system}", daemon=True
                ).start()

    def _load(self, place: _Place, deployments: Sequence[Deployment]) -> None:
        """Load deployments of one system, or tell why not."""
        system, faults = deployments[0].system, 0
        _give_way()
        try:
            for deployment in deployments:
                try:
                    release = self._bring(place, deployment)
                except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the old one goes on
                    faults += 1
                    self._fail(place, deployment, _words(error))
                    memory.give_back()
                else:
                    memory.give_back()  # before it answers: a poll may make it do so from here on
                    with self._lock:
                        place.held[token_of(deployment)] = release
                        if not faults:
                            self._change(system, fault="", attempts=0)
            self._agree()
        finally:
            self._loading.discard(system)
            if not self._loading:
                sys.setswitchinterval(_USUAL_INTERVAL)

    def _bring(self, place: _Place, deployment: Deployment) -> LiveRelease:
        for held in [*place.held.values()]:
            if held.digest == deployment.release.digest:  # another decision for the same release
                return replace(held, deployment=deployment)
        folder = self._store.fetch(deployment.release)
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
        schema = read_schema(folder)
        custody = self._custodies.of(deployment.system, schema)
        release = LiveRelease(deployment, manifest, schema, self._load_engine(folder), custody)
        _ = release.requests, release.reader  # built here, not by the first request
        return release

    def _fail(self, place: _Place, deployment: Deployment, fault: str) -> None:
        system, token = deployment.system, token_of(deployment)
        with self._lock:
            standing = self._standings[system]
            if token in (token_of(standing.wanted), place.slot.active):
                attempts = standing.attempts + 1
                wait = min(self._poll_seconds * 2 ** min(attempts, 16), MAX_BACKOFF)
                retry_at, failures = time.monotonic() + wait, standing.failures + 1
                self._change(system, fault=fault, attempts=attempts, retry_at=retry_at, failures=failures)
                self._seat.fail(place.slot, token, fault)
        logger.warning("%s: release %s is not served: %s", system, deployment.release.digest[:12], fault)

    def _agree(self) -> None:
        """Join the other workers as soon as possible, and say what is ready to answer next."""
        with self._lock:
            if not self._joined and self._seat.join(self._holds):
                self._joined = True
                self._forget_older()
            for system, place in self._places.items():
                wanted = self._standings[system].wanted
                token = token_of(wanted)
                if token in place.held and token != place.slot.active:
                    self._seat.prepare(place.slot, wanted)
                    self._change(system, prepared=True)
            self._note()

    def _forget_older(self) -> None:
        """Want what answers until the ledger is read again: what was read before may be older than that."""
        for place in self._places.values():
            if place.slot.active:
                self._want(place.held[place.slot.active].deployment)
        self.look()

    def _holds(self, system: str, token: int) -> bool:
        place = self._places.get(system)
        return place is not None and token in place.held

    def _note(self) -> None:
        """Take note of what has become active, whichever worker made it so, and let go of what was."""
        for system, place in [*self._places.items()]:
            standing = self._standings[system]
            if place.answering != place.slot.active:
                with self._lock:
                    self._switch(system, place)
            elif standing.prepared and standing.behind:
                fault = self._seat.fault(place.slot, token_of(standing.wanted))
                if fault != standing.fault:
                    self._change(system, fault=fault)

    def _switch(self, system: str, place: _Place) -> None:
        token, standing = place.slot.active, self._standings[system]
        current = place.held.get(token)
        if current is None or token == place.answering:
            return
        at = place.slot.since_ns / 1e9
        swaps = standing.swaps
        switches, seconds = standing.switches, standing.switch_seconds
        if at >= standing.seen:  # else it was there before this worker
            swaps = (*swaps, Swap(current.deployment, at, at - standing.seen))[-KEPT_SWAPS:]
            switches, seconds = switches + 1, seconds + swaps[-1].seconds
        place.answering = token
        self._change(
            system,
            current=current,
            prepared=False,
            fault="",
            swaps=swaps,
            switches=switches,
            switch_seconds=seconds,
        )
        place.keep(token, self._seat.prepared(place.slot))
        self._let_go = True
        deployment = current.deployment
        logger.info("%s: version %s answers now, %s", system, deployment.version, current.digest[:12])

    def _change(self, system: str, **changes: object) -> None:
        """Swap one reference: readers see all of a change, or nothing of it."""
        with self._lock:
            old = self._standings.get(system)
            new = replace(old, **changes) if old else Standing(**changes)  # type: ignore[arg-type]
            self._standings = MappingProxyType({**self._standings, system: new})


def _give_way() -> None:
    """Let the event loop go first while this thread loads a release; the interval is set back afterwards."""
    # It then waits a tenth as long for this thread's Python, each time it wants to go on.
    sys.setswitchinterval(_LOADING_INTERVAL)
    if sys.platform == "linux":  # where a thread has a priority of its own
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOADING_NICENESS)


def _words(error: Exception) -> str:
    """What may be told of an error: our own words, or only the type of a foreign one."""
    return error.message if isinstance(error, LifecycleError) else type(error).__name__
