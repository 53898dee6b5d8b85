"""What the protocols of others ask besides predictions: health, versions, models."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Response

from lifecycle.serving.exchange import Reply
from lifecycle.serving.formats import inference_v2, mlflow
from lifecycle.serving.live import LiveReleases
from lifecycle.serving.live_release import LiveRelease
from lifecycle.serving.predicting import no_release
from lifecycle.serving.problems import ProblemError

Describe = Callable[[LiveRelease, str | None], Reply]


def add_pages(app: FastAPI, live: LiveReleases) -> None:
    """Add the pages of MLflow's scoring protocol and of the Open Inference Protocol.

    Args:
        app: The service.
        live: What is live.
    """
    pages: dict[str, Callable[[], Reply]] = {
        "/ping": lambda: mlflow.ready(live.ready),
        "/health": lambda: mlflow.ready(live.ready),
        "/version": mlflow.protocol,
        "/v2": inference_v2.server,
        "/v2/health/live": inference_v2.alive,
        "/v2/health/ready": lambda: inference_v2.ready(live.ready),
    }
    for path, page in pages.items():
        app.add_api_route(path, _endpoint(page), include_in_schema=False)
    models = {"": inference_v2.model, "/ready": inference_v2.model_ready}
    for end, describe in models.items():
        for version in ("", "/versions/{version}"):
            path = "/v2/models/{system}" + version + end
            app.add_api_route(path, _model_endpoint(live, describe), include_in_schema=False)


def _endpoint(page: Callable[[], Reply]) -> Callable[[], Awaitable[Response]]:
    async def endpoint() -> Response:
        return _response(page())

    return endpoint


def _model_endpoint(live: LiveReleases, describe: Describe) -> Callable[..., Awaitable[Response]]:
    async def endpoint(system: str, version: str | None = None) -> Response:
        try:
            reply = describe(_current(live, system), version)
        except ProblemError as problem:
            reply = inference_v2.InferenceV2().refuse(problem)
        return _response(reply)

    return endpoint


def _current(live: LiveReleases, system: str) -> LiveRelease:
    release = live.current(system)
    if release is None:
        raise no_release(live, system)
    return release


def _response(reply: Reply) -> Response:
    headers = {name.decode(): value.decode() for name, value in reply.headers}
    return Response(reply.body, reply.status, headers, media_type=reply.media_type.decode())
