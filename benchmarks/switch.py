"""A switch: how long after the ledger's commit the endpoint answers with the release that is live now."""

from __future__ import annotations

import time
from itertools import cycle, islice

import httpx

from benchmarks.bench import Bench
from benchmarks.figure import Bound, Figure, Measured, Samples
from benchmarks.serving import server, wait_until_ready
from lifecycle.core.clock import SystemClock
from lifecycle.core.ports import Ledger
from lifecycle.core.values import Deployment
from lifecycle.wiring import open_ledger

SWITCHES_A_START = 4
PATIENCE_S = 30.0


def measure(bench: Bench) -> Figure:
    """Switch to and fro between two releases under a running server."""
    story, project = bench.story, bench.project
    if project.as_of != story.second:
        project.flow("update", story.second)
    ledger = open_ledger(project.settings)
    older, newer = ledger.history(story.system)[0], ledger.history(story.system)[-1]
    with server(project, "-m", "lifecycle", "serve", "--port", "0") as process:
        address = wait_until_ready(process, time.perf_counter())
        if (
            ledger.live(story.system) == older
        ):  # the update was held: its release is one to switch to all the same
            _switch(ledger, newer, "promote", address)
        count = SWITCHES_A_START * bench.size.starts
        seconds = [
            _switch(ledger, target, decision, address)
            for target, decision in islice(cycle([(older, "rollback"), (newer, "promote")]), count)
        ]
    bench.say(f"switch: {', '.join(f'{it:.2f} s' for it in seconds)}")
    return Figure(
        name="switch",
        title="A switch without a restart",
        how=(
            f"Two releases of {story.system} go live in turn under a running `lifecycle serve`: from the "
            "commit of the ledger's transaction until the endpoint names the new release, asked every 5 ms. "
            f"The ledger is looked at every {project.settings.poll_seconds} s; a release is verified, loaded "
            "and warmed up beside the old one."
        ),
        lines=(Measured("seen after", Samples(tuple(seconds), "s"), Bound("at most", 2)),),
    )


def _switch(ledger: Ledger, target: Deployment, decision: str, address: str) -> float:
    live = ledger.live(target.system)
    change = {"decision": decision, "decided_at": SystemClock().now(), "evidence": {}}
    ledger.record(target.model_copy(update=change), expected=live.id if live else None)
    begun = time.perf_counter()
    while time.perf_counter() - begun < PATIENCE_S:
        answer = httpx.get(f"{address}/v1/{target.system}").json()
        if answer["release"] == target.release.digest:
            return time.perf_counter() - begun
        time.sleep(0.005)
    raise SystemExit(f"the endpoint did not switch within {PATIENCE_S:.0f} s")
