"""The page of figures: what it says about a bound that is kept, one that is missed, and a peer."""

from __future__ import annotations

from datetime import date

import pytest

from benchmarks.document import render
from benchmarks.figure import Beside, Bound, Figure, Measured, Samples, quantity

FIGURE = Figure(
    name="start",
    title="Starting",
    how="Timed from outside.",
    lines=(
        Measured(
            "a start",
            Samples((2.0, 1.0, 4.0), "s"),
            Bound("at most", 4),
            Beside("a peer", Samples((8.0,), "s")),
        ),
        Measured("rows", Samples((100.0,), "rows/s"), Bound("at least", 500)),
        Measured("new versions", Samples((0.0,), ""), Bound("at most", 0)),
        Measured("told only", Samples((12.34,), "MB")),
    ),
    notes=("It was quiet.",),
)


@pytest.fixture
def page() -> str:
    return render([FIGURE], ("a machine of two cores",), date(2026, 1, 31), "python -m benchmarks start")


def test_each_line_tells_its_spread_its_bound_and_its_peer(page):
    assert "| a start | 2.00 s (1.00–4.00) | at most 4.00 s | ✅ 50% | a peer: 8.00 s | 0.25× |" in page
    assert "| rows | 100.0 rows/s | at least 500.0 rows/s | ❌ 20% |  |  |" in page
    assert "| new versions | 0 | at most 0 | ✅ |  |  |" in page
    assert "| told only | 12.3 MB |  |  |  |  |" in page


def test_the_page_says_what_made_it_when_where_and_how_many_bounds_are_kept(page):
    assert "Made by `python -m benchmarks start` on 2026-01-31" in page
    assert "- a machine of two cores" in page
    assert "**2 of 3 bounds are kept.**" in page
    assert "Timed from outside. Alone: `python -m benchmarks start`." in page
    assert page.endswith("- It was quiet.\n")


@pytest.mark.parametrize(
    ("value", "unit", "told"),
    [
        (612_345.6, "rows/s", "612,346 rows/s"),
        (0.1184, "s", "0.118 s"),
        (15.84, "", "15.8"),
        (8, "s", "8.00 s"),
    ],
)
def test_a_quantity_has_about_three_digits(value, unit, told):
    assert quantity(value, unit) == told
