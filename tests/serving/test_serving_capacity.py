"""``lifecycle capacity``: a real serving process is measured, and what was found is told in every form."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from lifecycle import wiring
from lifecycle.cli import main
from lifecycle.core.capacity import Capacity, CapacityReport
from lifecycle.core.errors import StageError, StateError, UnavailableError
from lifecycle.core.layout import Layout
from lifecycle.core.settings import Settings
from lifecycle.serving.load import capacity as measuring_module
from lifecycle.serving.load import generator
from lifecycle.serving.load.search import Search
from lifecycle.serving.trial import trial_server
from lifecycle.steps.capacity import Question, find_capacity, request_bodies
from lifecycle.steps.capacity_text import as_text
from tests.serving.conftest import HOMES, promote
from tests.serving.test_serving_capacity_search import point
from tests.serving.test_serving_store import folder_of

REPORT = CapacityReport(
    system="house-prices",
    release="ab" * 32,
    measured="one serving process of release abababababab, 2 cores shared with the load generator",
    workers=1,
    records="records of the test window",
    asked_per_s=1000,
    headroom=0.3,
    cores=2,
    load_before=0.1,
    capacity=Capacity(
        budget_ms=300,
        per_s=600,
        limit="at 650 requests a second: p99 of 412 ms",
        at_least=False,
        confirmed=3,
        points=(
            point(100, p99_ms=4.0),
            point(600, p50_ms=9.0, p99_ms=90.0),
            point(650, p50_ms=90.0, p99_ms=412.0),
        ),
    ),
)
NOTHING = REPORT.model_copy(
    update={"capacity": REPORT.capacity.model_copy(update={"per_s": 0.0, "confirmed": 0})}
)


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(project=tmp_path)


@pytest.fixture
def asked(monkeypatch) -> list[Question]:
    """The questions that the command line asks; each is answered by ``REPORT``, or asks too much."""
    questions: list[Question] = []

    def capacity(_settings: Settings, question: Question, _say: object) -> CapacityReport:
        questions.append(question)
        return REPORT if question.budget >= 0.1 else NOTHING

    monkeypatch.setattr(wiring, "capacity", capacity)
    return questions


def invoke(*words: str):
    return CliRunner().invoke(main, ["capacity", "house-prices", *words])


def test_the_answer_is_told_in_words_and_as_a_picture_of_text(asked):
    result = invoke("--qps", "1000", "--p99", "300ms", "--workers", "2", "--seconds", "1")
    assert result.exit_code == 0, result.output
    assert "600 requests a second with 99 % of the answers within 300 ms" in result.output
    assert "beyond it: at 650 requests a second: p99 of 412 ms" in result.output
    assert "1,000 requests a second, 30% of each machine kept free: 3 such machines" in result.output
    assert "records of the test window" in result.output
    lines = [line for line in result.output.splitlines() if "●" in line][1:]
    assert [line.split()[0] for line in lines] == ["100/s", "600/s", "650/s"]
    assert ["✓" in line for line in lines] == [True, True, False]
    assert lines[2].index("○") > lines[0].index("│") > lines[1].index("○") > lines[0].index("○")
    assert "┿" in lines[2]  # it crosses the budget
    [question] = asked
    assert (question.budget, question.per_s, question.workers, question.seconds) == (0.3, 1000, 2, 1)


def test_a_machine_that_was_busy_is_told(asked):
    assert "this machine was busy before (load average 1.7, 2 cores)" in as_text(
        REPORT.model_copy(update={"load_before": 1.7})
    )
    assert "busy" not in as_text(REPORT)


def test_the_answer_is_told_as_json_and_drawn(asked, tmp_path):
    for name, start in (("found.png", b"\x89PNG"), ("found.svg", b"<?xml")):
        path = tmp_path / name
        result = invoke("--qps", "1000", "--p99", "0.3s", "--json", "--plot", str(path))
        found = json.loads(result.stdout)
        assert (found["capacity"]["per_s"], found["machines"]) == (600, 3)
        assert path.read_bytes().startswith(start)
    drawn = (tmp_path / "found.svg").read_text(encoding="utf-8")
    for words in ("budget 300", "capacity 600/s", "30% kept free", "median", "99th percentile"):
        assert words in drawn.replace("&#8239;", " ")


def test_a_budget_that_no_rate_keeps_is_told_and_is_no_success(asked, tmp_path):
    path = tmp_path / "nothing.png"
    result = invoke("--qps", "1000", "--p99", "1ms", "--plot", str(path))
    assert result.exit_code == 12
    assert "no rate keeps 99 % of the answers within" in result.output
    assert path.is_file()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--p99", "300"], "'300' is not a duration"),
        (["--p99", "0ms"], "'0ms' is not a duration"),
        (["--p99", "1s", "--plot", "found.pdf"], "found.pdf is not the name of a picture"),
        (["--p99", "1s", "--plot", "nowhere/found.png"], "the folder of nowhere/found.png does not exist"),
    ],
)
def test_what_cannot_be_meant_is_told_before_anything_is_measured(asked, words, told):
    result = invoke("--qps", "10", *words)
    assert (result.exit_code, asked) == (2, [])
    assert told in result.stderr


def test_without_a_test_window_of_this_schema_records_are_made_up(settings):
    bodies, source = request_bodies("homes", HOMES, settings)
    assert "made-up" in source
    request = HOMES.request_model()
    for body in bodies:
        request.model_validate_json(body)

    layout = Layout(settings.state / "worktrees" / "homes", "homes")
    layout.manifest.parent.mkdir(parents=True)
    layout.manifest.touch()
    layout.model.mkdir(parents=True)
    other = HOMES.model_copy(update={"fields": HOMES.fields[:-1]})
    (layout.model / "schema.json").write_text(other.model_dump_json())
    assert "made-up" in request_bodies("homes", HOMES, settings)[1]


def test_there_must_be_a_release_and_only_one_of_a_name(settings, ledger, store, releases):
    with pytest.raises(StateError, match="no release of homes is live"):
        find_capacity(Question("homes", 1, 1), settings, ledger, store)
    promote(ledger, releases.write())
    with pytest.raises(StateError, match="no releases of homes are named zz"):
        find_capacity(Question("homes", 1, 1, release="zz"), settings, ledger, store)


@pytest.fixture
def _busy(monkeypatch):
    """Other tests may run on the same cores, and make the generator late."""
    monkeypatch.setattr(generator, "LEAST_LAG_BOUND", 10.0)


@pytest.mark.slow
@pytest.mark.usefixtures("_busy")
def test_a_real_process_is_started_measured_and_ended(settings, ledger, store, releases):
    release = releases.write()
    promote(ledger, release)
    said: list[str] = []
    question = Question("homes", per_s=100, budget=0.2, seconds=0.05, release=release.digest[:8])
    report = find_capacity(question, settings, ledger, store, say=said.append)
    assert report.capacity.per_s > 10
    assert report.machines
    assert report.workers == 1
    assert "made-up" in report.records
    assert any("/s  p50" in line for line in said)
    assert not psutil.Process().children(recursive=True)
    assert not [folder for folder in settings.state.iterdir() if folder.name.startswith("trial-")]


@pytest.mark.slow
def test_a_running_service_must_answer_and_know_the_system(settings, ledger, store, releases, monkeypatch):
    release = releases.write()
    promote(ledger, release)
    promote(ledger, releases.write(system="offices"))
    with trial_server(settings, folder_of(release)) as server:
        question = Question("offices", per_s=100, budget=0.2, seconds=0.05, urls=(server.address,))
        with pytest.raises(StageError, match="the service refused a record with 404: no system of that name"):
            find_capacity(question, settings, ledger, store)
        monkeypatch.setattr(measuring_module, "Search", _OneLoad)
        report = find_capacity(replace(question, system="homes"), settings, ledger, store)
        assert (report.workers, report.measured) == (None, f"the service at {server.address}")
        assert report.capacity.points[0].answered == {"200": 1}
    with pytest.raises(UnavailableError, match="does not answer: ConnectionRefusedError"):
        find_capacity(question, settings, ledger, store)


class _OneLoad(Search):
    """A search that tries one rate."""

    def run(self) -> Capacity:
        self.points.append(self.offer(1))
        return REPORT.capacity.model_copy(update={"points": tuple(self.points), "per_s": 0.0})


def test_the_picture_in_the_documents_is_there():
    page = Path(__file__).parents[2] / "docs" / "serving" / "capacity.md"
    assert "../pictures/capacity.png" in page.read_text(encoding="utf-8")
