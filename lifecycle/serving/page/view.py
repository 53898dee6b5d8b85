"""What the live page shows: plain values, filled from the running service, and their words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from typing import Any
from urllib.parse import quote

from lifecycle.core.record import RecordSchema
from lifecycle.core.values import Lineage
from lifecycle.serving.metrics.minute import Rates
from lifecycle.serving.page.form import FormField, form_fields

SHORT = 12
"""Digits of a digest that are shown."""

QUIET = Rates(qps=0.0, rows=0.0, refused=0.0, failed=0.0, p50=None, p99=None)
"""Of a system that nobody asked for a minute."""


@dataclass(frozen=True)
class Switch:
    """A switch that was made.

    Attributes:
        at: When it was decided.
        decision: Such as ``promote`` or ``rollback``.
        version: What answered from then on.
        release: Its digest.
        by: Who decided.
        seconds: From the decision being read to its release answering; None if it is not known.
    """

    at: datetime
    decision: str
    version: str
    release: str
    by: str
    seconds: float | None = None


@dataclass(frozen=True)
class WaitingView:
    """A release that the ledger wants and that does not answer.

    Attributes:
        version: Its registered version.
        release: Its digest.
        reason: Why not, in words.
        attempts: Times it failed.
        faulty: Whether something is wrong with it; else it is loading.
    """

    version: str
    release: str
    reason: str
    attempts: int = 0
    faulty: bool = False


@dataclass(frozen=True)
class LiveView:
    """The release that answers.

    Attributes:
        version: Its registered version.
        release: Its digest.
        decision: What made it live.
        since: When that was decided.
        by: Who decided.
        task: ``regression`` or ``classification``.
        schema: What a request must look like.
        lineage: Where it comes from.
        metrics: On its own test window.
        engine: What runs the model.
        engine_reason: Why it is not ONNX; empty if it is.
    """

    version: str
    release: str
    decision: str
    since: datetime
    by: str
    task: str
    schema: RecordSchema
    lineage: Lineage
    metrics: Mapping[str, float]
    engine: str = "onnx"
    engine_reason: str = ""

    @cached_property
    def form(self) -> tuple[FormField, ...]:
        """The fields of a request, each with an example."""
        return form_fields(self.schema)


@dataclass(frozen=True)
class LogView:
    """How the prediction log of a system stands.

    Attributes:
        state: In words, such as ``every answer, written before it is sent``.
        failing: Whether it cannot be written.
    """

    state: str
    failing: bool = False


@dataclass(frozen=True)
class SystemView:
    """One system.

    Attributes:
        system: Its name.
        live: What answers; None until the first release is loaded.
        rates: Of the last minute, over all workers.
        waiting: What should answer and does not.
        switches: The last ones, newest first.
        log: Of its predictions; None if nothing is known of it.
        listed: Whether the ledger still knows it.
    """

    system: str
    live: LiveView | None = None
    rates: Rates = QUIET
    waiting: WaitingView | None = None
    switches: tuple[Switch, ...] = ()
    log: LogView | None = None
    listed: bool = True

    @property
    def state(self) -> str:
        """One word: ``answers``, ``loading`` or ``faulty``."""
        if self.waiting and self.waiting.faulty:
            return "faulty"
        return "answers" if self.live else "loading"


@dataclass(frozen=True)
class PageView:
    """The whole page.

    Attributes:
        now: When it was looked at.
        systems: Every system, in the order to show them.
        version: Of lifecycle.
        workers: How many processes answer.
        ledger_age: Seconds since the ledger was last read; None if it never was.
        ledger_fault: Why it cannot be read; empty if it can.
        mlflow: Address of MLflow's pages; empty if there is none.
    """

    now: datetime
    systems: tuple[SystemView, ...] = ()
    version: str = ""
    workers: int = 1
    ledger_age: float | None = None
    ledger_fault: str = ""
    mlflow: str = ""

    def model_page(self, system: SystemView) -> str:
        """Address of the live version's page in MLflow; empty if there is none."""
        if not self.mlflow or not system.live:
            return ""
        name, version = quote(system.system, safe=""), quote(system.live.version, safe="")
        return f"{self.mlflow.rstrip('/')}/#/models/{name}/versions/{version}"

    @property
    def ledger(self) -> str:
        """How the ledger stands, in words."""
        if self.ledger_fault:
            return f"The ledger cannot be read, what is loaded goes on answering: {self.ledger_fault}"
        if self.ledger_age is None:
            return "The ledger has not been read yet."
        return f"Ledger read {words_of_time(self.ledger_age)} ago"


