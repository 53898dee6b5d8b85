"""The page's view of the service as it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from lifecycle import __version__
from lifecycle.serving.live import LiveRelease, LiveReleases
from lifecycle.serving.metrics import Metrics
from lifecycle.serving.page.view import LiveView, LogView, PageView, SystemView, WaitingView
from lifecycle.serving.standing import Standing


def look(
    live: LiveReleases,
    metrics: Metrics,
    now: Callable[[], datetime],
    *,
    mlflow: str = "",
    logs: Mapping[str, LogView] | None = None,
) -> PageView:
    """Look at everything once; it reads the files of the other workers, so it is for a thread.

    Args:
        live: What is live.
        metrics: What was counted.
        now: The clock.
        mlflow: Address of MLflow's pages; empty if there is none.
        logs: How each system's prediction log stands.
    """
    whole = metrics.whole()
    systems = []
    for name, standing in sorted(live.standings.items()):
        systems.append(
            SystemView(
                system=name,
                live=_live(standing.current) if standing.current else None,
                rates=whole.rates(name),
                waiting=_waiting(standing),
                log=(logs or {}).get(name),
                listed=standing.listed,
            )
        )
    return PageView(
        now=now(),
        systems=tuple(systems),
        version=__version__,
        workers=len(whole.workers),
        ledger_age=live.ledger_age,
        ledger_fault=live.ledger_fault,
        mlflow=mlflow,
    )


def _live(current: LiveRelease) -> LiveView:
    deployment, manifest = current.deployment, current.manifest
    return LiveView(
        version=deployment.version,
        release=current.digest,
        decision=deployment.decision,
        since=deployment.decided_at,
        by=deployment.actor,
        task=manifest.task,
        schema=current.schema,
        lineage=manifest.lineage,
        metrics=manifest.metrics,
        engine=manifest.engine,
        engine_reason=manifest.engine_reason,
    )


def _waiting(standing: Standing) -> WaitingView | None:
    if not standing.behind:
        return None
    return WaitingView(
        version=standing.wanted.version,
        release=standing.wanted.release.digest,
        reason=standing.fault or "It is being fetched, verified, loaded and warmed up.",
        attempts=standing.attempts,
        faulty=bool(standing.fault),
    )
