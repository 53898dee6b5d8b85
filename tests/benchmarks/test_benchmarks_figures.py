"""Every figure is measured at a tiny size: that it runs to its end counts, not how fast."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
import yaml

from benchmarks.__main__ import FIGURES, figure
from benchmarks.bench import Bench, Size
from benchmarks.document import render
from benchmarks.figure import Figure
from benchmarks.project import Story
from lifecycle.data.git import Git
from lifecycle.scaffold.project import init

SIZE = Size(
    updates=1,
    starts=1,
    commands=1,
    ingests=1,
    rows=2_000,
    csv_rows=500,
    scored=2_000,
    every=40,
    warm_ups=0,
    trees=40,
)
STORY = Story("delivery-time", first="2025-03-01", second="2025-09-01", later="2025-09-01T00:00:01")


@pytest.fixture
def bench(tmp_path) -> Bench:
    return Bench(tmp_path, SIZE, say=lambda _line: None)


@pytest.fixture(scope="module")
def houses(tmp_path_factory) -> Bench:
    """One whose house-price model is trained once."""
    return Bench(tmp_path_factory.mktemp("houses"), SIZE, say=lambda _line: None)


@pytest.fixture
def small_bench(tmp_path) -> Bench:
    """One with a small system, whose flows need no server process."""
    repository = init(tmp_path / "repository", STORY.system, echo=lambda _line: None)
    params = repository / "params.yaml"
    declared = yaml.safe_load(params.read_text(encoding="utf-8"))
    declared["systems"][STORY.system]["requirements"] = {"mode": "batch"}
    params.write_text(yaml.safe_dump(declared), encoding="utf-8")
    Git(repository).run("commit", "--quiet", "--all", "--message", "A batch system")
    return Bench(tmp_path, SIZE, say=lambda _line: None, story=STORY, repository=repository)


def whats(found: Figure) -> dict[str, float]:
    """What was measured -> the median."""
    assert found.name in render([found], (), date(2026, 1, 31), "python -m benchmarks")
    return {line.what: line.samples.median for line in found.lines}


def test_every_figure_is_documented_and_can_be_named():
    assert all(callable(figure(name)) for name in FIGURES)
    page = Path(__file__).parents[2] / "docs" / "benchmarks.md"
    text = page.read_text(encoding="utf-8")
    assert all(f"`python -m benchmarks {name}`" in text for name in FIGURES)


def test_the_command_line_answers(bench):
    assert whats(figure("help")(bench))["`lifecycle --help`"] > 0


def test_the_house_price_model_beats_plain_boosting_even_on_few_sales(houses):
    found = figure("house-prices")(houses)
    for line in found.lines:
        assert line.beside is not None
        assert line.samples.median < line.beside.samples.median


def test_records_are_sealed_beside_fernet_and_plain_parquet(bench):
    measured = whats(figure("records")(bench))
    for at in ("1 row per subject", "10 rows per subject", "1,000 rows per subject"):
        assert measured[f"seal, {at}: times Fernet per field"] > 1
        assert measured[f"size, {at}: times plain Parquet"] > 0


def test_keys_are_rewrapped_reads_recorded_and_a_person_erased(bench):
    measured = whats(figure("sealed-keys")(bench))
    assert measured["subjects whose key is wrapped anew"] > 0
    assert measured["audit, of the processor time of a read"] > 0
    assert measured["one person erased, with proof"] > measured["of it the proof"]


def test_a_model_is_trained_on_sealed_patients_and_on_the_same_in_clear(bench):
    [both, loading, times] = figure("sealed-training")(bench).lines
    assert both.samples.median > loading.samples.median > 0
    assert times.samples.median > 0


@pytest.mark.slow
def test_rows_are_ingested_and_versioned_from_both_kinds_of_file(bench):
    measured = whats(figure("ingest")(bench))
    assert measured["ingest of 2,000 rows, Parquet"] > 0
    assert measured["ingest of 500 rows, CSV"] > 0
    assert measured["memory of the whole snapshot"] > 50


@pytest.mark.slow
def test_a_batch_is_scored_beside_scikit_learn(houses):
    found = figure("batch")(houses)
    assert whats(found)["end to end"] > 0
    assert all(line.beside and line.beside.samples.median > 0 for line in found.lines)


@pytest.mark.slow
def test_a_system_is_updated_twice_and_served(small_bench):
    """The second update finds nothing new: its figure asks for that, and for no new version."""
    update = whats(figure("update")(small_bench))
    assert update["left out: fitting"] > 0
    assert update["left out: parity"] > 0

    unchanged = whats(figure("unchanged")(small_bench))
    assert unchanged["new versions"] == 0

    serving = whats(figure("serving")(small_bench))
    assert serving["of mlflow, prefect, dvc, sklearn in `sys.modules`"] == 0
    assert serving["throughput"] > 0
