"""How the service stands, for Prometheus and for the live page: releases, accounts and ledger in one view."""

from __future__ import annotations

from datetime import UTC, datetime

from lifecycle import __version__
from lifecycle.serving.accounts import Accounts
from lifecycle.serving.desk import Desk
from lifecycle.serving.live import LiveReleases
from lifecycle.serving.live_release import LiveRelease
from lifecycle.serving.log.terms import LogState
from lifecycle.serving.metrics.facts import Facts, ReleaseFact, SystemFact
from lifecycle.serving.metrics.service import SHORT
from lifecycle.serving.page import LiveView, LogView, PageView, Switch, SystemView, WaitingView
from lifecycle.serving.standing import Standing, Swap

_DURABILITY = {
    "process": "written before it is sent",
    "power": "on the disk before it is sent",
    "relaxed": "written within 50 ms",
}


def facts_of(live: LiveReleases, desk: Desk, accounts: Accounts) -> Facts:
    """What this worker tells Prometheus beside its counters."""
    standings = live.standings
    logs = accounts.log_states()
    for system, state in logs.items():
        counted = accounts.metrics.log(system)
        counted.entries = state.entries
        counted.unlogged = {str(reason): count for reason, count in state.unlogged.items()}
    for system, standing in standings.items():
        switched = accounts.metrics.switches(system)
        switched.switches, switched.seconds = standing.switches, standing.switch_seconds
        switched.failures = standing.failures
    return Facts(
        in_flight=desk.in_threads,
        queued=desk.queued,
        ledger_reachable=not live.ledger_fault and live.ledger_age is not None,
        ledger_age=live.ledger_age,
        releases=tuple(_release_fact(it.current) for it in standings.values() if it.current),
        systems=tuple(_system_fact(name, it, logs.get(name)) for name, it in standings.items()),
    )


def _release_fact(release: LiveRelease) -> ReleaseFact:
    deployment = release.deployment
    return ReleaseFact(
        deployment.system, release.digest[:SHORT], deployment.version, deployment.decided_at.timestamp()
    )


def _system_fact(name: str, standing: Standing, log: LogState | None) -> SystemFact:
    return SystemFact(
        name,
        waiting=standing.behind,
        faulty=bool(standing.behind and standing.fault),
        last_switch=standing.swaps[-1].seconds if standing.swaps else None,
        log_lag=log.lag_seconds if log else 0.0,
        log_failing=bool(log and log.fault),
    )


def page_of(live: LiveReleases, accounts: Accounts, mlflow: str) -> PageView:
    """What the live page shows; it waits for files, so it is for a thread."""
    whole, logs = accounts.metrics.whole(), accounts.log_states()
    return PageView(
        now=datetime.now(UTC),
        systems=tuple(
            SystemView(
                system=name,
                live=_live_view(standing.current) if standing.current else None,
                rates=whole.rates(name),
                waiting=_waiting_view(standing),
                switches=tuple(map(_switch_view, reversed(standing.swaps))),
                log=_log_view(standing.current, logs.get(name)) if standing.current else None,
                listed=standing.listed,
            )
            for name, standing in sorted(live.standings.items())
        ),
        version=__version__,
        workers=len(whole.workers),
        ledger_age=live.ledger_age,
        ledger_fault=live.ledger_fault,
        mlflow=mlflow,
    )


def _live_view(release: LiveRelease) -> LiveView:
    deployment, manifest = release.deployment, release.manifest
    return LiveView(
        version=deployment.version,
        release=release.digest,
        decision=deployment.decision,
        since=deployment.decided_at,
        by=deployment.actor,
        task=manifest.task,
        schema=release.schema,
        lineage=manifest.lineage,
        metrics=manifest.metrics,
        engine=manifest.engine,
        engine_reason=manifest.engine_reason,
    )


def _switch_view(swap: Swap) -> Switch:
    deployment = swap.deployment
    return Switch(
        at=deployment.decided_at,
        decision=deployment.decision,
        version=deployment.version,
        release=deployment.release.digest,
        by=deployment.actor,
        seconds=swap.seconds,
    )


def _waiting_view(standing: Standing) -> WaitingView | None:
    if not standing.behind:
        return None
    return WaitingView(
        version=standing.wanted.version,
        release=standing.wanted.release.digest,
        reason=standing.reason,
        attempts=standing.attempts,
        faulty=bool(standing.fault),
    )


def _log_view(release: LiveRelease, state: LogState | None) -> LogView:
    manifest = release.manifest
    if state and state.fault:
        return LogView(state.fault, failing=True)
    if manifest.logging == "none":
        return LogView("nothing is logged")
    which = "every answer" if manifest.logging == "all" else f"{manifest.logging_share:.0%} of the answers"
    sealed = "sealed and " if release.schema.is_sealed else ""
    return LogView(f"{which}, {sealed}{_DURABILITY[manifest.serving.durability]}")
