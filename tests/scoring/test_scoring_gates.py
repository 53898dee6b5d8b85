"""A batch that looks wrong is held: nothing of it is published, and its parts wait for a person."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.params import BatchParams
from lifecycle.core.reference import NumberProfile
from lifecycle.core.scoring import ScoreCounts
from lifecycle.evaluation.bands import MANY, spread
from lifecycle.evaluation.batch_gates import chance, judge_batch, stability
from lifecycle.training.reference import profile_number
from tests.scoring.conftest import HOUSES, ROWS, World

SHIFTED = HOUSES.with_columns(area=pl.col("area") * 3 + 5000)


def verdicts(result) -> dict[str, str]:
    return {gate.name: gate.verdict for gate in result.gates}


def test_a_good_batch_keeps_every_check(world):
    assert set(verdicts(world.score()).values()) == {"kept"}


def test_a_shifted_batch_is_held_and_its_parts_wait(world):
    SHIFTED.write_parquet(world.root / "homes.parquet")
    held = world.score()
    assert held.status == "held"
    assert held.reason.startswith("shift of the scores")
    assert held.folder == str(world.work)
    assert not world.out.exists()
    waiting = pl.concat(pl.read_parquet(path) for path in sorted(world.work.glob("part-*.parquet")))
    assert waiting.height == ROWS

    accepted = world.score(accept="the new quarter was built last year")
    assert accepted.status == "published"
    assert world.engine.rows == 0, "what waited is published as it is"
    assert world.manifest().accepted == "the new quarter was built last year"
    assert verdicts(world.manifest())["shift of the scores"] == "broken"
    assert world.rows().equals(waiting)


def test_a_bound_that_was_raised_lets_the_waiting_parts_through(world):
    HOUSES.with_columns(beds=pl.when(pl.int_range(pl.len()) < 100).then(99).otherwise("beds")).write_parquet(
        world.root / "homes.parquet"
    )
    world.batch["max_shift"] = 99.0
    held = world.score(max_bad_share=0.3)
    assert verdicts(held)["quarantined share"] == "broken"
    assert world.score(max_bad_share=0.4).status == "published"
    assert len(world.refused()) == 100


def test_rows_without_a_finite_answer_are_null_and_counted(world):
    # float32 holds each number, and their sum is beyond it
    far = HOUSES.with_columns(
        depth=pl.when(pl.col("home_id") == "h9").then(3.402823466e38).otherwise("depth")
    )
    far.write_parquet(world.root / "homes.parquet")
    world.release("2", constant=3.4e38)
    world.batch["max_shift"] = 99.0
    held = world.score(version="2")
    assert (held.status, held.counts.unanswered) == ("held", 1)
    assert verdicts(held)["unanswered share"] == "broken"
    world.batch["max_null_share"] = 0.01
    assert world.score(version="2").status == "published"
    assert world.rows().filter(pl.col("prediction").is_null())["record_id"].to_list() == ["h9"]


def test_too_few_rows_are_inconclusive_and_a_system_may_hold_them(world):
    HOUSES.head(20).write_parquet(world.root / "homes.parquet")
    result = world.score()
    assert result.status == "published"
    assert verdicts(result)["shift of the scores"] == "inconclusive"
    assert any("shift of the scores is inconclusive" in warning for warning in result.warnings)
    world.batch["on_inconclusive"] = "hold"
    assert world.score(output="again").status == "held"


def test_a_release_without_a_reference_of_its_answers_is_inconclusive(world: World):
    world.release("2", profiled=False)
    assert verdicts(world.score())["shift of the scores"] == "inconclusive"


def judged(**changes) -> dict[str, str]:
    facts = {"read": 10, "promised": 10, "written": 9, "scored": 9, "quarantined": 1} | changes
    counts = ScoreCounts(read=facts["read"], scored=facts["scored"], quarantined=facts["quarantined"])
    gates = judge_batch(counts, facts["promised"], facts["written"], [], None, BatchParams(max_bad_share=1.0))
    return {gate.name: gate.verdict for gate in gates}


def test_a_row_that_is_lost_or_doubled_anywhere_is_found():
    assert judged()["rows"] == "kept"
    for fault in ({"promised": 11}, {"written": 8}, {"scored": 8}, {"quarantined": 2}, {"read": 12}):
        assert judged(**fault)["rows"] == "broken", fault


@given(st.integers(0, 2**32 - 1), st.integers(2_000, 5_000), st.sampled_from([0.0, 3.0]))
def test_chance_is_no_shift_and_a_shift_is_no_chance(seed, rows, shift):
    random = np.random.default_rng(seed)
    reference: NumberProfile = profile_number(random.normal(size=3_000))
    bins = reference.counted(random.normal(shift, size=rows)).tolist()
    assert (stability(reference.counts, bins) > 3 * chance(reference.counts, bins)) == bool(shift)


@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), min_size=1, max_size=20),
    st.integers(1, 30),
)
def test_bands_hold_every_answer_and_none_holds_few(bins, least):
    counts, known = ([pair[i] for pair in bins] for i in range(2))
    profile = NumberProfile(
        edges=tuple(float(i) for i in range(1, len(bins))),
        counts=tuple(known),
        missing=0,
        mean=None,
        std=None,
        min=None,
        max=None,
    )
    bands = spread(profile, counts, least)
    if min(sum(counts), sum(known)) < least:
        assert bands == ()
        return
    assert sum(band.rows for band in bands) == sum(counts)
    assert min(band.rows for band in bands) >= least
    assert len(bands) <= MANY + 1
    assert abs(sum(band.expected for band in bands) - 1) < 1e-2
    assert [band.high for band in bands[:-1]] == [band.low for band in bands[1:]]
    assert bands[0].low is bands[-1].high is None
