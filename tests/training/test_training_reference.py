"""The drift reference: counts that add up, and no value that points at one record."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lifecycle.core.reference import ReferenceProfile
from lifecycle.core.rows import Tensors
from lifecycle.training.reference import profile, profile_number
from tests.training.training_cases import Gaps, House, make_rows, system_of


def test_the_profile_of_rows_with_gaps():
    rows = make_rows(Gaps)
    found = profile(system_of(Gaps, "regression", lambda _: None), rows)

    assert (found.format, found.system, found.rows) == (1, "test-system", len(rows))
    assert list(found.numbers) == ["area", "floors", "garden", "renovated_on"]
    for number in found.numbers.values():
        assert sum(number.counts) + number.missing == len(rows)
        assert len(number.counts) == len(number.edges) + 1
        assert number.missing > 0
    wall = found.categories["wall"]
    assert set(wall.counts) == {"brick", "wood stone", "plastic"}
    assert sum(wall.counts.values()) + wall.other + wall.missing == len(rows)
    assert sum(found.label.counts) == len(rows)
    assert ReferenceProfile.model_validate_json(found.model_dump_json()) == found


def test_drift_of_the_event_time_is_not_watched():
    found = profile(system_of(House, "regression", lambda _: None), make_rows(House))
    assert {name for name, number in found.numbers.items() if not number.watched} == {"sold_on"}


def test_a_rare_word_is_counted_and_not_named():
    rows = make_rows(House)
    categories = rows.tensors.categories.copy()
    categories[:3, 1] = "Mr Smith's house"
    categories[3:600, 1] = [f"street {i % 250}" for i in range(597)]
    rows = replace(rows, tensors=Tensors(rows.tensors.numbers, categories))
    found = profile(system_of(House, "regression", lambda _: None), rows)
    assert found.categories["district"].counts == {}
    assert found.categories["district"].other == len(rows)
    assert "Smith" not in found.model_dump_json()


def test_at_most_a_hundred_words_are_listed():
    rows = make_rows(House, count=3000)
    categories = rows.tensors.categories.copy()
    categories[:, 1] = [f"street {i % 150:03}" for i in range(3000)]
    found = profile(
        system_of(House, "regression", lambda _: None),
        replace(rows, tensors=Tensors(rows.tensors.numbers, categories)),
    )
    assert len(found.categories["district"].counts) == 100
    assert found.categories["district"].other == 50 * 20


def test_the_order_of_rows_does_not_matter():
    rows = make_rows(Gaps)
    system = system_of(Gaps, "regression", lambda _: None)
    shuffled = rows.take(np.random.default_rng(0).permutation(len(rows)))
    first, second = profile(system, rows), profile(system, shuffled)
    assert first.categories == second.categories
    assert first.numbers["area"].counts == second.numbers["area"].counts


def test_a_column_without_values():
    found = profile_number(np.array([np.nan, np.nan]))
    assert (found.counts, found.edges, found.missing, found.mean) == ((0,), (), 2, None)


def test_bins_hold_about_as_many_rows_each():
    found = profile_number(np.random.default_rng(0).normal(size=10_000))
    assert len(found.counts) == 20
    assert max(found.counts) < 600
    assert min(found.counts) > 400


def test_bounds_are_rounded():
    found = profile_number(np.array([123_456.789, 987_654.321, 500_000.5]))
    assert (found.min, found.max) == (123_500.0, 987_700.0)


numbers = st.floats(-(2.0**100), 2.0**100, width=32) | st.just(float("nan"))


@given(arrays(np.float32, st.integers(1, 60), elements=numbers))
def test_any_column_has_a_profile_that_adds_up(column):
    found = profile_number(column)
    assert sum(found.counts) + found.missing == len(column)
    assert list(found.edges) == sorted(set(found.edges))
    assert found.model_dump_json().count("NaN") == 0