def status(view: PageView) -> dict[str, Any]:
    """The numbers of the page, for programs and for the page itself.

    ``shown`` holds the same in words, so that the page's script formats nothing. ``revision`` changes when
    more than numbers did, and the page has to be read anew.
    """
    return {
        "at": view.now.isoformat(),
        "revision": revision(view),
        "workers": view.workers,
        "ledger": {"reachable": not view.ledger_fault and view.ledger_age is not None, "shown": view.ledger},
        "systems": {system.system: _system_status(system, view.now) for system in view.systems},
    }


def _system_status(system: SystemView, now: datetime) -> dict[str, Any]:
    live = system.live
    return {
        "state": system.state,
        "release": live.release if live else None,
        "version": live.version if live else None,
        "since": live.since.isoformat() if live else None,
        "rates": asdict(system.rates),
        "log_failing": bool(system.log and system.log.failing),
        "waiting": asdict(system.waiting) if system.waiting else None,
        "shown": shown(system, now),
    }


def shown(system: SystemView, now: datetime) -> dict[str, str]:
    """The changing words of one system, by where they stand on the page."""
    rates = system.rates
    return {
        "qps": words_of_rate(rates.qps),
        "rows": words_of_rate(rates.rows),
        "p50": words_of_latency(rates.p50),
        "p99": words_of_latency(rates.p99),
        "refused": words_of_share(rates.refused),
        "failed": words_of_share(rates.failed),
        "age": words_of_time((now - system.live.since).total_seconds()) if system.live else "",
    }


def revision(view: PageView) -> str:
    """Names everything on the page that is not a number of the last minute."""
    facts = [
        (
            system.system,
            system.state,
            system.listed,
            system.live and (system.live.release, system.live.version, str(system.live.since)),
            system.waiting and asdict(system.waiting),
            [str(switch.at) for switch in system.switches],
            system.log and asdict(system.log),
        )
        for system in view.systems
    ]
    return hashlib.sha256(json.dumps([facts, view.mlflow, view.version]).encode()).hexdigest()[:SHORT]


def words_of_rate(per_second: float) -> str:
    """A rate.

    Example:
        >>> [words_of_rate(rate) for rate in (0, 0.25, 12.34, 1234.5)]
        ['0', '0.25', '12.3', '1,234']
    """
    if per_second == 0:
        return "0"
    return f"{per_second:.2f}" if per_second < 10 else f"{per_second:,.{1 if per_second < 100 else 0}f}"


def words_of_latency(seconds: float | None) -> str:
    """A latency, in milliseconds.

    Example:
        >>> [words_of_latency(seconds) for seconds in (None, 0.00031, 0.0123, 2.5)]
        ['–', '0.31 ms', '12.3 ms', '2,500 ms']
    """
    if seconds is None:
        return "–"
    ms = seconds * 1000
    return f"{ms:.2f} ms" if ms < 10 else f"{ms:,.{1 if ms < 100 else 0}f} ms"


def words_of_share(share: float) -> str:
    """A share, in percent; what is more than none never reads as none.

    Example:
        >>> [words_of_share(share) for share in (0, 0.0000001, 0.0123, 0.5)]
        ['0 %', '<0.01 %', '1.23 %', '50 %']
    """
    if share == 0:
        return "0 %"
    return "<0.01 %" if share < 1e-4 else f"{share * 100:.3g} %"


def words_of_time(seconds: float) -> str:
    """How long, in its two largest units.

    Example:
        >>> [words_of_time(seconds) for seconds in (-1, 0.4, 75, 7300, 300_000)]
        ['0 s', '0 s', '1 min 15 s', '2 h 1 min', '3 d 11 h']
    """
    words: list[str] = []
    rest = int(max(seconds, 0))
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or (unit == "s" and not words):
            words.append(f"{count} {unit}")
    return " ".join(words[:2])
