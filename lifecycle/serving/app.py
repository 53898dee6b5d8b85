"""The HTTP service over the live releases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from lifecycle import __version__
from lifecycle.core.ports import Ledger, ReleaseStore
from lifecycle.core.suggest import nearest
from lifecycle.serving import engine, problems, responses
from lifecycle.serving.asgi import AsgiLane
from lifecycle.serving.desk import Desk
from lifecycle.serving.keys import KeyRing
from lifecycle.serving.lane import DESK
from lifecycle.serving.live import RELEASE_HEADER, LiveRelease, LiveReleases, LoadEngine, Standing
from lifecycle.serving.openapi import ApiPage
from lifecycle.serving.problems import ProblemError
from lifecycle.serving.routes import Routes

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
) -> FastAPI:
    """Make the service; it follows the ledger while it runs.

    Args:
        ledger: Says what is live.
        store: Brings releases to this machine, verified.
        poll_seconds: How often the ledger is read.
        load_engine: Loads the model of a release folder.
        keys: Who may ask what; everybody everything, if None.
        origins: Origins of other sites whose pages may ask, such as ``https://example.org``.
    """
    live = LiveReleases(ledger, store, load_engine, poll_seconds)
    keys = keys or KeyRing(None)
    desk = Desk(Routes(live).find, keys)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        desk.open(asyncio.get_running_loop())
        live.start()
        chores = asyncio.create_task(_every_second(keys.refresh))
        try:
            yield {DESK: desk}  # found there by the fast lane
        finally:
            chores.cancel()
            live.stop()
            desk.close()

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
    _add_health(app, live)
    _add_docs(app)
    app.add_middleware(AsgiLane, desk=desk, origins=origins)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=[RELEASE_HEADER, "X-Request-ID"],
        )
    app.openapi = ApiPage(app, live)  # type: ignore[method-assign]
    return app


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


def _add_health(app: FastAPI, live: LiveReleases) -> None:
    @app.get("/healthz", tags=["health"], summary="Whether the process lives")
    async def healthz() -> responses.Health:
        return responses.Health()

    @app.get(
        "/readyz",
        tags=["health"],
        summary="Whether every system has a release that answers",
        responses={503: {"model": responses.Readiness, "description": "Not yet"}},
    )
    async def readyz(response: Response) -> responses.Readiness:
        found = responses.readiness(live)
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
    standing = _standing(live, system)
    if standing.current is None:
        reason = standing.fault or "it is loading"
        raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, f"{system} has no release that answers: {reason}")
    return standing.current
