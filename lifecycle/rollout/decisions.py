"""Pure decisions: what an evaluation leads to, which order of deployments makes sense, where rollback goes.

Nothing here reads a clock, a file or a database, so every rule can be tried on plain values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from lifecycle.core.errors import StateError
from lifecycle.core.requirements import MEASURED
from lifecycle.core.values import Deployment, Evaluation, GateResult

Verb = Literal["first-deployment", "update", "rollback"]
"""What a flow is asked to do."""


class Decision(NamedTuple):
    """What an evaluation leads to.

    Attributes:
        decision: As the ledger writes it; ``hold`` leaves what is live as it is.
        reason: Why, in a sentence.
    """

    decision: Literal["first-deployment", "promote", "hold"]
    reason: str


def decide(evaluation: Evaluation, first: bool) -> Decision:
    """What follows from an evaluation: the candidate goes live when every gate is kept, else it is held.

    Args:
        evaluation: Of the candidate.
        first: Whether this is the first deployment (compared with naive baselines) or an update
            (compared with the champion).

    Raises:
        StateError: The evaluation was made for the other path, compared the candidate with itself or with
            nothing, or has no gates: nothing can be decided on it.
    """
    _refuse_unfit(evaluation, first)
    missed = [gate for gate in evaluation.gates if not gate.ok]
    total = len(evaluation.gates)
    if missed:
        listed = "; ".join(_missed(gate) for gate in missed)
        return Decision(decision="hold", reason=f"{len(missed)} of {total} gates not kept: {listed}")
    kept = "the only gate is kept" if total == 1 else f"all {total} gates are kept"
    compared = _against_baselines(evaluation) if first else _against_champion(evaluation)
    return Decision(decision="first-deployment" if first else "promote", reason=f"{compared}; {kept}")


def _refuse_unfit(evaluation: Evaluation, first: bool) -> None:
    candidate = evaluation.release[:12]
    against = {comparison.against for comparison in evaluation.comparisons}
    if first and evaluation.champion is not None:
        fault = f"was compared with champion {evaluation.champion[:12]}, not with naive baselines"
    elif not first and evaluation.champion is None:
        fault = "was not compared with a champion"
    elif not against:
        fault = "was compared with nothing"
    elif evaluation.release in against:
        fault = "was compared with itself"
    elif not first and evaluation.champion not in against:
        fault = "has no comparison with the champion it names"
    elif not evaluation.gates:
        fault = "was judged by no gate"
    else:
        return
    raise StateError(
        f"release {candidate} cannot be decided on: it {fault}", hint="evaluate it again, then decide"
    )


def _missed(gate: GateResult) -> str:
    detail = f", {gate.detail}" if gate.detail else ""
    return f"{gate.name} (measured {gate.measured}, bound {gate.bound}{detail})"


def _against_baselines(evaluation: Evaluation) -> str:
    found = evaluation.comparisons[0]
    others = ", ".join(f"{it.other:.4g} ({it.against})" for it in evaluation.comparisons)
    return (
        f"{found.verdict.value} than naive baselines: {found.metric} {found.candidate:.4g} against {others} "
        f"on {found.rows:,} identical rows"
    )


def _against_champion(evaluation: Evaluation) -> str:
    found = next(it for it in evaluation.comparisons if it.against == evaluation.champion)
    return (
        f"{found.verdict.value} than the champion {found.against[:12]}: {found.metric} {found.candidate:.4g} "
        f"against {found.other:.4g} on {found.rows:,} identical rows, difference {found.low:+.3g} to "
        f"{found.high:+.3g} at {found.confidence:.0%} confidence"
    )


class Trail:
    """What a system's decisions add up to, oldest first; one that makes no sense is refused.

    A first deployment and a promotion push what goes live onto a stack, a rollback pops it, and ``hold``
    changes nothing: so what was live before is what lies below, never "the version before".

    Args:
        system: Name of the system.
        history: Its decisions, oldest first.
    """

    def __init__(self, system: str, history: Iterable[Deployment] = ()) -> None:
        self.system = system
        self._stack: list[Deployment] = []
        for deployment in history:
            self.append(deployment)

    @property
    def live(self) -> Deployment | None:
        """The decision whose release is live; None before the first deployment."""
        return self._stack[-1] if self._stack else None

    @property
    def before(self) -> Deployment | None:
        """What was live before it, and would be again after a rollback; None if nothing was."""
        return self._stack[-2] if len(self._stack) > 1 else None

    @property
    def rollback_target(self) -> Deployment:
        """What was live before the live release went live.

        Raises:
            StateError: There is nothing to go back to.
        """
        if not self._stack:
            raise _no_champion(self.system)
        if self.before is None:
            raise StateError(
                f"{self.system}: {_named(self._stack[0])} was the first to be deployed; "
                "nothing was live before it",
                hint=f"replace it with a better one: lifecycle update {self.system}",
            )
        return self.before

    def expect(self, expected: int | None) -> None:
        """Compare and swap: refuse when another deployment is live than the caller believed.

        Raises:
            StateError: With what is live now.
        """
        found = self.live.id if self.live else None
        if found == expected:
            return
        now = f"{_named(self.live)} is live (deployment {found})" if self.live else "nothing is live"
        believed = "nothing" if expected is None else f"deployment {expected}"
        raise StateError(
            f"{self.system}: {now}, but {believed} was expected: another flow switched in between",
            hint=f"look at it with `lifecycle history {self.system}`, then run the command again",
        )

    def append(self, deployment: Deployment) -> None:
        """Take the next decision into account.

        Raises:
            StateError: It does not fit what is live; the message says which command does.
        """
        match deployment.decision:
            case "hold":
                return
            case "rollback":
                target = self.rollback_target
                if deployment.release.digest != target.release.digest:
                    raise StateError(
                        f"{self.system}: a rollback goes to {_named(target)}, which was live before, "
                        f"not to {_named(deployment)}",
                        hint=f"lifecycle rollback {self.system}",
                    )
                self._stack[-2:] = [deployment]
            case "first-deployment" | "promote":
                first = deployment.decision == "first-deployment"
                require("first-deployment" if first else "update", self.system, self.live)
                if self.live and self.live.release.digest == deployment.release.digest:
                    raise StateError(
                        f"{self.system}: {_named(self.live)} is live already", hint="there is nothing to do"
                    )
                self._stack.append(deployment)


def require(verb: Verb, system: str, live: Deployment | None) -> None:
    """Refuse the verb that does not fit what is deployed; flows ask before they do any work.

    Args:
        verb: What is about to run.
        system: Name of the system.
        live: What is live, None for nothing.

    Raises:
        StateError: A champion exists at the first deployment, or none does at an update or rollback.
    """
    if verb == "first-deployment":
        if live is not None:
            since = live.decided_at.isoformat(timespec="seconds")
            raise StateError(
                f"{system} has a champion already: {_named(live)}, live since {since}",
                hint=f"run `lifecycle update {system}`",
            )
    elif live is None:
        raise _no_champion(system)


def standing(history: Sequence[Deployment]) -> tuple[Deployment | None, Deployment | None]:
    """What is live and what was live before it, read from a system's whole history, oldest first."""
    if not history:
        return None, None
    trail = Trail(history[0].system, history)
    return trail.live, trail.before


