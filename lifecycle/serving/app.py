"""The HTTP service over the live releases."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, nullcontext
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from lifecycle import __version__
from lifecycle.core.ports import Ledger, OpenCustody, ReleaseStore
from lifecycle.core.suggest import nearest
from lifecycle.serving import engine, problems, protocols, responses
from lifecycle.serving.accounts import Accounts
from lifecycle.serving.asgi import AsgiLane
from lifecycle.serving.board import Seat
from lifecycle.serving.desk import Desk
from lifecycle.serving.keys import KeyRing
from lifecycle.serving.lane import DESK, DRAINING
from lifecycle.serving.live import LiveReleases, LoadEngine
from lifecycle.serving.live_release import RELEASE_HEADER, LiveRelease
from lifecycle.serving.log.terms import Limits
from lifecycle.serving.log.writer import PredictionLog
from lifecycle.serving.metrics import Metrics, add_metrics
from lifecycle.serving.notice import Notices
from lifecycle.serving.openapi import ApiPage
from lifecycle.serving.overview import facts_of, page_of
from lifecycle.serving.page import add_page
from lifecycle.serving.problems import ProblemError
from lifecycle.serving.routes import Routes
from lifecycle.serving.standing import Standing
from lifecycle.serving.tracing import open_spans

JOIN_SECONDS = 30.0
"""Longest wait of a worker for what the others answer with; then it takes connections and says 503 itself."""

_DESCRIPTION = """\
Predictions of every live system. Each answer names the release that made it; a promotion or rollback
switches within seconds, and no request fails for it."""


def create_app(
    ledger: Ledger,
    store: ReleaseStore,
    *,
    poll_seconds: float,
    load_engine: LoadEngine = engine.load_engine,
    keys: KeyRing | None = None,
    origins: Collection[str] = (),
    log: Path | None = None,
    segment_seconds: float = 600,
    counters: Path | None = None,
    mlflow: str = "",
    seat: Seat | None = None,
    state: Path | None = None,
    open_custody: OpenCustody | None = None,
) -> FastAPI:
    """Make the service; it follows the ledger while it runs.

    Args:
        ledger: Says what is live.
        store: Brings releases to this machine, verified.
        poll_seconds: How often the ledger is read.
        load_engine: Loads the model of a release folder.
        keys: Who may ask what; everybody everything, if None.
        origins: Origins of other sites whose pages may ask, such as ``https://example.org``.
        log: Folder of the prediction log; None: nothing is logged.
        segment_seconds: Age at which a segment of the log is closed.
        mlflow: Address of MLflow's pages, for links; empty if there is none.
        counters: Folder in which the workers of a service share their counters; None: there is one.
        seat: This worker's place among the workers of the service; None if it is the only one.
        state: The project's state folder, where switches are announced; None: they are seen by polling.
        open_custody: Opens the custody of a system whose records are sealed; None: nothing sealed is served.
    """
    keys = keys or KeyRing(None)
    live = LiveReleases(ledger, store, load_engine, poll_seconds, seat, open_custody)
    metrics = Metrics(counters, facts=lambda: facts_of(live, desk, accounts))
    accounts = Accounts(metrics)
    desk = Desk(Routes(live, accounts).find, keys)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        loop = asyncio.get_running_loop()
        accounts.open(loop, _open_log(log, segment_seconds, loop), open_spans())
        metrics.start()
        desk.open(loop)
        live.start()
        chores = asyncio.create_task(_every_second(keys.refresh))
        try:
            with Notices(state, live.look) if state else nullcontext():
                await _join(live)
                yield {DESK: desk}  # found there by the fast lane
        finally:
            chores.cancel()
            live.stop()
            desk.close()
            accounts.close()

    app = FastAPI(
        title="lifecycle",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    problems.install(app)
    _add_pages(app, live)
    _add_health(app, live, accounts)
    _add_docs(app)
    protocols.add_pages(app, live)
    add_metrics(app, metrics)
    add_page(app, lambda: page_of(live, accounts, mlflow))
    _add_lanes(app, desk, origins)
    app.openapi = ApiPage(app, live)  # type: ignore[method-assign]
    return app


def _add_lanes(app: FastAPI, desk: Desk, origins: Collection[str]) -> None:
    app.add_middleware(AsgiLane, desk=desk, origins=origins)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=[RELEASE_HEADER, "X-Request-ID"],
        )


def _open_log(
    folder: Path | None, segment_seconds: float, loop: asyncio.AbstractEventLoop
) -> PredictionLog | None:
    if folder is None:
        return None
    limits = Limits(segment_seconds=segment_seconds)
    return PredictionLog(folder, deliver=loop.call_soon_threadsafe, limits=limits)


async def _join(live: LiveReleases) -> None:
    """Take connections once this worker can answer as the others do: those that wait are not refused."""
    deadline = time.monotonic() + JOIN_SECONDS
    while not live.joined and time.monotonic() < deadline:
        await asyncio.sleep(0.01)


async def _every_second(*chores: Callable[[], None]) -> None:
    while True:
        for chore in chores:
            chore()
        await asyncio.sleep(1)


def _add_pages(app: FastAPI, live: LiveReleases) -> None:
    @app.get("/v1", tags=["systems"], summary="Which systems answer")
    async def systems() -> responses.SystemList:
        names = [name for name, standing in live.standings.items() if standing.current]
        return responses.SystemList(systems=sorted(names))

    @app.get("/v1/{system}", tags=["systems"], summary="What is live, since when, by whom, from what")
    async def system(system: str) -> responses.SystemPage:
        _release(live, system)
        return responses.system_page(_standing(live, system))


def _add_health(app: FastAPI, live: LiveReleases, accounts: Accounts) -> None:
    @app.get("/healthz", tags=["health"], summary="Whether the process lives")
    async def healthz() -> responses.Health:
        return responses.Health()

    @app.get(
        "/readyz",
        tags=["health"],
        summary="Whether every system has a release that answers",
        responses={503: {"model": responses.Readiness, "description": "Not yet"}},
    )
    async def readyz(request: Request, response: Response) -> responses.Readiness:
        draining = bool(getattr(request.state, DRAINING, False))
        found = responses.readiness(live, accounts.log_states(), draining=draining)
        response.status_code = HTTPStatus.OK if found.ready else HTTPStatus.SERVICE_UNAVAILABLE
        return found


def _add_docs(app: FastAPI) -> None:
    """Swagger UI from files installed here, so that the page works in a closed network."""
    parameters: dict[str, Any] = {
        "tryItOutEnabled": True,
        "displayRequestDuration": True,
        "defaultModelsExpandDepth": 0,
        "validatorUrl": None,
    }

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title="lifecycle: API",
            swagger_js_url="docs/assets/swagger-ui-bundle.js",
            swagger_css_url="docs/assets/swagger-ui.css",
            swagger_favicon_url="docs/assets/favicon.png",
            swagger_ui_parameters=parameters,
        )

    app.mount("/docs/assets", StaticFiles(directory=str(files("fastapi_offline") / "static")))


def _standing(live: LiveReleases, system: str) -> Standing:
    standings = live.standings
    if system not in standings:
        known = ", ".join(sorted(standings)) or "none yet"
        raise ProblemError(
            HTTPStatus.NOT_FOUND,
            f"no system of that name is live{nearest(system, standings)} (live: {known})",
        )
    return standings[system]


def _release(live: LiveReleases, system: str) -> LiveRelease:
    """The release that answers a request from here to its end, whatever is promoted meanwhile."""
    release = live.current(system)
    if release is None:
        reason = _standing(live, system).reason
        raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, f"{system} has no release that answers: {reason}")
    return release
