"""The verbs of the log and of outcomes, as typed; and the order in which an ingest reads the log."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from click.testing import CliRunner

from lifecycle.cli import main
from lifecycle.core.settings import Settings
from lifecycle.data.log_files import ClearLog
from lifecycle.data.log_parts import CompactedLog
from lifecycle.steps.loop import Loop
from lifecycle.wiring import compact_log
from tests.log.conftest import Written, outcome, prediction

REPOSITORY = Path(__file__).parents[2]
SYSTEM = "house-prices"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository's own declarations, in a folder without git, DVC or state."""
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    shutil.copytree(REPOSITORY / "systems", tmp_path / "systems")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def declare(project: Path, **sections: Any) -> None:
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["systems"][SYSTEM].update(sections)
    (project / "params.yaml").write_text(yaml.safe_dump(params))


def log_of(project: Path) -> Written:
    return Written(CompactedLog(Settings(project=project).log / SYSTEM, SYSTEM, ClearLog()))


def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, words)
    assert result.exit_code == code, result.output
    return result.output


def test_outcomes_are_imported_counted_and_refused_by_position(project: Path) -> None:
    (project / "sold.csv").write_text(
        "sale,paid,on\ns1,100000,2024-01-01T00:00:00Z\ns2,-1,2024-01-01T00:00:00Z\n"
    )
    words = ["outcomes", "import", SYSTEM, "sold.csv", "--column", "record_id=sale", "--column", "value=paid"]
    words += ["--column", "observed_at=on"]
    refused = run(*words, code=3)
    assert "1 of 2 rows of sold.csv cannot be taken" in refused
    assert "row 2, value: 0 or below, must be above 0" in refused
    assert "1 outcomes stored, 1 rows left out" in run(*words, "--skip-bad")
    assert json.loads(run(*words, "--skip-bad", "--json"))["before"]
    counts = json.loads(run("outcomes", "status", SYSTEM, "--json"))
    assert (counts["received"], counts["parked"]) == (1, 1)
    assert "0 matched, 1 parked" in run("outcomes", "status", SYSTEM)
    assert json.loads(run("log", "status", SYSTEM, "--json"))["parked"] == 1
    assert "write --column value=price" in run(*words[:4], "--column", "paid", code=2)
    assert "did you mean" in run("log", "status", "house-price", code=2)


def test_the_log_is_compacted_by_a_verb_and_keeps_as_many_days_as_declared(project: Path) -> None:
    declare(project, serving={"retention_days": 30})
    written = log_of(project)
    written.segment(
        prediction("old", at=datetime(2020, 1, 1, tzinfo=UTC)), prediction("new", at=datetime.now(UTC))
    )
    assert "2 predictions" in run("log", "status", SYSTEM)
    done = subprocess.run(
        [sys.executable, "-m", "lifecycle", "log", "compact", SYSTEM, "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "2 predictions, 0 outcomes from 1 segments, deleted 2020-01-01" in done.stderr
    found = json.loads(done.stdout)
    assert (found["predictions"], found["deleted_days"]) == (2, ["2020-01-01"])
    assert written.rows()["prediction_id"].to_list() == ["new"]


class Recorded:
    """A workspace that notes what it is asked, and ingests nothing."""

    def __init__(self, root: Path, asked: list[str]) -> None:
        self.root = root
        self.asked = asked

    def prepare(self) -> tuple[str, ...]:
        return ()

    def snapshot(self, *_: object) -> Any:
        self.asked.append("snapshot")
        raise StopIteration


@pytest.mark.parametrize(
    ("sources", "order"),
    [
        ([{"origin": "user", "kind": "predictions"}], ["compact", "snapshot"]),
        ([{"origin": "user", "kind": "csv", "path": "x.csv"}], ["snapshot"]),
    ],
)
def test_an_ingest_that_reads_the_log_compacts_it_first(
    project: Path, sources: list[dict[str, str]], order: list[str]
) -> None:
    declare(project, sources=sources)
    asked: list[str] = []
    no_other: dict[str, Any] = dict.fromkeys(
        (
            "actor",
            "reports",
            "releases",
            "registry",
            "ledger",
            "store",
            "signer",
            "probe",
            "clock",
            "load_engine",
            "open_vault",
            "measure_batch",
        )
    )
    loop = Loop(
        name=SYSTEM,
        as_of=datetime(2026, 1, 1, tzinfo=UTC),
        workspace=cast(Any, Recorded(project, asked)),
        compact_log=lambda: asked.append("compact"),
        **no_other | {"open_vault": lambda _schema: None},
    )
    with pytest.raises(StopIteration):
        loop.ingest()
    assert asked == order


def test_outcomes_of_servers_are_compacted_beside_predictions(project: Path) -> None:
    written = log_of(project)
    written.segment(prediction("p"))
    written.outcomes(outcome(1.0, datetime(2026, 3, 2, tzinfo=UTC), of="p"))
    done = compact_log(Settings(project=project), SYSTEM)
    assert (done.segments, done.predictions, done.outcomes) == (2, 1, 1)
