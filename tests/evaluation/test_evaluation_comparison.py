"""The paired bootstrap, and the rule that turns its interval into a verdict."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from lifecycle.core.errors import IntegrityError, StateError
from lifecycle.core.params import EvaluationParams
from lifecycle.core.rows import Rows
from lifecycle.core.values import Comparison, Verdict
from lifecycle.evaluation import comparison as comparing
from lifecycle.evaluation.comparison import (
    Scored,
    block_name,
    compare,
    compare_baselines,
    compare_releases,
    decide,
    difference_in_loss,
)
from lifecycle.evaluation.reliability import assess

PARAMS = EvaluationParams(resamples=400)


def versus(label: np.ndarray, candidate: np.ndarray, other: np.ndarray, **given: object) -> Comparison:
    settings = {"against": "other", "rows_digest": "r", "params": PARAMS, "seed": 1, **given}
    return compare("mae", label, candidate, other, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("low", "high", "rows", "verdict"),
    [
        (-3.0, -0.1, 100, Verdict.BETTER),
        (-3.0, 0.0, 100, Verdict.NOT_WORSE),
        (-3.0, 1.0, 100, Verdict.NOT_WORSE),
        (0.2, 0.9, 100, Verdict.NOT_WORSE),
        (0.2, 1.1, 100, Verdict.WORSE),
        (2.0, 3.0, 100, Verdict.WORSE),
        (-0.1, 1.1, 100, Verdict.INCONCLUSIVE),
        (-3.0, -0.1, 29, Verdict.INCONCLUSIVE),
        (math.nan, math.nan, 100, Verdict.INCONCLUSIVE),
        (-math.inf, -1.0, 100, Verdict.INCONCLUSIVE),
    ],
)
def test_the_rule(low: float, high: float, rows: int, verdict: Verdict) -> None:
    assert decide((low + high) / 2, low, high, margin=1.0, rows=rows) is verdict


def test_a_clear_improvement_is_better() -> None:
    rng = np.random.default_rng(0)
    label = rng.lognormal(11, 0.5, 500)
    candidate, other = label * rng.lognormal(0, 0.1, 500), label * rng.lognormal(0, 0.2, 500)
    made = versus(label, candidate, other)
    assert made.verdict is Verdict.BETTER
    assert made.low < made.difference < made.high < 0
    assert made.difference == pytest.approx(made.candidate - made.other)
    assert made.margin == pytest.approx(0.02 * made.other)
    assert versus(label, other, candidate).verdict is Verdict.WORSE


def test_the_same_answers_are_not_worse_even_without_a_margin() -> None:
    label, answers = np.arange(1.0, 101), np.arange(2.0, 102)
    made = versus(label, answers, answers, params=EvaluationParams(resamples=200, margin=0))
    assert (made.low, made.high, made.verdict) == (0, 0, Verdict.NOT_WORSE)


def test_one_seed_gives_one_answer_however_the_work_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    label, candidate, other = rng.normal(size=(3, 200))
    made = versus(label, candidate, other)
    assert versus(label, candidate, other) == made
    assert versus(label, candidate, other, seed=2).low != made.low
    monkeypatch.setattr(comparing, "_CELLS", 1)
    again = versus(label, candidate, other)
    assert (again.low, again.high) == (pytest.approx(made.low), pytest.approx(made.high))


def test_the_interval_agrees_with_resampling_by_hand() -> None:
    rng = np.random.default_rng(3)
    label, candidate, other = rng.lognormal(0, 1, (3, 300))
    drawn = difference_in_loss("median_ape", label, candidate, other, params=PARAMS, seed=5)
    by_hand = []
    for _ in range(400):
        rows = rng.integers(0, 300, 300)
        errors = [np.median(np.abs(p[rows] - label[rows]) / label[rows]) for p in (candidate, other)]
        by_hand.append(errors[0] - errors[1])
    assert np.mean(drawn) == pytest.approx(np.mean(by_hand), abs=0.03)
    assert np.std(drawn) == pytest.approx(np.std(by_hand), rel=0.2)


def test_weeks_are_resampled_whole_so_that_bad_weeks_are_no_evidence(rows_of: Callable[..., Rows]) -> None:
    """Two equal models, each with its own bad weeks: row by row they seem to differ far too often."""
    alarms = {"rows": 0, "weeks": 0}
    days = np.repeat(np.arange(140), 5)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        rows = rows_of(days, rng.normal(size=len(days)))
        candidate, other = (
            rows.label + rng.normal(size=len(days)) * np.exp(rng.normal(0, 0.4, 20))[days // 7]
            for _ in range(2)
        )
        for kind, moments in (("rows", None), ("weeks", rows.event_time)):
            made = versus(rows.label, candidate, other, event_time=moments)
            alarms[kind] += made.low > 0 or made.high < 0
    assert alarms["rows"] > 12
    assert alarms["weeks"] <= 8


def test_blocks_are_the_longest_that_leave_enough_of_them(rows_of: Callable[..., Rows]) -> None:
    def name(days: np.ndarray) -> str:
        rows = rows_of(days, np.ones(len(days)))
        return block_name(rows.event_time, len(rows))

    assert name(np.arange(150)) == "22 whole weeks"
    assert name(np.arange(60) / 2) == "30 whole days"
    assert name(np.arange(40) / 40) == "40 single rows"


def test_too_few_rows_and_undefined_metrics_say_nothing() -> None:
    label = np.arange(1.0, 30.0)
    assert versus(label, label, label * 2).verdict is Verdict.INCONCLUSIVE
    answers = np.linspace(0, 1, 50)
    made = compare(
        "auc", np.zeros(50), answers, answers / 2, against="x", rows_digest="r", params=PARAMS, seed=1
    )
    assert made.verdict is Verdict.INCONCLUSIVE
    assert math.isnan(made.difference)


def test_rare_labels_that_some_resamples_miss_say_nothing() -> None:
    label = np.zeros(60)
    label[:2] = 1
    answers = np.linspace(0, 1, 60)
    made = compare("auc", label, 1 - answers, answers, against="x", rows_digest="r", params=PARAMS, seed=1)
    assert made.verdict is Verdict.INCONCLUSIVE
    assert math.isnan(made.low)


def test_a_release_is_not_compared_with_itself_nor_on_other_rows() -> None:
    label = np.arange(1.0, 101)
    mine, same = Scored("a" * 64, "r" * 64, label), Scored("a" * 64, "r" * 64, label)
    with pytest.raises(StateError, match="aaaaaaaaaaaa was compared with itself"):
        compare_releases("mae", label, mine, same, params=PARAMS, seed=1)
    elsewhere = Scored("b" * 64, "s" * 64, label)
    with pytest.raises(
        IntegrityError, match="answered different rows: digest rrrrrrrrrrrr against ssssssssssss"
    ):
        compare_releases("mae", label, mine, elsewhere, params=PARAMS, seed=1)
    made = compare_releases("mae", label, mine, Scored("b" * 64, "r" * 64, label + 1), params=PARAMS, seed=1)
    assert (made.against, made.rows_digest, made.verdict) == ("b" * 64, "r" * 64, Verdict.BETTER)


def test_every_baseline_is_compared() -> None:
    label = np.arange(1.0, 101)
    made = compare_baselines(
        "mae",
        label,
        label,
        {"constant": label * 0 + 50, "last known value": label - 1},
        rows_digest="r",
        params=PARAMS,
        seed=1,
    )
    assert [one.against for one in made] == ["constant", "last known value"]


def test_memory_does_not_grow_with_resamples(rows_of: Callable[..., Rows]) -> None:
    rng = np.random.default_rng(0)
    rows = rows_of(np.sort(rng.uniform(0, 150, 100_000)), rng.lognormal(11, 0.5, 100_000))
    candidate, other = rows.label * rng.lognormal(0, 0.2, (2, 100_000))
    tracemalloc.start()
    try:
        versus(
            rows.label, candidate, other, params=EvaluationParams(resamples=200), event_time=rows.event_time
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 30e6


def test_a_comparison_of_undefined_values_survives_json() -> None:
    label = np.zeros(50)
    made = compare("auc", label, label, label, against="x", rows_digest="r", params=PARAMS, seed=1)
    again = Comparison.model_validate_json(made.model_dump_json())
    assert math.isnan(again.low)
    assert again.verdict is Verdict.INCONCLUSIVE


def test_reliability_repeats_the_question(rows_of: Callable[..., Rows]) -> None:
    rng = np.random.default_rng(0)
    rows = rows_of(np.repeat(np.arange(150), 4), rng.lognormal(11, 0.5, 600))
    candidate, other = rows.label * rng.lognormal(0, 0.1, 600), rows.label * rng.lognormal(0, 0.2, 600)
    made = versus(rows.label, candidate, other, event_time=rows.event_time)
    found = assess(made, rows, candidate, other, params=PARAMS, seed=1)
    assert found.better == 1
    assert found.resampled == "22 whole weeks"
    assert found.repeats[0].comparison is made
    assert [repeat.comparison.rows for repeat in found.repeats[1:4]] == [450, 300, 150]
    assert found.agreeing == 5
    assert not found.opposed
