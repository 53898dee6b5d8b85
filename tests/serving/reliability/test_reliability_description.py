"""What the API page describes is what the service does: Schemathesis asks all that it allows, and more."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lifecycle.serving.app import create_app
from tests.serving.conftest import LANES, Service, eventually, promote

FOLDER = Path(__file__).with_name("schemathesis")


def examine(address: str, folder: Path, examples: int, seed: int) -> str:
    """Let Schemathesis ask; what it says.

    It fails on a status, type, header or body that is not described, on a 5xx, on wrong data that is accepted
    and on right data that is refused.
    """
    command = [
        *(
            str(Path(sys.executable).with_name("schemathesis")),
            "--config-file",
            str(FOLDER / "schemathesis.toml"),
        ),
        *("run", f"{address}/openapi.json", "--no-color", "--suppress-health-check", "all"),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", str(examples), "--seed", str(seed)),
        "--generation-database=none",
    ]
    environment = {"SCHEMATHESIS_HOOKS": "only_what_can_be_described", "PYTHONPATH": str(FOLDER)}
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, cwd=folder, check=False
    )
    assert done.returncode == 0, "\n".join(line[:300] for line in done.stdout.splitlines()) + done.stderr
    return done.stdout


@pytest.fixture(params=LANES.values(), ids=LANES)
def service(ledger, store, releases, tmp_path, request):
    promote(ledger, releases.write())
    app = create_app(ledger, store, poll_seconds=0.02, log=tmp_path / "log")
    with Service(app, request.param) as client:
        eventually(lambda: client.get("/readyz").status_code == 200)
        yield client


@pytest.mark.slow
def test_the_description_holds_on_both_lanes(service, tmp_path):
    said = examine(str(service.base_url).rstrip("/"), tmp_path, examples=4, seed=1)
    assert "Operations:       6 selected / 6 total" in said


@pytest.mark.soak
def test_the_description_holds_for_thousands_of_requests(service, tmp_path, report: Callable[[str], None]):
    said = examine(str(service.base_url).rstrip("/"), tmp_path, examples=1000, seed=2)
    report(said[said.index("Test cases:") :].splitlines()[1].strip())