def rollback_target(history: Sequence[Deployment]) -> Deployment:
    """What was live before, read from a system's whole history.

    Args:
        history: All decisions of one system, oldest first.

    Returns:
        The deployment to go back to: its release and version are what a rollback deploys.

    Raises:
        StateError: There is nothing to go back to.
    """
    if not history:
        raise StateError("nothing was ever deployed", hint="run `lifecycle first-deployment SYSTEM`")
    return Trail(history[0].system, history).rollback_target


def last_word(history: Sequence[Deployment], digest: str, terms: str = "") -> str | None:
    """What was decided about a release, in a sentence; None if it is to be decided on (again).

    A flow that ends up with the same release has nothing new to decide, unless a hold was made under other
    terms, against another champion, or for nothing but what a server process was measured to do: a busy
    machine may do better the next time.

    Args:
        history: All decisions of one system, oldest first.
        digest: Of the release.
        terms: SHA-256 of the bounds and margins that decisions are made under now.
    """
    about = [deployment for deployment in history if deployment.release.digest == digest]
    if not about:
        return None
    last, live = about[-1], standing(history)[0]
    if live and live.release.digest == digest:
        return f"nothing new since version {last.version}, which is live"
    day = f"{last.decided_at:%Y-%m-%d}"
    if last.decision != "hold":
        return f"nothing new since version {last.version}, deployed on {day} and rolled back since"
    champion = live.release.digest if live else None
    if last.previous != champion or last.evidence.get("terms", "") != terms or _only_measured(last):
        return None
    return f"nothing new since version {last.version}, held on {day}: {last.evidence.get('reason', '')}"


def _only_measured(hold: Deployment) -> bool:
    gates = hold.evidence.get("evaluation", {}).get("gates", [])
    missed = {gate["name"] for gate in gates if not gate["ok"]}
    return bool(missed) and missed <= set(MEASURED)


def _no_champion(system: str) -> StateError:
    return StateError(f"{system} has no champion yet", hint=f"run `lifecycle first-deployment {system}`")


def _named(deployment: Deployment) -> str:
    return f"release {deployment.release.digest[:12]} (version {deployment.version})"
