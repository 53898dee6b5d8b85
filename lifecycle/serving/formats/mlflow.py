"""MLflow's scoring protocol, as ``mlflow models serve`` speaks it: clients of that work unchanged.

Source: ``mlflow/pyfunc/scoring_server/__init__.py`` of the version named here. A model's signature is our
record: an optional column may be absent, further columns are ignored, and what comes back is what the
registered version answers to ``mlflow.pyfunc``: the value, or the probability of 1.
"""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from pydantic_core import to_json

from lifecycle.serving.exchange import Answers, Asked, Reply, Request
from lifecycle.serving.formats.mlflow_bodies import csv_columns, json_columns
from lifecycle.serving.formats.mlflow_values import cast
from lifecycle.serving.live_release import LiveRelease
from lifecycle.serving.problems import Problem, ProblemError, in_words

PROTOCOL_VERSION = "3.17.2"
"""The MLflow release whose scoring protocol this is."""

_JSON, _CSV = "application/json", "text/csv"
_CODES = {
    HTTPStatus.UNAUTHORIZED: "UNAUTHENTICATED",
    HTTPStatus.FORBIDDEN: "PERMISSION_DENIED",
    HTTPStatus.NOT_FOUND: "RESOURCE_DOES_NOT_EXIST",
    HTTPStatus.TOO_MANY_REQUESTS: "REQUEST_LIMIT_EXCEEDED",
    HTTPStatus.SERVICE_UNAVAILABLE: "TEMPORARILY_UNAVAILABLE",
    HTTPStatus.GATEWAY_TIMEOUT: "DEADLINE_EXCEEDED",
}
_BAD = {"sqlstate": "KAM00", "error_class": "INVALID_PARAMETER_VALUE"}
_UNFIT = {"sqlstate": "KAM01", "error_class": "SCHEMA_ENFORCEMENT_FAILED"}


class MlflowScoring:
    """``{"dataframe_split": ...}`` and its three sisters, or CSV, in; ``{"predictions": [...]}`` out."""

    name = "mlflow"
    heavy = False

    def read(self, live: LiveRelease, request: Request) -> Asked:
        """Decode a body as MLflow does, and check it as the typed endpoint does."""
        reader = live.columns
        if _content_type(request.header(b"content-type")) == _CSV:
            content = csv_columns(request.body)
        else:
            content = json_columns(request.body, [spec.name for spec in live.schema.features])
        columns = cast(live.schema, content)
        key = live.schema.record_id.name
        if key in content.columns and key not in columns and reader.fits(key, content.columns[key]):
            columns[key] = content.columns[key]  # no input of the model, and never a reason to refuse
        if (about := live.schema.about) and about.name in content.columns:
            columns[about.name] = content.columns[about.name]
        return reader.read(columns, may_be_empty=True)

    def write(self, _live: LiveRelease, _request: Request, _asked: Asked, answers: Answers) -> Reply:
        """``{"predictions": [...]}``."""
        return Reply(200, msgspec.json.encode({"predictions": answers.values.tolist()}))

    def refuse(self, problem: ProblemError) -> Reply:
        """``{"error_code": ..., "message": ...}``; what MLflow refuses with 400 has that status here too."""
        reply = problem.reply()
        if problem.status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
            return Reply(
                reply.status, problem.problem.detail.encode(), b"text/plain; charset=utf-8", reply.headers
            )
        content = {"error_code": _code(problem), "message": "\n".join(in_words(problem.problem))}
        status = int(problem.status)
        if problem.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY):
            status = 400
            content |= _UNFIT if _lacks_columns(problem.problem) else _BAD
        return Reply(status, to_json(content), b"application/json", reply.headers)


def ready(is_ready: bool) -> Reply:
    """``/ping`` and ``/health``: 200 if something answers, else 404, as MLflow says it."""
    return Reply(200 if is_ready else 404, b"\n")


def protocol() -> Reply:
    """``/version``."""
    return Reply(200, PROTOCOL_VERSION.encode())


def _content_type(header: bytes) -> str:
    """JSON or CSV, in UTF-8.

    Raises:
        ProblemError: 415; it is something else.
    """
    name, *parameters = (part.strip() for part in header.decode("latin-1").split(";"))
    values = {key: value for key, _, value in (part.partition("=") for part in parameters)}
    if values.pop("charset", "utf-8").lower() != "utf-8":
        raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The scoring server only supports UTF-8")
    if values:
        raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the content type takes charset=utf-8 only")
    if name not in (_JSON, _CSV):
        raise ProblemError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"This predictor only supports the following content types: Types: {[_CSV, _JSON]}.",
        )
    return name


def _code(problem: ProblemError) -> str:
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _CODES.get(problem.status, "INTERNAL_ERROR")
    if _lacks_columns(problem.problem):
        return "INVALID_PARAMETER_VALUE"
    return _CODES.get(problem.status, "BAD_REQUEST")


def _lacks_columns(problem: Problem) -> bool:
    """Whether whole columns are at fault, which MLflow's check of the signature refuses, not the model."""
    return any(fault.instance is None for fault in problem.faults or ())
