"""What every ledger does: the simulator, SQLite and PostgreSQL tell one story."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest

from lifecycle.core.errors import StateError
from lifecycle.core.values import Deployment
from tests.rollout.conftest import START, decision, digest

SYSTEM = "house-prices"


def test_nothing_is_live_before_the_first_deployment(ledger):
    assert ledger.live(SYSTEM) is None
    assert ledger.history(SYSTEM) == ()


def test_the_first_deployment_goes_live_as_it_was_written(ledger, write):
    written = write("first-deployment", "a")

    assert ledger.live(SYSTEM) == written
    assert written.id > 0
    assert written == decision("first-deployment", "a").model_copy(update={"id": written.id})


def test_a_promotion_switches_and_says_what_was_live_before(ledger, write):
    write("first-deployment", "a")

    promoted = write("promote", "b")

    assert ledger.live(SYSTEM) == promoted
    assert promoted.previous == digest("a")


def test_a_held_candidate_is_in_the_history_and_not_live(ledger, write):
    first = write("first-deployment", "a")

    held = write("hold", "b")

    assert ledger.live(SYSTEM) == first
    assert held.previous == digest("a")
    assert ledger.history(SYSTEM) == (first, held)


def test_a_candidate_can_be_held_before_anything_is_live(ledger, write):
    write("hold", "a")

    assert ledger.live(SYSTEM) is None
    assert write("first-deployment", "b").previous is None


def test_rollbacks_go_back_through_what_was_live(ledger, write):
    for kind, letter in [("first-deployment", "a"), ("promote", "b"), ("hold", "c"), ("promote", "d")]:
        write(kind, letter)

    assert write("rollback", "b").previous == digest("d")
    assert write("rollback", "a").previous == digest("b")
    with pytest.raises(StateError, match="nothing was live before it"):
        write("rollback", "b")
    assert ledger.live(SYSTEM).release.digest == digest("a")


@pytest.mark.parametrize(
    ("kind", "letter", "advice"),
    [
        ("first-deployment", "c", "run `lifecycle update house-prices`"),
        ("promote", "b", "there is nothing to do"),
        ("rollback", "c", "lifecycle rollback house-prices"),
    ],
)
def test_a_decision_that_makes_no_sense_is_refused_and_leaves_no_trace(ledger, write, kind, letter, advice):
    write("first-deployment", "a")
    write("promote", "b")
    before = ledger.history(SYSTEM)

    with pytest.raises(StateError) as refused:
        write(kind, letter)

    assert advice in refused.value.hint
    assert ledger.history(SYSTEM) == before
    assert ledger.live(SYSTEM) == before[-1]


@pytest.mark.parametrize("kind", ["promote", "rollback"])
def test_before_the_first_deployment_only_that_can_switch(ledger, write, kind):
    with pytest.raises(StateError, match=r"no champion yet\n.*lifecycle first-deployment house-prices"):
        write(kind, "a")


@pytest.mark.parametrize("kind", ["promote", "hold", "rollback"])
def test_a_flow_that_looked_too_early_is_refused_and_told_what_is_live(ledger, write, kind):
    first = write("first-deployment", "a")
    second = write("promote", "b")

    with pytest.raises(StateError) as refused:
        ledger.record(decision(kind, "c"), expected=first.id)

    assert f"release {digest('b')[:12]} (version b) is live (deployment {second.id})" in refused.value.message
    assert "lifecycle history house-prices" in refused.value.hint
    assert ledger.live(SYSTEM) == second


def test_a_flow_that_expects_a_champion_where_there_is_none_is_refused(ledger):
    with pytest.raises(StateError, match="nothing is live, but deployment 3 was expected"):
        ledger.record(decision("promote", "a"), expected=3)


def test_of_many_flows_at_once_exactly_one_switches(ledger, write):
    first = write("first-deployment", "a")

    def promote(letter: str) -> Deployment | None:
        try:
            return ledger.record(decision("promote", letter), expected=first.id)
        except StateError:
            return None

    with ThreadPoolExecutor(6) as pool:
        won = [row for row in pool.map(promote, "bcdefg") if row]

    assert len(won) == 1
    assert ledger.live(SYSTEM) == won[0]
    assert ledger.history(SYSTEM) == (first, won[0])


def test_history_goes_up_to_a_moment_and_includes_it(ledger, write):
    rows = [write("first-deployment", "a", day=0), write("promote", "b", day=1), write("promote", "c", day=2)]

    assert ledger.history(SYSTEM, START + timedelta(days=1)) == tuple(rows[:2])
    assert ledger.history(SYSTEM, START + timedelta(days=1, microseconds=-1)) == tuple(rows[:1])
    assert ledger.live_at(SYSTEM, START + timedelta(hours=30)) == rows[1]
    assert ledger.live_at(SYSTEM, START - timedelta(days=1)) is None


def test_systems_do_not_see_each_other(ledger, write):
    assert ledger.live_all() == ()
    ours = write("first-deployment", "a")
    theirs = write("first-deployment", "b", system="card-fraud")
    write("hold", "c", system="movies")

    assert ledger.live(SYSTEM) == ours
    assert ledger.history("card-fraud") == (theirs,)
    assert ledger.live_all() == (theirs, ours)


def test_moments_come_back_in_utc_and_evidence_as_json(ledger):
    wanted = decision("first-deployment", "a").model_copy(
        update={
            "decided_at": datetime.fromisoformat("2024-06-01T12:00:00.000123+02:00"),
            "as_of": datetime(2024, 6, 1),
            "evidence": {"metrics": {"mae": 1.5, "bias": float("nan")}, "rows": (1, 2), "reason": "naïve ✓"},
        }
    )

    ledger.record(wanted, expected=None)

    row = ledger.live(SYSTEM)
    assert row.decided_at.isoformat() == "2024-06-01T10:00:00.000123+00:00"
    assert row.as_of.isoformat() == "2024-06-01T00:00:00+00:00"
    assert row.evidence == {"metrics": {"mae": 1.5, "bias": "NaN"}, "rows": [1, 2], "reason": "naïve ✓"}
