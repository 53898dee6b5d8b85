"""Every bound a candidate must keep before it may be promoted, and by how much it misses those it does not.

Pure: what was measured comes in. A bound whose measurement is missing or undefined is not kept: gates fail
closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf, isnan
from typing import Literal

from lifecycle.core.params import GateParams, SystemParams
from lifecycle.core.requirements import Requirements
from lifecycle.core.suggest import nearest
from lifecycle.core.values import (
    BatchMeasurements,
    Comparison,
    EngineChoice,
    GateResult,
    Measurements,
    Verdict,
)
from lifecycle.evaluation.metrics import REGISTRY
from lifecycle.evaluation.wording import (
    amount,
    count,
    loss_interval,
    metric_gap,
    metric_value,
    miss,
    percent,
    scientific,
)

_NOT_MEASURED = "asked for and not measured: nothing is promoted unmeasured"
_NO_SERVER = "a batch system: no server has to keep it"


def judge(
    *,
    first: bool,
    comparisons: Sequence[Comparison],
    metrics: Mapping[str, float],
    choice: EngineChoice,
    params: SystemParams,
    measurements: Measurements | None,
    batch: BatchMeasurements | None = None,
    sealed: bool = False,
    size_mb: float,
    unit: str = "",
) -> tuple[GateResult, ...]:
    """Judge a candidate by its verdict, its metrics and the requirements checklist, in this order.

    Args:
        first: Whether nothing is deployed yet. Then the candidate must be better than every naive baseline;
            an update must be better or not worse than the champion.
        comparisons: With the baselines, or with the champion.
        metrics: The candidate's, on the test window.
        choice: What runs the model, with the parity of ONNX and estimator.
        params: The bounds: ``gates`` and ``requirements``.
        measurements: Of a real server process; None if none was started, as for a batch system.
        batch: Of a scored sample; None if none was scored.
        sealed: Whether the record is.
        size_mb: Size of the release folder, MB.
        unit: Of the label, for the wording.

    Returns:
        One result per bound, kept or not; the candidate may be promoted if all are.
    """
    return (
        *_verdicts(comparisons, first=first, unit=unit),
        *(_metric(gate, metrics, unit) for gate in params.gates),
        *_served(params.requirements, measurements),
        *_paced(params.requirements, batch),
        *_private(params.requirements, sealed),
        *_size(params.requirements.size_mb, size_mb),
        _parity(choice, params.requirements),
    )


def _verdicts(comparisons: Iterable[Comparison], *, first: bool, unit: str) -> Iterator[GateResult]:
    allowed = (Verdict.BETTER,) if first else (Verdict.BETTER, Verdict.NOT_WORSE)
    bound = " or ".join(verdict.value for verdict in allowed)
    compared = False
    for comparison in comparisons:
        compared = True
        other = f"the naive baseline “{comparison.against}”" if first else "the champion"
        span = loss_interval(comparison.metric, comparison.low, comparison.high, unit)
        yield GateResult(
            name=f"verdict: {comparison.against}" if first else "verdict",
            ok=comparison.verdict in allowed,
            measured=comparison.verdict.value,
            bound=bound,
            detail=f"against {other} on {count(comparison.rows, 'row')}: "
            f"{percent(comparison.confidence)} interval of the difference in loss {span}",
        )
    if not compared:
        yield GateResult(name="verdict", ok=False, measured="not compared", bound=bound, detail=_NOT_MEASURED)


def _metric(gate: GateParams, metrics: Mapping[str, float], unit: str) -> GateResult:
    if gate.metric not in REGISTRY or gate.metric not in metrics:
        return GateResult(
            name=gate.metric,
            ok=False,
            measured="not computed",
            bound=_range(gate, "", known=False),
            detail=f"the system has no such metric{nearest(gate.metric, metrics)}",
        )
    value = metrics[gate.metric]
    kept = (gate.min is None or value >= gate.min) and (gate.max is None or value <= gate.max)
    detail = ""
    if isnan(value):
        detail = "undefined on these rows"
    elif gate.max is not None and value > gate.max:
        detail = _metric_miss(gate.metric, value, gate.max, "over", unit)
    elif gate.min is not None and value < gate.min:
        detail = _metric_miss(gate.metric, value, gate.min, "under", unit)
    return GateResult(
        name=gate.metric,
        ok=kept,
        measured=metric_value(gate.metric, value, unit),
        bound=_range(gate, unit, known=True),
        detail=detail,
    )


def _metric_miss(metric: str, value: float, bound: float, side: Literal["over", "under"], unit: str) -> str:
    gap = abs(value - bound)
    shown, distance = metric_value(metric, value, unit), metric_gap(metric, gap, unit)
    return miss(shown, distance, gap / abs(bound) if bound else inf, side)


def _range(gate: GateParams, unit: str, *, known: bool) -> str:
    low, high = (
        metric_value(gate.metric, end, unit) if known and end is not None else end
        for end in (gate.min, gate.max)
    )
    if low is None:
        return f"at most {high}"
    return f"at least {low}" if high is None else f"{low} to {high}"


def _served(asked: Requirements, found: Measurements | None) -> Iterator[GateResult]:
    """What a real server process must keep; a batch system has none, so nothing is asked of it."""
    checklist: tuple[tuple[str, str, Literal["over", "under"]], ...] = (
        ("latency_p99_ms", "ms", "over"),
        ("throughput_per_s", "/s", "under"),
        ("memory_mb", "MB", "over"),
    )
    for name, unit, side in checklist:
        bound = getattr(asked, name)
        if bound is not None:
            value = getattr(found, name) if found else None
            yield _requirement(name, bound, value, unit, side, batch=asked.mode == "batch")


def _requirement(
    name: str,
    bound: float,
    value: float | None,
    unit: str,
    side: Literal["over", "under"],
    *,
    batch: bool = False,
) -> GateResult:
    asked = f"at {'most' if side == 'over' else 'least'} {amount(bound, unit)}"
    if value is None:
        return GateResult(
            name=name,
            ok=batch,
            measured="not measured",
            bound=asked,
            detail=_NO_SERVER if batch else _NOT_MEASURED,
        )
    kept = value <= bound if side == "over" else value >= bound
    gap = abs(value - bound)
    detail = "" if kept else miss(amount(value, unit), amount(gap, unit), gap / bound, side)
    return GateResult(name=name, ok=kept, measured=amount(value, unit), bound=asked, detail=detail)


def _paced(asked: Requirements, found: BatchMeasurements | None) -> Iterator[GateResult]:
    """The pace of a batch; unlike that of a server, it is never taken for granted."""
    if asked.records_per_hour is None:
        return
    value = found.records_per_hour if found else None
    gate = _requirement("records_per_hour", asked.records_per_hour, value, "/h", "under")
    where = "" if asked.cores is None else f" on {count(asked.cores, 'core')}"
    told = f"{found.sample}, in proportion" if found else gate.detail
    yield gate.model_copy(
        update={
            "bound": f"{gate.bound}{where}",
            "detail": f"{gate.detail}; {told}" if found and gate.detail else told,
        }
    )


def _private(asked: Requirements, sealed: bool) -> Iterator[GateResult]:
    """Data about health is learnt from only where records are sealed."""
    if asked.privacy == "health":
        yield GateResult(
            name="privacy",
            ok=sealed,
            measured="record sealed" if sealed else "record in clear",
            bound="health: record sealed",
            detail="" if sealed else "mark a field as Sensitive, and who it is about as SubjectId",
        )


def _size(bound: float | None, size_mb: float) -> Iterator[GateResult]:
    if bound is not None:
        yield _requirement("size_mb", bound, size_mb, "MB", "over")


def _parity(choice: EngineChoice, asked: Requirements) -> GateResult:
    """Always asked: the ONNX model must answer every row as the estimator does, or that answers itself."""
    parity, rtol = choice.parity, asked.parity_rtol
    bound = f"at most {scientific(rtol)} relative, every decision equal"
    if parity is None:
        onnx_only = asked.engine == "onnx" or asked.target != "cloud"
        must = f"requirements ask for ONNX ({_asked_by(asked)}), and " if onnx_only else ""
        return GateResult(
            name="parity",
            ok=not onnx_only,
            measured="not applicable",
            bound=bound,
            detail=f"{must}scikit-learn itself serves this model, which costs latency: {choice.reason}",
        )
    kept = parity.worst_relative <= rtol and parity.decisions_differ == 0 and parity.rows > 0
    detail = f"worst of {count(parity.rows, 'row')}: record {parity.worst_row}"
    if parity.worst_relative > rtol:
        detail += f"; {parity.worst_relative / rtol:,.1f} times the bound"
    if parity.decisions_differ:
        detail += f"; {count(parity.decisions_differ, 'decision')} differ"
    return GateResult(
        name="parity",
        ok=kept,
        measured=f"{scientific(parity.worst_relative)} relative",
        bound=bound,
        detail=detail,
    )


def _asked_by(asked: Requirements) -> str:
    return "engine: onnx" if asked.engine == "onnx" else f"target: {asked.target}"
