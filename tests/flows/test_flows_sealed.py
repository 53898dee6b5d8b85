"""A system about people: first deployment, an erasure, an update without them, and sealed scores."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from lifecycle.core.params import load_params
from lifecycle.core.scoring import ScoreResult
from lifecycle.core.system import load_system
from lifecycle.records.vault import SystemVault
from lifecycle.steps.score_summary import as_markdown
from lifecycle.wiring import open_office
from lifecycle.wiring.adapters import vault_opener
from tests.flows.conftest import SYSTEM, Project

MARKER = "Zyxwvut"
"""Stands in every customer's name, and nowhere on disk but in the source."""

POLICY = """\
format: 1
actors:
  tester:
    training: [clinical]
    care: [clinical]
"""


@pytest.fixture
def clinic(batch_project) -> Project:
    """The example, whose customers are people: three deliveries each, and one in fifty does not agree."""
    root = batch_project.root
    [source] = (root / "source").glob("*.csv")
    with source.open(newline="") as stream:
        header, *rows = csv.reader(stream)
    with source.open("w", newline="") as stream:
        lines = [[*row, f"{MARKER} {n // 3}", str(n // 3 % 50 != 0)] for n, row in enumerate(rows)]
        csv.writer(stream).writerows([[*header, "customer", "agreed"], *lines])
    code = root / f"{SYSTEM.replace('-', '_')}.py"
    text = code.read_text()
    text = text.replace(
        "    # When it happened:",
        '    customer: Annotated[str, SubjectId(), Sensitive("identifiers")]\n'
        '    agreed: Annotated[bool, Consent("training")]\n'
        "    # When it happened:",
    )
    text = text.replace(
        "import EventTime, Feature, Label, RecordId",
        "import Consent, EventTime, Feature, Label, RecordId, Sensitive, SubjectId",
    )
    code.write_text(text)
    (root / "access.yaml").write_text(POLICY)
    batch_project.git("add", "-A")
    batch_project.git(
        "-c", "user.name=tester", "-c", "user.email=tester@localhost", "commit", "-qm", "About people"
    )
    return batch_project


def shown(project: Project) -> list[Path]:
    """Every file that holds a customer's name, the source and the user's own git history aside."""
    hidden = (project.root / "source", project.root / ".git")
    files = [path for path in project.root.rglob("*") if path.is_file() and not path.is_symlink()]
    ours = [path for path in files if not any(path.is_relative_to(folder) for folder in hidden)]
    worktree = project.root / ".lifecycle" / "worktrees" / SYSTEM / "source"
    return [
        path for path in ours if not path.is_relative_to(worktree) and MARKER.encode() in path.read_bytes()
    ]


NOT_ALLOWED = """
import os
os.environ["LIFECYCLE_ACTOR"] = "ann"
from lifecycle.cli import main
main(["first-deployment", "{system}", "--as-of", "2025-03-01"])
"""


def vault_of(project: Project) -> SystemVault:
    system = load_system(load_params(project.root).system(SYSTEM).entry, project.root)
    vault = vault_opener(project.settings.model_copy(update={"actor": "tester"}), SYSTEM)(system.schema)
    assert isinstance(vault, SystemVault)
    return vault


def test_an_actor_whom_the_policy_does_not_know_is_told_the_line_that_is_missing(clinic):
    done = clinic.python("-c", NOT_ALLOWED.format(system=SYSTEM), expect=77)
    assert "the policy knows no actor 'ann'" in done.stderr
    line = f"{clinic.root / 'access.yaml'}, below actors: ann: {{training: [clinical]}}"
    assert line in done.stderr
    assert not list((clinic.root / ".lifecycle").rglob("*.parquet"))
    assert open_office(clinic.settings).status().subjects == 0


def test_people_are_learnt_from_scored_and_forgotten(clinic):
    first = clinic.json("first-deployment", SYSTEM, "--as-of", "2025-03-01")
    assert first["status"] == "promoted", first["reason"]
    assert shown(clinic) == []

    office = open_office(clinic.settings)
    people = office.people(SYSTEM)
    [ref] = people.find([f"{MARKER} 7"])
    office.erasure.erase([ref])

    second = clinic.json("update", SYSTEM, "--as-of", "2025-06-01", "--trigger", "erasure")
    assert second["status"] in ("promoted", "held"), second["reason"]
    assert [row["evidence"]["trigger"] for row in clinic.json("history", SYSTEM)] == ["manual", "erasure"]
    assert clinic.run("history", SYSTEM).stdout.count(", trigger: erasure") == 1
    assert shown(clinic) == []
    assert office.trail.verify().entries > 4
    [other] = people.find([f"{MARKER} 8"])
    assert next(office.trail.who(other))["purpose"] == "training"

    source = next((clinic.root / "source").glob("*.csv")).relative_to(clinic.root)
    scored = clinic.json("score", SYSTEM, "--input", str(source), "--output", "scores", "--accept", "a test")
    assert scored["status"] == "published"
    assert scored["counts"]["erased"] == 3
    assert shown(clinic) == []
    # All that Prefect is told, and keeps: results, and the artifact that is made of them.
    assert MARKER not in json.dumps([first, second, scored])
    summary = as_markdown(ScoreResult.model_validate(scored))
    assert "| left out: the person was erased | 3 |" in summary
    assert MARKER not in summary
    parts = sorted((clinic.root / "scores").glob("part-*.parquet"))
    rows = sum(part.table.num_rows for part in vault_of(clinic).open(parts, ["prediction"], "care"))
    assert rows == scored["counts"]["scored"]
