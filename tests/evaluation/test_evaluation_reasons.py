"""What is said beside an answer: which features moved it, and when it is no ground for a decision."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.params import ExplainParams
from lifecycle.core.record import FieldSpec, RecordSchema
from lifecycle.core.reference import CategoryProfile, ReferenceProfile
from lifecycle.core.rows import Tensors
from lifecycle.evaluation.abstention import abstentions, outside_reference
from lifecycle.evaluation.reasons import top_reasons, typical_row
from lifecycle.training.reference import profile_number

SCHEMA = RecordSchema(
    name="Patient",
    fields=(
        FieldSpec(name="age", kind="integer", feature=True),
        FieldSpec(name="hdl", kind="number", feature=True, optional=True),
        FieldSpec(name="fib4", kind="number", feature=True, optional=True),
        FieldSpec(name="sex", kind="text", feature=True, choices=("female", "male")),
    ),
)
SEEN = np.arange(20.0, 91.0)
RARE = np.where(np.arange(71) < 10, 3.0, np.nan)


PROFILE = ReferenceProfile(
    system="patients",
    record_schema=SCHEMA.digest,
    rows=71,
    numbers={
        "age": profile_number(SEEN),
        "hdl": profile_number(np.append(SEEN, np.nan)),
        "fib4": profile_number(RARE),
    },
    categories={"sex": CategoryProfile(counts={"female": 40, "male": 31}, other=0, missing=0)},
    label=profile_number(SEEN),
)


def rows(*records: tuple[float, float, float, str]) -> Tensors:
    return Tensors(
        np.array([record[:3] for record in records], dtype=np.float32),
        np.array([[record[3]] for record in records], dtype=object),
    )


def risk(tensors: Tensors) -> np.ndarray:
    """A known model: age counts 0.01 a year, fib4 0.1 where it is known, men 0.05 more; hdl nothing."""
    fib4 = np.nan_to_num(tensors.numbers[:, 2].astype(np.float64)) * 0.1
    men = (tensors.categories[:, 0] == "male") * 0.05
    return np.asarray(tensors.numbers[:, 0] * 0.01 + fib4 + men, dtype=np.float64)


def reasons(tensors: Tensors, count: int = 3):
    return top_reasons(SCHEMA, PROFILE, tensors, risk(tensors), risk, count)


def test_what_most_rows_have_is_typical_even_if_it_is_nothing():
    usual = typical_row(SCHEMA, PROFILE)
    assert usual.numbers[0].tolist() == pytest.approx([55, 55, np.nan], abs=4, nan_ok=True)
    assert usual.categories.tolist() == [["female"]]


def test_a_field_that_no_row_had_and_words_mostly_missing_are_typically_missing():
    empty = profile_number(np.array([np.nan, np.nan]))
    words = CategoryProfile(counts={"male": 1}, other=0, missing=9)
    bare = PROFILE.model_copy(
        update={"numbers": PROFILE.numbers | {"hdl": empty}, "categories": {"sex": words}}
    )
    usual = typical_row(SCHEMA, bare)
    assert np.isnan(usual.numbers[0, 1])
    assert usual.categories.tolist() == [[""]]


def test_the_features_that_move_an_answer_most_come_first_with_their_effect():
    found = reasons(rows((85, 40, 5.0, "male")))
    assert found.features.tolist() == [["fib4", "age", "sex"]]
    assert found.effects[0].tolist() == pytest.approx([0.5, 0.30, 0.05], abs=0.04)


def test_a_younger_patient_is_told_that_age_lowers_the_risk():
    found = reasons(rows((25, 40, np.nan, "female")))
    assert found.features.tolist() == [["age", None, None]]
    assert found.effects[0, 0] < -0.2
    assert np.isnan(found.effects[0, 1:]).all()


def test_a_typical_row_has_no_reasons_and_costs_no_answer():
    asked: list[int] = []

    def counting(tensors: Tensors) -> np.ndarray:
        asked.append(len(tensors))
        return risk(tensors)

    usual = typical_row(SCHEMA, PROFILE)
    found = top_reasons(SCHEMA, PROFILE, usual, risk(usual), counting, 2)
    assert found.features.tolist() == [[None, None]]
    assert asked == []


def test_more_reasons_than_features_are_filled_with_none_and_none_are_told_if_none_are_asked():
    assert reasons(rows((85, 40, 5.0, "male")), 6).features.shape == (1, 6)
    assert reasons(rows((85, 40, 5.0, "male")), 0).features.shape == (1, 0)


def test_an_answer_that_is_not_finite_has_no_reasons():
    tensors = rows((85, 40, 5.0, "male"))
    found = top_reasons(SCHEMA, PROFILE, tensors, np.array([np.nan]), risk, 2)
    assert found.features.tolist() == [[None, None]]


def test_two_answers_beyond_float32_have_no_difference_and_no_warning():
    endless = np.array([np.inf])
    found = top_reasons(
        SCHEMA, PROFILE, rows((30, 50, 3, "male")), endless, lambda it: np.full(len(it), np.inf), 1
    )
    assert found.features.tolist() == [[None]]


@given(st.lists(st.tuples(st.integers(0, 120), st.integers(0, 200), st.sampled_from("female male".split()))))
def test_rows_are_explained_alone_or_together_alike_and_left_as_they_are(people):
    tensors = rows(*[(age, hdl, np.nan, sex) for age, hdl, sex in people] or [(1, 1, 1, "male")])
    before = tensors.numbers.copy(), tensors.categories.copy()
    together = reasons(tensors)
    assert np.array_equal(before[0], tensors.numbers, equal_nan=True)
    assert np.array_equal(before[1], tensors.categories)
    for i in range(len(tensors)):
        alone = reasons(tensors.take(slice(i, i + 1)))
        assert alone.features[0].tolist() == together.features[i].tolist()
        assert np.array_equal(alone.effects[0], together.effects[i], equal_nan=True)


def why(tensors: Tensors, answers: list[float], threshold: float | None = 0.2, **asked: object):
    params = ExplainParams.model_validate(asked)
    return abstentions(SCHEMA, PROFILE, params, tensors, np.array(answers), threshold).tolist()


WITHIN = (50.0, 50.0, np.nan, "male")


def test_a_risk_beside_the_threshold_gets_no_decision():
    found = why(rows(WITHIN, WITHIN, WITHIN), [0.19, 0.23, 0.1], doubt=0.02)
    assert found == ["within 0.02 of the threshold 0.2", None, None]


def test_a_regression_has_no_threshold_to_be_near():
    assert why(rows(WITHIN), [0.2], threshold=None, doubt=0.02) == [None]


def test_what_training_never_saw_is_named_without_its_value():
    [found] = why(rows((113, 50, np.nan, "other")), [0.9], doubt=0.02, max_outside=0)
    assert found == "training saw nothing like it in age, sex"


def test_so_many_fields_outside_are_borne_as_was_asked():
    assert why(rows((113, 50, np.nan, "male")), [0.9], max_outside=1) == [None]


def test_missing_is_outside_only_where_training_missed_nothing():
    found = outside_reference(SCHEMA, PROFILE, rows((np.nan, np.nan, np.nan, "")))
    assert found.tolist() == [[True, False, False, True]]


def test_the_very_ends_of_what_was_seen_are_inside_though_the_profile_rounds_them():
    ends = profile_number(np.array([0.123456, 7.654321]))
    profile = PROFILE.model_copy(update={"numbers": PROFILE.numbers | {"hdl": ends}})
    tensors = rows((50, 0.123456, np.nan, "male"), (50, 7.654321, np.nan, "male"))
    assert not outside_reference(SCHEMA, profile, tensors).any()


def test_time_moves_on_and_a_rare_word_may_be_one_that_was_not_listed():
    late = profile_number(SEEN, watched=False)
    words = CategoryProfile(counts={"female": 40}, other=3, missing=0)
    profile = PROFILE.model_copy(
        update={"numbers": PROFILE.numbers | {"age": late}, "categories": {"sex": words}}
    )
    assert not outside_reference(SCHEMA, profile, rows((999, 50, np.nan, "other"))).any()


def test_a_value_where_training_saw_none_is_outside():
    profile = PROFILE.model_copy(
        update={"numbers": PROFILE.numbers | {"fib4": profile_number(np.array([np.nan]))}}
    )
    assert outside_reference(SCHEMA, profile, rows((50, 50, 3, "male"))).tolist() == [
        [False, False, True, False]
    ]


@pytest.fixture
def sealed() -> ReferenceProfile:
    """What a release of sealed records says: no smallest and no greatest value, which are somebody's own."""
    flag = np.append(np.zeros(70), 1.0)
    numbers = {"age": SEEN, "hdl": flag, "fib4": RARE}
    told = {name: profile_number(values, extremes=False) for name, values in numbers.items()}
    return PROFILE.model_copy(update={"numbers": told})


def test_sealed_records_have_typical_values_too(sealed):
    usual = typical_row(SCHEMA, sealed)
    assert usual.numbers[0].tolist() == pytest.approx([55, 0, np.nan], abs=4, nan_ok=True)


def test_of_sealed_records_only_what_lies_far_outside_the_bulk_is_outside(sealed):
    tensors = rows((20, 0, 3, "male"), (90, 1, 3, "male"), (200, 1, 3, "male"), (-80, 0, 3, "male"))
    assert outside_reference(SCHEMA, sealed, tensors)[:, 0].tolist() == [False, False, True, True]


def test_a_rare_flag_of_sealed_records_is_not_outside(sealed):
    assert not outside_reference(SCHEMA, sealed, rows((50, 1, 3, "male"))).any()
