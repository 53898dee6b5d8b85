"""What people do with a project that is deployed: its flow died after each of its steps in turn."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.conftest import SYSTEM, Project, converged, copied

KILLED = Path(__file__).with_name("killed.py")
FIRST = ("first-deployment", SYSTEM, "--as-of", "2025-03-01")
STEPS = (
    "lifecycle.steps.loop.Loop.ingest",
    "lifecycle.data.workspace.GitDvcWorkspace.train",
    "lifecycle.steps.loop.Loop.evaluate",
    "lifecycle.steps.loop.Loop.register",
    "lifecycle.rollout.ledger.SqlLedger.record",
)
"""In order; the last is the switch, before the aliases follow."""


@pytest.fixture(scope="module")
def killed_project(fresh, tmp_path_factory) -> Project:
    """A project whose first deployment was killed after one step after the other."""
    project = copied(fresh, tmp_path_factory.mktemp("deployed"), requirements={"mode": "batch"})
    for step in STEPS:
        # That it dies only after this step shows: it got past what the death before has left.
        assert project.ledger.history(SYSTEM) == ()
        project.python(str(KILLED), step, "1", *FIRST, expect=-signal.SIGKILL)
    again = project.run(*FIRST, expect=6)
    assert "run `lifecycle update delivery-time`" in again.stderr
    return project


@pytest.fixture
def deployed(killed_project) -> Iterator[Project]:
    """It, with a checkout as it was committed."""
    yield killed_project
    killed_project.git("checkout", "--quiet", ".")
    killed_project.git("clean", "-dq", "--force")


def test_killed_after_one_step_after_the_other_the_flow_converges(deployed):
    converged(deployed)


def test_the_champion_answers_a_reviewer_as_the_endpoint_does(deployed):
    code = f"""
import mlflow, pandas
from lifecycle.core.release import read_schema
from lifecycle.core.rows import encode_records
from lifecycle.core.settings import Settings
from lifecycle.core.synthetic import synthetic_records
from lifecycle.wiring import open_engine, open_ledger, open_store

settings = Settings()
folder = open_store(settings).fetch(open_ledger(settings).live("{SYSTEM}").release)
schema = read_schema(folder)
names = [spec.name for spec in schema.features]
records = [{{name: record[name] for name in names}} for record in synthetic_records(schema, 20)]
expected = open_engine(folder, settings.project).predict(encode_records(schema, records))
mlflow.set_tracking_uri(settings.tracking)
answers = mlflow.pyfunc.load_model("models:/{SYSTEM}@champion").predict(pandas.DataFrame(records))
assert answers.tolist() == expected.tolist()
"""
    deployed.python("-c", code)


def test_files_are_scored_and_published_once(deployed):
    project = deployed
    words = ("score", SYSTEM, "--input", "source/*.csv", "--output", "scores", "--chunk-rows", "1000")
    killed = ("lifecycle.data.scoring.work.WorkFolder.finish", "2")
    project.python(str(KILLED), *killed, *words, expect=-signal.SIGKILL)
    assert not (project.root / "scores").exists()
    result = project.json(*words)
    assert (result["status"], result["counts"]["scored"]) == ("published", 3000)
    assert {gate["verdict"] for gate in result["gates"]} == {"kept"}
    assert project.json(*words)["status"] == "unchanged"

    # Ever the same van, for ever the same distance: the scores cannot be what training knew.
    lines = (project.root / "source" / "delivery-time.csv").read_text().splitlines()
    (project.root / "odd.csv").write_text("\n".join([lines[0], *[lines[1]] * 2000]))
    odd = ("score", SYSTEM, "--input", "odd.csv", "--output", "odd")
    held = project.run(*odd, expect=11)
    assert "shift of the scores" in held.stdout
    assert "--accept" in held.stdout
    assert project.json(*odd, "--accept", "a test")["accepted"] == "a test"


def test_a_developer_works_with_dvc_in_the_ordinary_checkout(deployed):
    project = deployed
    snapshot = project.json("data", "checkout", SYSTEM)["snapshot"]
    assert (
        snapshot == project.git("show", f"lifecycle/{SYSTEM}:data/{SYSTEM}.dvc").split("md5: ")[1].split()[0]
    )
    project.python("-m", "dvc", "repro")
    assert "median_ape" in project.python("-m", "dvc", "metrics", "show").stdout
    project.python("-m", "dvc", "plots", "show", "--out", ".lifecycle/plots")
    project.python("-m", "dvc", "exp", "run", "--set-param", f"systems.{SYSTEM}.seed=8")
    assert "seed" in project.python("-m", "dvc", "params", "diff").stdout
