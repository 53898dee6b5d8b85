"""A flow that is killed after any step converges when it is run again."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

KILLED = Path(__file__).with_name("killed.py")
FIRST = ("first-deployment", "delivery-time", "--as-of", "2025-03-01")
LOOP = "lifecycle.steps.loop.Loop"
LEDGER = "lifecycle.rollout.ledger.SqlLedger"

AFTER = [
    pytest.param(f"{LOOP}.ingest", 0, id="ingest"),
    pytest.param("lifecycle.data.workspace.GitDvcWorkspace.train", 0, id="train"),
    pytest.param(f"{LOOP}.evaluate", 0, id="evaluate"),
    pytest.param(f"{LOOP}.register", 0, id="register"),
    pytest.param(f"{LEDGER}.record", 6, id="the switch, before the aliases"),
    pytest.param(f"{LOOP}.promote", 6, id="promote"),
]


@pytest.mark.parametrize(("method", "then"), AFTER)
def test_killed_after_a_step_the_flow_converges(batch_project, method, then):
    project = batch_project
    project.python(str(KILLED), method, "1", *FIRST, expect=-signal.SIGKILL)
    again = project.run(*FIRST, expect=then)
    if then:
        assert "run `lifecycle update delivery-time`" in again.stderr

    [deployment] = project.ledger.history("delivery-time")
    registered = project.registered()
    assert registered["versions"] == [deployment.version]
    assert registered["aliases"]["champion"] == deployment.version
    assert project.git("status", "--porcelain") == ""
    assert not list((project.root / ".git").rglob("*.lock"))
    assert project.json("update", "delivery-time", "--as-of", "2025-03-01")["status"] == "unchanged"
    assert len(project.ledger.history("delivery-time")) == 1
