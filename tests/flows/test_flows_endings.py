"""How a flow ends that puts nothing live: refused, skipped or held, and what it says then."""

from __future__ import annotations

from tests.flows.conftest import SYSTEM


def test_too_little_data_is_skipped_and_nothing_is_trained(batch_project):
    result = batch_project.json("first-deployment", SYSTEM, "--as-of", "2024-08-01", expect=10)
    assert result["status"] == "skipped"
    assert "at least" in result["reason"]
    assert batch_project.ledger.history(SYSTEM) == ()


def test_a_candidate_that_misses_a_gate_is_held_and_promoted_once_the_gate_lets_it(batch_project):
    batch_project.change_params(gates=[{"metric": "mae", "max": 0.001}])
    held = batch_project.json("first-deployment", SYSTEM, "--as-of", "2025-03-01", expect=11)
    assert held["status"] == "held"
    assert "mae" in held["reason"]
    assert batch_project.ledger.live(SYSTEM) is None
    batch_project.change_params(gates=[{"metric": "mae", "max": 1000}])
    assert batch_project.json("first-deployment", SYSTEM, "--as-of", "2025-03-01")["status"] == "promoted"


def test_what_cannot_be_is_told_before_anything_runs(batch_project):
    project = batch_project
    wrong = project.run("update", "delivery-tim", expect=2)
    assert "did you mean 'delivery-time'?" in wrong.stderr
    assert "is not a date or time" in project.run("update", SYSTEM, "--as-of", "soon", expect=2).stderr
    refused = project.run("update", SYSTEM, expect=6)
    assert "run `lifecycle first-deployment delivery-time`" in refused.stderr
    assert "nothing is deployed" in project.run("history", SYSTEM).stdout
    assert not (project.root / ".lifecycle" / "worktrees").exists()
