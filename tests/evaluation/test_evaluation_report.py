"""The report, rendered from real sales: self-contained, repeatable, and saying what was decided."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest

from lifecycle.core.errors import StageError
from lifecycle.core.params import SystemParams, load_params
from lifecycle.core.record import Record
from lifecycle.core.roles import EventTime, Feature, Label, RecordId
from lifecycle.core.rows import Rows
from lifecycle.core.system import System
from lifecycle.core.values import EngineChoice, Evaluation, Lineage, Measurements, Parity, Window
from lifecycle.evaluation import metrics
from lifecycle.evaluation.baselines import naive_predictions
from lifecycle.evaluation.comparison import compare_baselines
from lifecycle.evaluation.gates import judge
from lifecycle.evaluation.report import ReportInput, plots, render
from lifecycle.evaluation.wording import NARROW
from systems.house_prices import SYSTEM

CANDIDATE, CHAMPION = "a" * 64, "b" * 64
MEASURED = Measurements(
    latency_p50_ms=2,
    latency_p99_ms=6,
    offered_per_s=100,
    throughput_per_s=800,
    memory_mb=120,
    ready_s=1.2,
    size_mb=2,
    requests=500,
)


class PageOutline(HTMLParser):
    """What a page loads and how its tags nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.images = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"meta", "img", "br", "link"}:
            self.open.append(tag)
        self.images += tag == "img"
        assert tag not in {"script", "link", "iframe", "object"}
        for name, value in attrs:
            assert not name.startswith("on")
            if name in {"src", "href"}:
                self.loaded.append(value or "")
            if tag == "img" and name == "alt":
                assert value

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def lineage() -> Lineage:
    window = Window(start=datetime(1993, 1, 1, tzinfo=UTC), end=datetime(1997, 8, 1, tzinfo=UTC), rows=18_000)
    return Lineage(
        snapshot="5" * 32 + ".dir",
        commit="6" * 40,
        params="7" * 64,
        environment="8" * 64,
        split="9" * 64,
        seed=7,
        train=window,
        validation=window,
        test=window,
    )


def report_on(
    system: System,
    params: SystemParams,
    rows: Rows,
    candidate: np.ndarray,
    others: dict[str, np.ndarray],
    *,
    first: bool = False,
    **measured: float,
) -> ReportInput:
    common: dict[str, Any] = {
        "rows_digest": rows.digest,
        "params": params.evaluation,
        "seed": 7,
        "event_time": rows.event_time,
    }
    made = compare_baselines(system.primary, rows.label, candidate, others, **common)
    found = metrics.compute(system.task, rows.label, candidate, threshold=0.5, names=system.metrics)
    measurements = MEASURED.model_copy(update=measured)
    gates = judge(
        first=first,
        comparisons=made,
        metrics=found,
        choice=EngineChoice(
            task=system.task,
            engine="onnx",
            parity=Parity(rows=500, worst_relative=1e-6, worst_row="17", rtol=1e-4),
        ),
        params=params,
        measurements=measurements,
        size_mb=2,
        unit=system.schema.label.unit,
    )
    evaluation = Evaluation(
        release=CANDIDATE,
        champion=None if first else CHAMPION,
        metrics=found,
        comparisons=made,
        gates=gates,
        measurements=measurements,
    )
    return ReportInput(
        system=system,
        params=params,
        as_of=datetime(1998, 1, 1, tzinfo=UTC),
        evaluation=evaluation,
        lineage=lineage(),
        rows=rows,
        candidate=candidate,
        others=others,
    )


@pytest.fixture(scope="session")
def params() -> SystemParams:
    """Those of the project, with fewer resamples: what is drawn here is words and pictures."""
    params = load_params(Path(__file__).parents[2]).system("house-prices")
    evaluation = params.evaluation.model_copy(update={"resamples": 200})
    return params.model_copy(update={"evaluation": evaluation})


@pytest.fixture(scope="session")
def sales(houses: Rows) -> tuple[Rows, np.ndarray, np.ndarray]:
    """Five months of real sales, and the answers of a linear model of log price: kept up, and of 1993-94."""
    test = houses.event_time >= np.datetime64("1997-08-01")
    test &= houses.event_time < np.datetime64("1998-01-01")
    area = np.log(houses.tensors.numbers[:, SYSTEM.schema.numbers.index("living_area")])
    inputs = np.column_stack([np.ones(len(area)), area, houses.tensors.numbers[:, 1] / 1900])

    def answers(until: str) -> np.ndarray:
        train = houses.event_time < np.datetime64(until)
        weights, *_ = np.linalg.lstsq(inputs[train], np.log(houses.label[train]), rcond=None)
        return np.asarray(np.exp(inputs[test] @ weights), dtype=np.float64)

    return houses.take(test), answers("1997-07-01"), answers("1995-01-01")


@pytest.fixture(scope="session")
def update(params: SystemParams, sales: tuple[Rows, np.ndarray, np.ndarray]) -> ReportInput:
    rows, candidate, champion = sales
    return report_on(SYSTEM, params, rows, candidate, {CHAMPION: champion})


@pytest.fixture(scope="session")
def page(update: ReportInput) -> str:
    return render(update)


def text_of(page: str) -> str:
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body)).replace(NARROW, " ")


