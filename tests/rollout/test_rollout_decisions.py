"""What an evaluation leads to, and that replaying decisions gives what is live."""

from __future__ import annotations

import tempfile

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lifecycle.core.errors import StateError
from lifecycle.core.values import Comparison, Evaluation, GateResult, Verdict
from lifecycle.rollout.decisions import Trail, decide, last_word, require, rollback_target, standing
from lifecycle.rollout.ledger import SqlLedger
from tests.rollout.conftest import append, decision, digest
from tests.simulators.ledger import LedgerSimulator

SYSTEM = "house-prices"


def comparison(against: str, verdict: Verdict = Verdict.BETTER) -> Comparison:
    return Comparison(
        against=against,
        metric="median_ape",
        candidate=0.12,
        other=0.15,
        difference=-0.03,
        low=-0.04,
        high=-0.02,
        confidence=0.95,
        margin=0.003,
        rows=3210,
        rows_digest="0" * 64,
        verdict=verdict,
    )


def evaluation(
    *, champion: str | None, against: str, gates=(("verdict", True), ("size_mb", True))
) -> Evaluation:
    return Evaluation(
        release=digest("b"),
        champion=champion,
        metrics={"median_ape": 0.12},
        comparisons=(comparison(against),),
        gates=tuple(GateResult(name=n, ok=ok, measured="60", bound="50", detail="by 10") for n, ok in gates),
    )


def test_a_better_candidate_with_every_gate_kept_is_promoted():
    found = decide(evaluation(champion=digest("a"), against=digest("a")), first=False)

    assert found.decision == "promote"
    assert found.reason == (
        "better than the champion 616161616161: median_ape 0.12 against 0.15 on 3,210 identical rows, "
        "difference -0.04 to -0.02 at 95% confidence; all 2 gates are kept"
    )


def test_a_first_deployment_is_decided_against_naive_baselines():
    found = decide(evaluation(champion=None, against="constant"), first=True)

    assert found.decision == "first-deployment"
    assert "better than naive baselines: median_ape" in found.reason


def test_a_gate_that_is_not_kept_holds_the_candidate_and_says_by_how_much():
    missed = (("verdict", True), ("size_mb", False))

    found = decide(evaluation(champion=digest("a"), against=digest("a"), gates=missed), first=False)

    assert found.decision == "hold"
    assert found.reason == "1 of 2 gates not kept: size_mb (measured 60, bound 50, by 10)"


@pytest.mark.parametrize(
    ("champion", "against", "first", "fault"),
    [
        (digest("a"), digest("a"), True, "not with naive baselines"),
        (None, "constant", False, "was not compared with a champion"),
        (digest("b"), digest("b"), False, "was compared with itself"),
        (digest("a"), digest("c"), False, "has no comparison with the champion it names"),
    ],
)
def test_an_evaluation_made_for_something_else_decides_nothing(champion, against, first, fault):
    with pytest.raises(StateError, match=fault):
        decide(evaluation(champion=champion, against=against), first=first)


def test_an_evaluation_that_judged_nothing_decides_nothing():
    found = evaluation(champion=None, against="constant")

    with pytest.raises(StateError, match="compared with nothing"):
        decide(found.model_copy(update={"comparisons": ()}), first=True)
    with pytest.raises(StateError, match="judged by no gate"):
        decide(found.model_copy(update={"gates": ()}), first=True)


def test_each_verb_says_which_one_to_run_instead():
    live = decision("first-deployment", "a")

    require("first-deployment", SYSTEM, None)
    require("update", SYSTEM, live)
    with pytest.raises(StateError, match="run `lifecycle update house-prices`"):
        require("first-deployment", SYSTEM, live)
    for verb in ("update", "rollback"):
        with pytest.raises(StateError, match="run `lifecycle first-deployment house-prices`"):
            require(verb, SYSTEM, None)


def test_the_standing_is_what_is_live_and_what_was_before():
    ledger = LedgerSimulator()
    assert standing([]) == (None, None)
    for kind, letter in [("first-deployment", "a"), ("promote", "b"), ("hold", "c"), ("rollback", "a")]:
        append(ledger, kind, letter)

    live, before = standing(ledger.history(SYSTEM))

    assert (live.id, before) == (4, None)


