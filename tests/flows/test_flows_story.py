"""The loop of a user's own project, from the first deployment to a rollback, on the command line alone."""

from __future__ import annotations

import signal
from pathlib import Path

KILLED = Path(__file__).with_name("killed.py")
SYSTEM = "delivery-time"


def test_a_system_is_deployed_updated_rolled_back_and_reproduced(project):
    refused = project.run("update", SYSTEM, expect=6)
    assert "run `lifecycle first-deployment delivery-time`" in refused.stderr
    assert "nothing is deployed" in project.run("history", SYSTEM).stdout

    first = project.json("first-deployment", SYSTEM, "--as-of", "2025-03-01")
    assert first["status"] == "promoted"
    assert {it["verdict"] for it in first["evaluation"]["comparisons"]} == {"better"}
    assert {gate["name"] for gate in first["evaluation"]["gates"]} >= {
        "latency_p99_ms",
        "throughput_per_s",
        "memory_mb",
        "size_mb",
        "parity",
    }
    assert all(gate["ok"] for gate in first["evaluation"]["gates"])
    assert "run `lifecycle update delivery-time`" in project.run("first-deployment", SYSTEM, expect=6).stderr

    unchanged = project.json("update", SYSTEM, "--as-of", "2025-03-01T00:30")
    assert unchanged["status"] == "unchanged"

    (project.root / "notes.txt").write_text("a dirty tree\n")
    killed = ("lifecycle.rollout.ledger.SqlLedger.record", "1")
    words = ("update", SYSTEM, "--as-of", "2025-06-01")
    dead = project.python(str(KILLED), *killed, *words, expect=-signal.SIGKILL)
    assert "notes.txt" in dead.stderr
    assert project.registered()["aliases"]["champion"] == "1"
    assert project.json(*words)["status"] == "unchanged"
    aliases = project.registered()["aliases"]
    assert (aliases["champion"], aliases["previous"]) == ("2", "1")
    assert project.git("status", "--porcelain").split() == ["??", "notes.txt"]

    between = project.json("history", SYSTEM)[1]["decided_at"]
    assert project.json("history", SYSTEM, "--at", between)[0]["version"] == "2"

    back = project.json("rollback", SYSTEM, "--reason", "complaints", "--version", "2")
    assert back["status"] == "rolled back"
    assert back["deployment"]["version"] == "1"
    assert project.json("rollback", SYSTEM, "--version", "2")["status"] == "unchanged"
    assert project.run("rollback", SYSTEM, expect=6).stderr
    assert project.registered()["aliases"]["champion"] == "1"
    assert [row["decision"] for row in project.json("history", SYSTEM)] == [
        "first-deployment",
        "promote",
        "rollback",
    ]
    again = project.json("update", SYSTEM, "--as-of", "2025-06-01")
    assert "rolled back since" in again["reason"], "what was rolled back is not promoted again by itself"

    proof = project.json("reproduce", SYSTEM, "2")
    assert proof["largest_difference"] == 0
    assert proof["same_file"]
    assert "has no version '9'" in project.run("reproduce", SYSTEM, "9", expect=6).stderr


def test_too_little_data_is_skipped_and_nothing_is_trained(batch_project):
    result = batch_project.json("first-deployment", SYSTEM, "--as-of", "2024-08-01", expect=10)
    assert result["status"] == "skipped"
    assert "at least" in result["reason"]
    assert batch_project.ledger.history(SYSTEM) == ()


def test_a_candidate_that_misses_a_gate_is_held_and_the_rest_goes_on(batch_project):
    batch_project.change_params(gates=[{"metric": "mae", "max": 0.001}])
    held = batch_project.json("first-deployment", SYSTEM, "--as-of", "2025-03-01", expect=11)
    assert held["status"] == "held"
    assert "mae" in held["reason"]
    assert batch_project.ledger.live(SYSTEM) is None
    batch_project.change_params(gates=[])
    assert batch_project.json("first-deployment", SYSTEM, "--as-of", "2025-03-01")["status"] == "promoted"


def test_a_wrong_name_or_time_is_told_before_anything_runs(batch_project):
    wrong = batch_project.run("update", "delivery-tim", expect=2)
    assert "did you mean 'delivery-time'?" in wrong.stderr
    assert "is not a date or time" in batch_project.run("update", SYSTEM, "--as-of", "soon", expect=2).stderr
    assert not (batch_project.root / ".lifecycle" / "worktrees").exists()
