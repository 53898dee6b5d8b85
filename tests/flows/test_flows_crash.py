"""A flow that is killed after any step goes on where it died when it is run again."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.flows.conftest import SYSTEM, converged

KILLED = Path(__file__).with_name("killed.py")
FIRST = ("first-deployment", SYSTEM, "--as-of", "2025-03-01")
STEPS = (
    "lifecycle.steps.loop.Loop.ingest",
    "lifecycle.data.workspace.GitDvcWorkspace.train",
    "lifecycle.steps.loop.Loop.evaluate",
    "lifecycle.steps.loop.Loop.register",
    "lifecycle.rollout.ledger.SqlLedger.record",
)
"""In order; the last is the switch, before the aliases follow (`test_flows_deployed.py` goes on there)."""


def test_killed_after_one_step_after_the_other_the_flow_converges(batch_project):
    project = batch_project
    for step in STEPS:
        # That it dies only after this step shows: it got past what the death before has left.
        assert project.ledger.history(SYSTEM) == ()
        project.python(str(KILLED), step, "1", *FIRST, expect=-signal.SIGKILL)
    again = project.run(*FIRST, expect=6)
    assert "run `lifecycle update delivery-time`" in again.stderr
    converged(project)
