"""A report about people shows nothing that a few of them have in common, and is still a report."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.disclosure import SMALLEST_CELL
from lifecycle.core.params import load_params
from lifecycle.core.record import Record
from lifecycle.core.roles import EventTime, Feature, Label, RecordId, Sensitive, SubjectId
from lifecycle.core.rows import Rows
from lifecycle.core.system import System
from lifecycle.evaluation import metrics, views
from lifecycle.evaluation.disclosure import averaged, joined, wide_enough
from lifecycle.evaluation.monthly import by_month
from lifecycle.evaluation.report import ReportInput, render
from lifecycle.evaluation.residuals import calibration
from tests.evaluation.test_evaluation_report import CHAMPION, report_on, text_of

ROWS = 900


class Stay(Record):
    """A stay in a hospital."""

    stay: Annotated[str, RecordId()]
    patient: Annotated[str, SubjectId(), Sensitive("identifiers")]
    at: Annotated[datetime, EventTime()]
    age: Annotated[float, Feature()]
    ward: Annotated[str, Feature()]
    died: Annotated[bool, Label(delay=timedelta(days=7))]


SYSTEM = System(
    name="stays",
    record=Stay,
    task="classification",
    build_model=lambda _: None,
    metrics=metrics.of_task("classification"),
    primary="log_loss",
)


@pytest.fixture
def report(rows_of: Callable[..., Rows]) -> ReportInput:
    """Two years, one death in fifteen, and two wards where next to nobody died."""
    rng = np.random.default_rng(0)
    risk = rng.beta(0.5, 7, ROWS)
    died = (rng.random(ROWS) < risk).astype(float)
    ward = np.array(["east", "west"] * (ROWS // 2), dtype=object)
    ward[:10], ward[10:60] = "tiny", "safe"
    died[:60] = 0
    died[:3] = 1
    rows = rows_of(np.linspace(0, 730, ROWS), died, ward)
    params = load_params(Path(__file__).parents[2]).system("house-prices")
    evaluation = params.evaluation.model_copy(update={"slices": ("ward",), "resamples": 200})
    params = params.model_copy(update={"evaluation": evaluation, "gates": ()})
    return report_on(SYSTEM, params, rows, risk, {CHAMPION: np.full(ROWS, died.mean())})


def fewest(label: np.ndarray, cells: list[np.ndarray]) -> int:
    return min(min((label[cell] == kind).sum() for kind in (0, 1)) for cell in cells)


def test_no_point_of_a_picture_is_of_a_few(report: ReportInput) -> None:
    label = report.rows.label
    over_time = views.error_over_time(report)
    assert fewest(label, [part.index for part in over_time.stretches]) >= SMALLEST_CELL
    assert sum(len(part.index) for part in over_time.stretches) == ROWS
    assert len(over_time.stretches) > 2
    assert over_time.shorter == ()

    edges, heights, measure = views.by_class(report)
    widths = np.diff(edges) * 100
    for kind, found in enumerate(heights.values()):
        counts = found * widths * (label == kind).sum()
        assert counts.sum() == pytest.approx((label == kind).sum())
        assert counts.min() >= SMALLEST_CELL - 1e-9
    assert "share" in measure

    for bins in (calibration(label, answers, sealed=True) for answers in report.answers.values()):
        assert min(min(b.middle, 1 - b.middle) * b.rows for b in bins) >= SMALLEST_CELL - 1e-9
        assert sum(b.rows for b in bins) == ROWS
    assert {one.value for one in views.slices(report)["candidate"]} == {"east", "west"}


def test_tables_that_lie_beside_the_model_join_their_cells_too(report: ReportInput) -> None:
    months = by_month(SYSTEM.task, report.rows, report.candidate, threshold=0.5, sealed=True)
    assert sum(month.rows for month in months) == ROWS
    assert 2 < len(months) < 24
    predicted, actual = averaged(SYSTEM.task, report.candidate, report.rows.label)
    assert len(predicted) == len(actual) < report.rows.label.sum() / SMALLEST_CELL
    assert (np.diff(predicted) > 0).all()


def test_the_page_says_why_it_shows_less(report: ReportInput) -> None:
    said = text_of(render(report))
    assert "no fewer than eleven records alike" in said
    assert "No figure about answers or outcomes is shown of fewer than 11" in said
    assert "single weeks" not in said


def test_of_too_few_the_whole_is_shown_and_no_part(report: ReportInput, rows_of: Callable[..., Rows]) -> None:
    died = np.zeros(60)
    died[:5] = 1
    rows = rows_of(np.linspace(0, 200, 60), died, np.array(["east", "west"] * 30, dtype=object))
    few = report_on(SYSTEM, report.params, rows, np.linspace(0.5, 0, 60), {CHAMPION: np.full(60, 0.1)})
    assert [len(part.index) for part in views.error_over_time(few).stretches] == [60]
    assert calibration(died, few.candidate, sealed=True) == ()
    assert 'id="slices"' not in render(few)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40))
def test_joined_cells_hold_enough_and_all(counts: list[tuple[int, int]]) -> None:
    cells = np.array(counts, dtype=np.int64).reshape(-1, 2)
    found = joined(cells, [11, 11])
    if (cells.sum(axis=0) < 11).any():
        assert found == []
        return
    assert all((cells[part].sum(axis=0) >= 11).all() for part in found)
    assert [part.start for part in found] == [0, *(part.stop for part in found[:-1])]
    assert found[-1].stop == len(cells)


def test_rows_of_a_regression_are_only_counted() -> None:
    cells = wide_enough("regression", np.zeros(30), [np.array([i]) for i in range(30)])
    assert [len(cell) for cell in cells] == [11, 19]
