"""TrendRegressor: a model of yesterday that is right about tomorrow."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression

from lifecycle.training.trend import ObliqueAxes, TrendRegressor

SLOPE = 0.02  # a day


def market(days: np.ndarray, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Sales whose price rises steadily, with more in summer, and one token price in fifty."""
    random = np.random.default_rng(seed)
    area = random.gamma(9, 10, len(days))
    wave = 3 * np.sin(2 * np.pi * days / 365.25)
    price = area + SLOPE * days + wave + random.normal(size=len(days))
    price[random.random(len(days)) < 0.02] = 0.0
    return pd.DataFrame({"day": days, "area": area}).astype(np.float32), price


@pytest.fixture(scope="module")
def sold():
    return market(np.sort(np.random.default_rng(1).integers(0, 1500, 4000)))


def boosted() -> HistGradientBoostingRegressor:
    return HistGradientBoostingRegressor(loss="absolute_error", max_iter=60, random_state=0)


def test_it_extrapolates_where_trees_stand_still(sold):
    later, price = market(np.random.default_rng(2).integers(1700, 1900, 1000), seed=3)
    trees = boosted().fit(*sold)
    trend = TrendRegressor(boosted(), time="day", periods=(365.25,), random_state=0).fit(*sold)

    assert np.median(price - trees.predict(later)) > 2
    assert abs(np.median(price - trend.predict(later))) < 0.7
    assert trend.slope_ == pytest.approx(SLOPE, rel=0.1)


def test_weights_reach_trend_and_regressor(sold):
    """Rows before day 750 rise at another rate; with no weight they do not count."""
    frame, price = sold
    days = frame["day"].to_numpy()
    bent = price + np.where(days < 750, -0.1 * (750 - days), 0)
    model = TrendRegressor(LinearRegression(), time="day", periods=(365.25,), random_state=0)
    everything = clone(model).fit(frame, bent)
    recent = clone(model).fit(frame, bent, sample_weight=np.where(days < 750, 1e-6, 1.0))
    assert everything.slope_ > 1.5 * SLOPE
    assert recent.slope_ == pytest.approx(SLOPE, rel=0.1)


def test_the_regressor_never_sees_the_time(sold):
    model = TrendRegressor(LinearRegression(), time="day", random_state=0).fit(*sold)
    assert list(model.regressor_.feature_names_in_) == ["area"]
    assert list(model.feature_names_in_) == ["day", "area"]


def test_the_same_seed_gives_the_same_model(sold):
    models = [TrendRegressor(LinearRegression(), time="day", random_state=i).fit(*sold) for i in (1, 1, 2)]
    assert models[0].slope_ == models[1].slope_ != models[2].slope_


@pytest.mark.parametrize(
    ("options", "frame", "message"),
    [
        ({"time": "month"}, {"day": [1.0, 2.0]}, "no time column 'month', only"),
        (
            {"time": "day"},
            {"day": [8.0, 8.0], "area": [1.0, 2.0]},
            "rows at two times; all have the same day",
        ),
        ({"time": "day", "periods": (0.0,)}, {"day": [1.0, 2.0], "area": [1.0, 2.0]}, "must be positive"),
    ],
)
def test_what_it_cannot_fit(options, frame, message):
    with pytest.raises(ValueError, match=message):
        TrendRegressor(LinearRegression(), **options).fit(pd.DataFrame(frame), [1.0, 2.0])


def test_it_does_not_predict_before_it_is_fitted(sold):
    with pytest.raises(NotFittedError):
        TrendRegressor(LinearRegression(), time="day").predict(sold[0])


def test_axes_are_exact_in_float32():
    """The sum of exact products is rounded once, so no runtime can come out differently."""
    points = np.random.default_rng(0).uniform(4e5, 6e5, (1000, 2)).astype(np.float32)
    axes = ObliqueAxes().fit(points)
    exact = points.astype(np.float64) @ np.array(axes.directions, dtype=np.float64).T
    assert np.array_equal(axes.transform(points), exact.astype(np.float32))
    assert axes.get_feature_names_out().tolist() == [f"axis{i}" for i in range(8)]


@pytest.mark.parametrize(
    ("directions", "points", "message"),
    [([(1, 3)], [[1.0, 2.0]], "powers of two"), ([(1, 1)], [[1.0, 2.0, 3.0]], "two coordinates, got 3")],
)
def test_axes_refuse_what_is_not_exact(directions, points, message):
    with pytest.raises(ValueError, match=message):
        ObliqueAxes(directions).fit(points)