def test_a_release_that_was_decided_on_has_a_last_word():
    ledger = LedgerSimulator()
    for kind, letter in [("first-deployment", "a"), ("hold", "b")]:
        append(ledger, kind, letter)

    def word(letter: str, terms: str = "") -> str | None:
        return last_word(ledger.history(SYSTEM), digest(letter), terms)

    assert word("d") is None
    assert word("b") == "nothing new since version b, held on 2024-01-01: because of b"
    assert word("b", terms="other bounds") is None, "what was held under other bounds is decided on again"
    append(ledger, "promote", "c")
    assert word("c") == "nothing new since version c, which is live"
    assert word("b") is None, "what was held against another champion is decided on again"
    append(ledger, "rollback", "a")
    assert word("c") == "nothing new since version c, deployed on 2024-01-01 and rolled back since"
    assert word("a") == "nothing new since version a, which is live"


def test_a_hold_for_what_a_busy_machine_measured_is_not_the_last_word():
    ledger = LedgerSimulator()
    append(ledger, "first-deployment", "a")
    slow = {"name": "latency_p99_ms", "ok": False}
    kept = {"name": "verdict", "ok": True}
    held = decision("hold", "b")
    ledger.record(held.model_copy(update={"evidence": {"evaluation": {"gates": [slow, kept]}}}), expected=1)
    assert last_word(ledger.history(SYSTEM), digest("b")) is None


def test_rollback_goes_to_what_was_live_and_not_to_the_version_before():
    ledger = LedgerSimulator()
    for kind, letter in [("first-deployment", "a"), ("hold", "b"), ("promote", "c")]:
        append(ledger, kind, letter)

    assert rollback_target(ledger.history(SYSTEM)).version == "a"


def test_without_anything_before_there_is_no_rollback():
    with pytest.raises(StateError, match="nothing was ever deployed"):
        rollback_target([])
    with pytest.raises(StateError, match="nothing was live before it"):
        rollback_target([decision("first-deployment", "a")])


class LedgersAgree(RuleBasedStateMachine):
    """Whatever is tried, in whatever order: SQLite, the simulator and a plain stack say the same."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.real = SqlLedger(f"sqlite:///{self.folder.name}/ledger.db")
        self.simulated = LedgerSimulator()
        self.stack: list[str] = []

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(
        kind=st.sampled_from(["first-deployment", "promote", "hold", "rollback"]),
        letter=st.sampled_from("abcd"),
    )
    def try_to(self, kind: str, letter: str) -> None:
        outcomes = []
        for ledger in (self.real, self.simulated):
            try:
                outcomes.append(append(ledger, kind, letter))
            except StateError as error:
                outcomes.append(str(error))
        assert outcomes[0] == outcomes[1]
        if not isinstance(outcomes[0], str):
            self.follow(kind, letter)

    @precondition(lambda self: len(self.stack) > 1)
    @rule()
    def roll_back(self) -> None:
        target = rollback_target(self.real.history(SYSTEM)).version
        assert target == self.stack[-2]
        self.try_to("rollback", target)

    @precondition(lambda self: self.stack)
    @rule(behind=st.integers(1, 3))
    def switch_on_a_stale_view(self, behind: int) -> None:
        stale = self.real.live(SYSTEM).id - behind
        for ledger in (self.real, self.simulated):
            with pytest.raises(StateError, match="another flow switched in between"):
                ledger.record(decision("hold", "a"), expected=stale)

    def follow(self, kind: str, letter: str) -> None:
        if kind == "rollback":
            self.stack.pop()
        elif kind != "hold":
            self.stack.append(letter)

    @invariant()
    def the_pointer_is_what_replay_gives(self) -> None:
        history = self.real.history(SYSTEM)
        assert history == self.simulated.history(SYSTEM)
        live = self.real.live(SYSTEM)
        assert live == self.simulated.live(SYSTEM) == Trail(SYSTEM, history).live
        assert (live.version if live else None) == (self.stack[-1] if self.stack else None)


LedgersAgree.TestCase.settings = settings(
    max_examples=15, stateful_step_count=12, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestLedgersAgree = LedgersAgree.TestCase
