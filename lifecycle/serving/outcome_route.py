"""Late truths at the desk: they are checked against the live release's label, logged, and acknowledged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus

import msgspec

from lifecycle.core.purposes import LOGGING
from lifecycle.serving.accounts import Accounts
from lifecycle.serving.desk import Send, Work
from lifecycle.serving.exchange import Reply, Request
from lifecycle.serving.keys import Access
from lifecycle.serving.live import LiveReleases
from lifecycle.serving.live_release import LiveRelease
from lifecycle.serving.log.entries import OutcomeEntry
from lifecycle.serving.log.terms import Durability, UnloggedError
from lifecycle.serving.log.writer import Appender
from lifecycle.serving.outcomes import accepted, read_outcomes
from lifecycle.serving.predicting import no_release, refuse_objections
from lifecycle.serving.problems import ProblemError

_encode = msgspec.msgpack.Encoder().encode


class OutcomeRoute:
    """Outcomes of one system.

    Args:
        live: What is live.
        accounts: Have the log.
        system: Its name, as the path has it.
    """

    method = "POST"
    access: Access = "outcomes"
    budget_s = 5.0

    def __init__(self, live: LiveReleases, accounts: Accounts, system: str) -> None:
        self._live = live
        self._accounts = accounts
        self._system = system
        self.system: str | None = system

    def begin(self, request: Request) -> Work:
        """With the label of the release that is live now."""
        release = self._live.current(self._system)
        if release is None:
            raise no_release(self._live, self._system)
        if self._accounts.log is None:
            raise ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE, "this service keeps no log: ask the one that does"
            )
        # An outcome cannot be asked for again: it is kept at least as safely as any prediction.
        durability: Durability = "power" if release.manifest.serving.durability == "power" else "process"
        log = self._accounts.log.outcomes(self._system, durability, release.custody)
        return Posting(release, log, request, self)

    def refuse(self, problem: ProblemError) -> Reply:
        """As problem details."""
        known = self._system if self._system in self._live.standings else ""
        self._accounts.metrics.counts(known).refused(problem.status, problem.reason)
        return problem.reply()


@dataclass(slots=True)
class Posting:
    """One request with outcomes on its way through the desk."""

    live: LiveRelease
    log: Appender
    request: Request
    route: OutcomeRoute
    _entries: list[OutcomeEntry] | None = None

    @property
    def inline(self) -> bool:
        """Reading is all there is to it."""
        return True

    @property
    def heavy(self) -> bool:
        """A large body is read in a thread, a small one is not."""
        return False

    def compute(self) -> None:
        """Read and check them all."""
        self._entries = entries = read_outcomes(self.live.schema, self.request.body, datetime.now(UTC))
        if custody := self.live.custody:
            subjects = [entry.subject or "" for entry in entries]
            refuse_objections(custody, subjects, LOGGING, single=len(subjects) == 1)

    def settle(self, send: Send) -> None:
        """Log all or none of them, then acknowledge."""
        entries = self._entries or []
        try:
            ticket = self.log.extend([_encode(entry) for entry in entries])
        except UnloggedError:
            raise _not_kept() from None
        if ticket is None:
            send(Reply(HTTPStatus.OK, accepted(len(entries))))
        else:
            ticket.on_done(
                lambda ok: send(Reply(HTTPStatus.OK, accepted(len(entries))) if ok else self._lost())
            )

    def _lost(self) -> Reply:
        return self.refuse(_not_kept())

    def refuse(self, problem: ProblemError) -> Reply:
        """Count and word a refusal."""
        return self.route.refuse(problem)


def _not_kept() -> ProblemError:
    problem = ProblemError(
        HTTPStatus.SERVICE_UNAVAILABLE, "the outcomes cannot be stored; none of them was: send them again"
    )
    problem.reason = "log-failure"
    return problem
