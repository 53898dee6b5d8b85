"""What the service says, as the API page shows it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from lifecycle.core.values import Deployment, Lineage
from lifecycle.serving.live import LiveReleases
from lifecycle.serving.live_release import RELEASE_HEADER
from lifecycle.serving.log.terms import LogState
from lifecycle.serving.standing import Standing


class Answer(BaseModel):
    """What every answer tells of its origin."""

    model_config = ConfigDict(extra="forbid")

    system: str
    release: str = Field(description=f"Digest of the release that made the answer; also `{RELEASE_HEADER}`")
    version: str = Field(description="Its registered version")


class Prediction(Answer):
    """The answer for one record."""

    prediction: float = Field(description="The predicted value, or the probability of 1")
    decision: bool | None = Field(None, description="Whether the probability reaches the release's threshold")
    record_id: str | int | None = Field(None, description="As sent")
    prediction_id: str = Field(description="Names this prediction when its outcome is known")


class Predictions(Answer):
    """The answers for several records, in the order they were sent."""

    predictions: list[float] = Field(description="The predicted values, or the probabilities of 1")
    decisions: list[bool] | None = Field(None, description="Whether each reaches the release's threshold")
    record_ids: list[str | int | None] | None = Field(None, description="As sent; left out if none was sent")
    prediction_ids: list[str] = Field(description="One per record")


class Waiting(BaseModel):
    """What the ledger wants to be live and is not yet."""

    release: str
    version: str
    reason: str
    attempts: int


class SystemPage(BaseModel):
    """What is live, since when, by whom and from what."""

    system: str
    task: str
    release: str
    version: str
    decision: str
    since: datetime
    by: str
    as_of: datetime
    previous: str | None
    record: str = Field(description="Name of the record type")
    schema_digest: str
    label: str
    label_unit: str
    engine: Literal["onnx", "skops"] = Field(
        description="What answers: ONNX in the serving process, or scikit-learn itself in processes beside it"
    )
    engine_reason: str | None = Field(None, description="Why it is not ONNX")
    metrics: dict[str, float] = Field(description="On the release's own test window")
    lineage: Lineage
    waiting: Waiting | None = Field(None, description="A newer release that is not served, and why")


class SystemList(BaseModel):
    """Every system that answers."""

    systems: list[str]


class Health(BaseModel):
    """The process lives."""

    status: Literal["ok"] = "ok"


class LedgerReadiness(BaseModel):
    """Whether the ledger can be read; what is loaded answers in any case."""

    reachable: bool
    seconds_ago: float | None = Field(description="When it was last read; null: never yet")
    fault: str | None = None


class LogReadiness(BaseModel):
    """Whether a system's predictions can be logged."""

    ok: bool
    fault: str | None = None
    lag_seconds: float = Field(0.0, description="How long the oldest entry waits to be durable")


class SystemReadiness(BaseModel):
    """How one system stands."""

    ready: bool = Field(description="Whether a release answers")
    release: str | None = None
    version: str | None = None
    listed: bool = Field(True, description="Whether the ledger still knows the system")
    waiting: Waiting | None = None
    logging: LogReadiness | None = Field(None, description="None before the first prediction")


class Readiness(BaseModel):
    """Ready: the ledger has been read and every system in it has a release that answers.

    With an empty ledger the service is ready: it has nothing to answer yet.
    """

    ready: bool
    draining: bool = Field(False, description="Whether this process is ending: send new requests elsewhere")
    ledger: LedgerReadiness
    systems: dict[str, SystemReadiness]


def system_page(standing: Standing) -> SystemPage:
    """Describe what is live; the standing must have a current release."""
    current = standing.current
    assert current is not None
    deployment, manifest = current.deployment, current.manifest
    label = current.schema.label
    return SystemPage(
        system=deployment.system,
        task=manifest.task,
        release=current.digest,
        version=deployment.version,
        decision=deployment.decision,
        since=deployment.decided_at,
        by=deployment.actor,
        as_of=deployment.as_of,
        previous=deployment.previous,
        record=current.schema.name,
        schema_digest=current.schema.digest,
        label=label.name,
        label_unit=label.unit,
        engine=manifest.engine,
        engine_reason=manifest.engine_reason or None,
        metrics=manifest.metrics,
        lineage=manifest.lineage,
        waiting=_waiting(standing),
    )


def readiness(live: LiveReleases, logs: Mapping[str, LogState], *, draining: bool = False) -> Readiness:
    """How everything stands.

    Args:
        live: What is live.
        logs: How the log of each system fares.
        draining: Whether this process is ending: it is not ready, then.
    """
    return Readiness(
        ready=live.ready and not draining,
        draining=draining,
        ledger=LedgerReadiness(
            reachable=not live.ledger_fault and live.ledger_age is not None,
            seconds_ago=live.ledger_age,
            fault=live.ledger_fault or None,
        ),
        systems={name: _system_readiness(it, logs.get(name)) for name, it in live.standings.items()},
    )


def _system_readiness(standing: Standing, log: LogState | None) -> SystemReadiness:
    current = standing.current
    return SystemReadiness(
        ready=current is not None,
        release=current.digest if current else None,
        version=current.deployment.version if current else None,
        listed=standing.listed,
        waiting=_waiting(standing),
        logging=LogReadiness(ok=not log.fault, fault=log.fault, lag_seconds=log.lag_seconds) if log else None,
    )


def _waiting(standing: Standing) -> Waiting | None:
    if not standing.behind:
        return None
    wanted: Deployment = standing.wanted
    return Waiting(
        release=wanted.release.digest,
        version=wanted.version,
        reason=standing.reason,
        attempts=standing.attempts,
    )
