"""Every bound is judged, and a miss says by how much."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lifecycle.core.params import SystemParams
from lifecycle.core.values import (
    BatchMeasurements,
    Comparison,
    EngineChoice,
    GateResult,
    Measurements,
    Parity,
    Verdict,
)
from lifecycle.evaluation.gates import judge
from lifecycle.evaluation.wording import NARROW

PARITY = Parity(rows=2000, worst_relative=3e-6, worst_row="s-17", rtol=1e-4)
ITSELF = EngineChoice(task="regression", engine="skops", reason="Odd has no converter to ONNX")


def onnx(parity: Parity) -> EngineChoice:
    return EngineChoice(task="regression", engine="onnx", parity=parity)


MEASURED = Measurements(
    latency_p50_ms=2,
    latency_p99_ms=6,
    offered_per_s=100,
    throughput_per_s=800,
    memory_mb=120,
    ready_s=1.2,
    size_mb=2,
    requests=500,
)
REQUIREMENTS = {"latency_p99_ms": 100, "throughput_per_s": 100, "memory_mb": 150, "size_mb": 50}


def params(**changes: Any) -> SystemParams:
    plain = {
        "entry": "systems.house_prices:SYSTEM",
        "code": "systems/house_prices",
        "sources": [{"origin": "user", "kind": "csv", "path": "a.csv"}],
        "split": {"validation_days": 30, "test_days": 30},
        "requirements": REQUIREMENTS,
    }
    return SystemParams.model_validate(plain | changes)


def compared(verdict: Verdict, against: str = "c" * 64) -> Comparison:
    return Comparison(
        against=against,
        metric="median_ape",
        candidate=0.14,
        other=0.17,
        difference=-0.03,
        low=-0.04,
        high=-0.02,
        confidence=0.95,
        margin=0.0034,
        rows=1200,
        rows_digest="d" * 64,
        verdict=verdict,
    )


def gates(**changes: Any) -> dict[str, GateResult]:
    plain: dict[str, Any] = {
        "first": False,
        "comparisons": [compared(Verdict.BETTER)],
        "metrics": {"median_ape": 0.14, "bias": 0.97},
        "choice": onnx(PARITY),
        "params": params(),
        "measurements": MEASURED,
        "size_mb": 2.0,
        "unit": "USD",
    }
    found = judge(**(plain | changes))
    assert len({gate.name for gate in found}) == len(found)
    return {gate.name: gate for gate in found}


def said(gate: GateResult) -> str:
    return gate.detail.replace(NARROW, " ")


def test_everything_kept() -> None:
    found = gates()
    names = ["verdict", "latency_p99_ms", "throughput_per_s", "memory_mb", "size_mb", "parity"]
    assert list(found) == names
    assert all(gate.ok for gate in found.values())
    assert "95 % interval of the difference in loss −4.00 to −2.00 points" in said(found["verdict"])


@pytest.mark.parametrize(
    ("first", "verdict", "kept"),
    [
        (False, Verdict.BETTER, True),
        (False, Verdict.NOT_WORSE, True),
        (False, Verdict.WORSE, False),
        (False, Verdict.INCONCLUSIVE, False),
        (True, Verdict.BETTER, True),
        (True, Verdict.NOT_WORSE, False),
        (True, Verdict.INCONCLUSIVE, False),
    ],
)
def test_an_update_must_not_be_worse_and_a_first_deployment_be_better(
    first: bool, verdict: Verdict, kept: bool
) -> None:
    found = gates(first=first, comparisons=[compared(verdict, "constant")])
    assert found["verdict: constant" if first else "verdict"].ok is kept


def test_every_baseline_must_be_beaten() -> None:
    made = [compared(Verdict.BETTER, "constant"), compared(Verdict.NOT_WORSE, "last known value")]
    found = gates(first=True, comparisons=made)
    assert found["verdict: constant"].ok
    assert not found["verdict: last known value"].ok
    assert found["verdict: last known value"].bound == "better"


def test_nothing_compared_is_not_kept() -> None:
    assert not gates(comparisons=[])["verdict"].ok


@pytest.mark.parametrize(
    ("measured", "name", "detail"),
    [
        ({"latency_p99_ms": 130}, "latency_p99_ms", "130 ms is 30 ms (30 %) over"),
        ({"throughput_per_s": 80}, "throughput_per_s", "80 /s is 20 /s (20 %) under"),
        ({"memory_mb": 225}, "memory_mb", "225 MB is 75 MB (50 %) over"),
    ],
)
def test_a_missed_requirement_says_by_how_much(measured: dict[str, float], name: str, detail: str) -> None:
    found = gates(measurements=MEASURED.model_copy(update=measured))
    assert [gate.name for gate in found.values() if not gate.ok] == [name]
    assert said(found[name]) == detail


def test_a_release_too_large_says_by_how_much() -> None:
    assert said(gates(size_mb=60.0)["size_mb"]) == "60 MB is 10 MB (20 %) over"


def test_what_was_asked_and_not_measured_is_not_kept() -> None:
    found = gates(measurements=None)
    missed = [gate.name for gate in found.values() if not gate.ok]
    assert missed == ["latency_p99_ms", "throughput_per_s", "memory_mb"]
    assert found["latency_p99_ms"].measured == "not measured"
    undefined = gates(measurements=MEASURED.model_copy(update={"latency_p99_ms": math.nan}))
    assert not undefined["latency_p99_ms"].ok


def test_the_pace_of_a_batch_is_never_taken_for_granted() -> None:
    batch = params(requirements={"mode": "batch", "records_per_hour": 1_000_000, "cores": 2})
    seen = BatchMeasurements(rows=20_000, seconds=36.0, cores=2, sealed=True, records_per_hour=2_000_000)
    kept = gates(measurements=None, params=batch, batch=seen)["records_per_hour"]
    assert (kept.ok, kept.measured, kept.bound) == (
        True,
        f"2,000,000{NARROW}/h",
        f"at least 1,000,000{NARROW}/h on 2 cores",
    )
    assert "20,000 made-up records from sealed files into sealed files in 36.0 s" in kept.detail
    slow = gates(
        measurements=None, params=batch, batch=seen.model_copy(update={"records_per_hour": 900_000.0})
    )["records_per_hour"]
    assert not slow.ok
    assert slow.detail.startswith(f"900,000{NARROW}/h is 100,000{NARROW}/h (10{NARROW}%) under; 20,000")
    assert not gates(measurements=None, params=batch)["records_per_hour"].ok


def test_nobody_learns_of_health_from_records_in_clear() -> None:
    health = params(requirements=REQUIREMENTS | {"privacy": "health"})
    assert not gates(params=health)["privacy"].ok
    assert gates(params=health, sealed=True)["privacy"].ok
    assert "privacy" not in gates(params=params(requirements=REQUIREMENTS | {"privacy": "personal"}))


def test_a_batch_system_needs_no_server_but_still_size_and_parity() -> None:
    batch = params(requirements=REQUIREMENTS | {"mode": "batch"})
    found = gates(measurements=None, params=batch, size_mb=60.0)
    assert [gate.name for gate in found.values() if not gate.ok] == ["size_mb"]
    assert "batch" in found["latency_p99_ms"].detail


def test_what_is_not_asked_is_not_judged() -> None:
    assert list(gates(params=params(requirements={}), measurements=None)) == ["verdict", "parity"]


@pytest.mark.parametrize(
    ("gate", "value", "kept", "bound", "detail"),
    [
        ({"metric": "median_ape", "max": 0.25}, 0.14, True, "at most 25.0 %", ""),
        (
            {"metric": "median_ape", "max": 0.25},
            0.30,
            False,
            "at most 25.0 %",
            "30.0 % is 5.00 points (20 %) over",
        ),
        (
            {"metric": "bias", "min": 0.8, "max": 1.2},
            0.72,
            False,
            "0.800 to 1.200",
            "0.720 is 0.080 (10 %) under",
        ),
        ({"metric": "mae", "max": 10_000}, 12_500, False, "at most $10,000", "$12,500 is $2,500 (25 %) over"),
        ({"metric": "auc", "min": 0.8}, math.nan, False, "at least 0.800", "undefined on these rows"),
    ],
)
def test_metric_gates(gate: dict[str, Any], value: float, kept: bool, bound: str, detail: str) -> None:
    found = gates(params=params(gates=[gate]), metrics={gate["metric"]: value})[gate["metric"]]
    assert (found.ok, found.bound.replace(NARROW, " "), said(found)) == (kept, bound, detail)


def test_a_gate_on_an_unknown_metric_is_not_kept() -> None:
    found = gates(params=params(gates=[{"metric": "median_apd", "max": 0.25}]))["median_apd"]
    assert not found.ok
    assert found.detail == "the system has no such metric; did you mean 'median_ape'?"


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"worst_relative": 5e-4}, "worst of 2,000 rows: record s-17; 5.0 times the bound"),
        ({"decisions_differ": 3}, "worst of 2,000 rows: record s-17; 3 decisions differ"),
        ({"worst_relative": math.nan}, "worst of 2,000 rows: record s-17"),
        ({"rows": 0}, "worst of 0 rows: record s-17"),
    ],
)
def test_parity_names_the_worst_row(changes: dict[str, Any], detail: str) -> None:
    found = gates(choice=onnx(PARITY.model_copy(update=changes)))["parity"]
    assert not found.ok
    assert found.detail == detail


def test_a_model_that_scikit_learn_serves_is_never_taken_for_a_kept_parity() -> None:
    found = gates(choice=ITSELF)["parity"]
    assert (found.ok, found.measured) == (True, "not applicable")
    assert found.detail == (
        "scikit-learn itself serves this model, which costs latency: Odd has no converter to ONNX"
    )


@pytest.mark.parametrize(
    ("asked", "named"),
    [({"engine": "onnx"}, "engine: onnx"), ({"target": "edge"}, "target: edge")],
)
def test_where_onnx_is_asked_for_nothing_else_is_promoted(asked: dict[str, str], named: str) -> None:
    """Such as when the requirement was raised after the model was trained."""
    found = gates(choice=ITSELF, params=params(requirements=REQUIREMENTS | asked))["parity"]
    assert not found.ok
    assert found.detail.startswith(f"requirements ask for ONNX ({named}), and scikit-learn itself serves")
