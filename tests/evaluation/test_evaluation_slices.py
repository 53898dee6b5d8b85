"""Groups of rows: slices, months, deciles and calibration bins."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lifecycle.core.errors import ConfigError
from lifecycle.core.record import RecordSchema
from lifecycle.core.rows import Rows
from lifecycle.evaluation.metrics import compute
from lifecycle.evaluation.monthly import by_month, stretches
from lifecycle.evaluation.residuals import (
    by_decile,
    calibration,
    central_offset,
    offsets,
    scale_of,
    within,
)
from lifecycle.evaluation.slices import MISSING, by_slice
from systems.house_prices import SYSTEM


def test_slices_of_real_sales_add_up(houses: Rows) -> None:
    test = houses.take(slice(-2000, None))
    answers = test.label * 1.1
    found = by_slice("regression", SYSTEM.schema, ("wall", "garage"), test, answers, threshold=0.5)
    assert sum(one.rows for one in found if one.feature == "wall") == len(test)
    garages = [one for one in found if one.feature == "garage"]
    assert [one.rows for one in garages] == sorted((one.rows for one in garages), reverse=True)
    assert all(one.metrics["bias"] == pytest.approx(1.1) for one in found)
    assert [one.too_few for one in garages] == [one.rows < 30 for one in garages]


def test_a_missing_category_is_a_slice_of_its_own(rows_of: Callable[..., Rows]) -> None:
    schema = RecordSchema(name="Wall", fields=(SYSTEM.schema["wall"],))
    rows = rows_of(np.arange(3), np.ones(3), np.array(["brick", "", ""], dtype=object))
    found = by_slice("regression", schema, ("wall",), rows, np.ones(3), threshold=0.5)
    assert [(one.value, one.rows) for one in found] == [(MISSING, 2), ("brick", 1)]


def test_slicing_by_what_is_no_category_is_refused(houses: Rows) -> None:
    with pytest.raises(
        ConfigError, match="cannot slice by 'walls': not a category feature; did you mean 'wall'"
    ):
        by_slice("regression", SYSTEM.schema, ("walls",), houses, houses.label, threshold=0.5)


def test_months_of_real_sales_add_up(houses: Rows) -> None:
    found = by_month("regression", houses, houses.label * 0.9, threshold=0.5)
    assert found[0].month == "1993-01"
    assert found[-1].month == "1998-10"
    assert len(found) == 70
    assert sum(month.rows for month in found) == len(houses)
    first = houses.take(houses.event_time < np.datetime64("1993-02-01"))
    assert found[0].metrics == compute("regression", first.label, first.label * 0.9, threshold=0.5)


def test_weeks_begin_on_mondays_and_hold_every_row_once(houses: Rows) -> None:
    weeks = stretches("W", houses.event_time)
    assert {week.start.item().weekday() for week in weeks} == {0}
    assert sorted(np.concatenate([week.index for week in weeks]).tolist()) == list(range(len(houses)))
    assert stretches("W", houses.event_time[:0]) == ()


@pytest.mark.parametrize(
    ("task", "label", "scale", "central"),
    [
        ("regression", [100.0, 200.0], "ratio", -0.1),
        ("regression", [0.0, -100.0], "difference", 5.0),
        ("classification", [0.0, 1.0], "probability", 0.2),
    ],
)
def test_offsets_suit_the_label(task: str, label: list[float], scale: str, central: float) -> None:
    truth = np.array(label)
    answers = {"ratio": truth * 0.9, "difference": truth + 5, "probability": np.array([0.5, 0.9])}[scale]
    assert scale_of(task, truth) == scale  # type: ignore[arg-type]
    assert central_offset(scale, truth, answers) == pytest.approx(central)  # type: ignore[arg-type]


def test_deciles_and_distances() -> None:
    label = np.arange(1.0, 101)
    answers = label * np.where(np.arange(100) < 50, 0.9, 1.2)
    bins = by_decile("ratio", label, answers, order_by=label)
    assert [one.rows for one in bins] == [10] * 10
    assert (bins[0].middle, bins[-1].middle) == (pytest.approx(-0.1), pytest.approx(0.2))
    shares = within("ratio", label, answers, np.array([0.05, 0.15, 0.25]))
    assert shares.tolist() == [0, 0.5, 1]
    assert offsets("difference", label, answers)[0] == pytest.approx(-0.1)


def test_calibration_bins_hold_the_truth_of_a_calibrated_model() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(5000)
    label = (rng.random(5000) < probability).astype(float)
    bins = calibration(label, probability)
    assert [one.rows for one in bins] == [500] * 10
    assert sum(one.low <= one.prediction <= one.high for one in bins) >= 9
    assert calibration(label, np.full(5000, 0.5))[0].rows == 5000
