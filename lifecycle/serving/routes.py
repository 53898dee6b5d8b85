"""What is asked by which path."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from lifecycle.serving.accounts import Accounts
from lifecycle.serving.desk import Route, Work
from lifecycle.serving.exchange import Format, Request
from lifecycle.serving.formats import arrow
from lifecycle.serving.formats.inference_v2 import InferenceV2
from lifecycle.serving.formats.mlflow import MlflowScoring
from lifecycle.serving.formats.typed import TypedJson
from lifecycle.serving.live import LiveReleases
from lifecycle.serving.outcome_route import OutcomeRoute
from lifecycle.serving.predicting import PredictRoute
from lifecycle.serving.problems import ProblemError

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
        self._typed: Mapping[bytes, Format] = {
            b"application/json": TypedJson(),
            **dict.fromkeys(arrow.MEDIA_TYPES, arrow.Arrow()),
        }
        self._mlflow: Mapping[bytes, Format] = dict.fromkeys(
            (b"application/json", b"text/csv"), MlflowScoring()
        )
        self._v2: Mapping[bytes, Format] = dict.fromkeys(
            (b"application/json", b"application/octet-stream"), InferenceV2()
        )

    def find(self, path: str) -> Route | None:
        """The route; None if the path is none of the desk's."""
        if path == "/invocations":
            return self._invocations()
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
            case ["v1", system, "invocations"] if system:
                name = "/v1/{system}/invocations"
                return PredictRoute(self._live, self._accounts, system, self._mlflow, name)
            case ["v2", "models", system, *version, "infer"] if system and _is_version(version):
                name = "/v2/models/{system}/infer"
                return PredictRoute(self._live, self._accounts, system, self._v2, name)
            case _:
                return None

    def _invocations(self) -> Route:
        """MLflow's path names no system: the only one that is served is meant."""
        served = list(self._live.standings)
        system, name = served[0] if len(served) == 1 else "", "/invocations"
        route = PredictRoute if system else Unnamed
        return route(self._live, self._accounts, system, self._mlflow, name)


class Unnamed(PredictRoute):
    """A path that would have to name the system, and does not."""

    def begin(self, _request: Request) -> Work:
        """Say what to ask for instead."""
        known = ", ".join(sorted(self._live.standings)) or "none yet"
        raise ProblemError(
            HTTPStatus.NOT_FOUND,
            f"which system is meant? POST /v1/SYSTEM/invocations names it (live: {known})",
        )


def _is_version(parts: list[str]) -> bool:
    return not parts or (len(parts) == 2 and parts[0] == "versions" and bool(parts[1]))