def test_the_page_needs_nothing_beside_it(page: str) -> None:
    outline = PageOutline(page)
    assert outline.open == []
    assert outline.images == 6
    assert all(address.startswith("data:image/svg+xml;base64,") for address in outline.loaded)
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_the_page_says_what_was_decided_and_on_what(page: str, update: ReportInput) -> None:
    said = text_of(page)
    made = update.evaluation.comparisons[0]
    assert f"median absolute percentage error {made.candidate:.1%}".replace("%", " %") in said
    assert f"on the same {len(update.rows):,} rows" in said
    for gate in update.evaluation.gates:
        assert gate.measured.replace(NARROW, " ") in said
    for value in (CANDIDATE, CHAMPION[:12], update.lineage.commit, update.rows.digest[:12]):
        assert value in said
    assert "lifecycle history house-prices" in said


def test_the_same_input_gives_the_same_page(page: str, update: ReportInput) -> None:
    assert render(update) == page


def test_pictures_are_png_and_the_ones_of_the_page(update: ReportInput, page: str) -> None:
    drawn = plots(update)
    assert set(drawn) == {
        "verdict",
        "error_over_time",
        "bias_over_time",
        "slices",
        "residuals",
        "reliability",
    }
    assert all(content.startswith(b"\x89PNG") for content in drawn.values())
    assert all(f'id="{name}"' in page for name in drawn)


def test_a_promotion_and_a_hold_read_differently(
    params: SystemParams, sales: tuple[Rows, np.ndarray, np.ndarray]
) -> None:
    rows, candidate, _ = sales
    promoted = text_of(render(report_on(SYSTEM, params, rows, rows.label * 1.05, {CHAMPION: candidate})))
    assert "✓ Promote The candidate is better than the champion" in promoted
    assert "All 8 gates are kept" in promoted
    assert "lifecycle rollback house-prices" in promoted
    held = text_of(
        render(report_on(SYSTEM, params, rows, candidate, {CHAMPION: rows.label * 1.05}, latency_p99_ms=130))
    )
    assert "✕ Hold The candidate is worse than the champion" in held
    assert "130 ms is 30 ms (30 %) over" in held
    assert "lifecycle update house-prices" in held


def test_a_first_deployment_is_set_against_every_baseline(
    params: SystemParams, houses: Rows, sales: tuple[Rows, np.ndarray, np.ndarray]
) -> None:
    rows, candidate, _ = sales
    history = houses.take(houses.event_time < rows.event_time[0])
    naive = naive_predictions("regression", history, rows, timedelta(days=30))
    report = report_on(SYSTEM, params, rows, candidate, naive, first=True)
    said = text_of(render(report))
    assert "better than every naive baseline" in said
    assert all(name in said for name in ("Constant", "Last known value", "Last period&#39;s median"))
    assert "lifecycle rollback" not in said


def electricity() -> System:
    class Reading(Record):
        """Half an hour of an electricity market."""

        reading: Annotated[str, RecordId()]
        at: Annotated[datetime, EventTime()]
        demand: Annotated[float, Feature()]
        day: Annotated[str, Feature()]
        rises: Annotated[bool, Label(delay=timedelta(days=7))]

    return System(
        name="electricity",
        record=Reading,
        task="classification",
        build_model=lambda _: None,
        metrics=metrics.of_task("classification"),
        primary="log_loss",
    )


@pytest.mark.parametrize("days", [0.5, 40])
def test_classification_over_windows_of_any_length(
    params: SystemParams, rows_of: Callable[..., Rows], days: float
) -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(600)
    hostile = np.where(rng.random(600) < 0.02, "<script>alert(1)</script>", "weekend $x$ & co").astype(object)
    label = (rng.random(600) < probability).astype(float)
    rows = rows_of(np.linspace(0, days, 600), label, hostile)
    evaluation = params.evaluation.model_copy(update={"slices": ("day",)})
    params = params.model_copy(update={"evaluation": evaluation, "gates": ()})
    report = report_on(electricity(), params, rows, probability, {CHAMPION: np.full(600, 0.5)})
    page = render(report)
    PageOutline(page)
    assert "Average precision" in text_of(page)
    assert 'id="calibration"' in page


def test_a_metric_that_is_undefined_is_said_and_not_drawn(
    params: SystemParams, rows_of: Callable[..., Rows]
) -> None:
    evaluation = params.evaluation.model_copy(update={"slices": ()})
    params = params.model_copy(update={"evaluation": evaluation, "gates": ()})
    system = replace(electricity(), primary="auc")
    rows = rows_of(np.linspace(0, 20, 60), np.zeros(60))
    report = report_on(system, params, rows, np.linspace(0, 1, 60), {CHAMPION: np.full(60, 0.5)})
    said = text_of(render(report))
    assert "✕ Hold The candidate cannot be compared with the champion: area under the ROC curve" in said
    assert "is undefined on these 60 rows" in said


def test_labels_below_zero_are_judged_by_difference(
    params: SystemParams, rows_of: Callable[..., Rows]
) -> None:
    evaluation = params.evaluation.model_copy(update={"slices": ()})
    rows = rows_of(np.linspace(0, 60, 300), np.random.default_rng(0).normal(size=300) * 1000)
    system = replace(SYSTEM, primary="mae")
    report = report_on(
        system,
        params.model_copy(update={"evaluation": evaluation, "gates": ()}),
        rows,
        rows.label + 50,
        {CHAMPION: rows.label - 80},
    )
    assert "The median answer of the candidate is $50 too high; of the champion $80 too low." in text_of(
        render(report)
    )


def test_rooms_load_no_heavy_library_until_a_report_is_drawn() -> None:
    code = (
        "import sys, lifecycle.evaluation.report, lifecycle.evaluation.gates\n"
        "print({'matplotlib', 'jinja2', 'sklearn', 'scipy', 'pandas'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_a_report_without_the_answers_is_refused(update: ReportInput) -> None:
    with pytest.raises(StageError, match="the report lacks the answers of: bbbb"):
        replace(update, others={})
