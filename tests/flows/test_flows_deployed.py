"""The loop on the command line: a project that is deployed is used, updated and rolled back.

Its first deployment died after each of its steps in turn, and converged.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.conftest import SYSTEM, Project, copied

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

SERVED = {
    "mode": "real-time",
    "latency_p99_ms": 100,
    "throughput_per_s": 50,
    "memory_mb": 200,
    "size_mb": 50,
}
"""Requirements that are measured on a real server process."""


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
    project = deployed
    [deployment] = project.ledger.history(SYSTEM)
    evaluation = deployment.evidence["evaluation"]
    assert {it["verdict"] for it in evaluation["comparisons"]} == {"better"}
    registered = project.registered()
    assert registered["versions"] == [deployment.version]
    assert registered["aliases"]["champion"] == deployment.version
    locks = list((project.root / ".git").rglob("*.lock"))
    assert not locks
    assert project.git("status", "--porcelain") == ""
    assert project.json("update", SYSTEM, "--as-of", "2025-03-01T00:30")["status"] == "unchanged"
    assert "has no version '9'" in project.run("reproduce", SYSTEM, "9", expect=6).stderr
    assert len(project.ledger.history(SYSTEM)) == 1


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
    project.change_params(seed=8)
    assert "seed" in project.python("-m", "dvc", "params", "diff", "HEAD~").stdout
    project.git("reset", "--quiet", "--hard", "HEAD~")


def test_an_update_is_promoted_and_rolled_back(deployed):
    project = deployed
    words = ("update", SYSTEM, "--as-of", "2025-06-01")
    project.change_params(requirements=SERVED)
    (project.root / "notes.txt").write_text("a dirty tree\n")
    killed = ("lifecycle.rollout.ledger.SqlLedger.record", "1")
    dead = project.python(str(KILLED), *killed, *words, expect=-signal.SIGKILL)
    assert "notes.txt" in dead.stderr
    assert project.registered()["aliases"]["champion"] == "1"
    assert project.json(*words)["status"] == "unchanged"
    aliases = project.registered()["aliases"]
    assert (aliases["champion"], aliases["previous"]) == ("2", "1")
    assert project.git("status", "--porcelain").split() == ["??", "notes.txt"]

    *_, updated = project.json("history", SYSTEM)
    gates = updated["evidence"]["evaluation"]["gates"]
    assert {gate["name"] for gate in gates} >= {*SERVED, "parity"} - {"mode"}
    assert all(gate["ok"] for gate in gates)
    assert project.json("history", SYSTEM, "--at", updated["decided_at"])[0]["version"] == "2"

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
