"""What is asked by which path."""

from __future__ import annotations

from collections.abc import Mapping

from lifecycle.serving.accounts import Accounts
from lifecycle.serving.desk import Route
from lifecycle.serving.exchange import Format
from lifecycle.serving.formats.typed import TypedJson
from lifecycle.serving.live import LiveReleases
from lifecycle.serving.outcome_route import OutcomeRoute
from lifecycle.serving.predicting import PredictRoute

MAX_KNOWN = 10_000
"""Paths remembered; more than any client asks for in earnest."""


class Routes:
    """Finds the route of a path, and remembers it.

    Args:
        live: What is live.
        accounts: Keep what is answered.
    """

    def __init__(self, live: LiveReleases, accounts: Accounts) -> None:
        self._live = live
        self._accounts = accounts
        self._known: dict[str, Route | None] = {}
        self._typed: Mapping[bytes, Format] = {b"application/json": TypedJson()}

    def find(self, path: str) -> Route | None:
        """The route; None if the path is none of the desk's."""
        try:
            return self._known[path]
        except KeyError:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            route = self._known[path] = self._make(path)
            return route

    def _make(self, path: str) -> Route | None:
        match path.split("/")[1:]:
            case ["v1", system, "predict"] if system:
                return PredictRoute(self._live, self._accounts, system, self._typed)
            case ["v1", system, "outcomes"] if system:
                return OutcomeRoute(self._live, self._accounts, system)
            case _:
                return None
