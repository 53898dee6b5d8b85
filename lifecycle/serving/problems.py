"""What went wrong, as RFC 9457 problem details; the one place where errors become HTTP.

No problem ever holds a value from a request, a stack trace or the words of a library's exception.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field
from pydantic_core import ErrorDetails, to_json

from lifecycle.core.suggest import nearest
from lifecycle.serving.exchange import Reply

if TYPE_CHECKING:  # who opens records has a key checked too, and need not have FastAPI
    from fastapi import FastAPI, Request
    from fastapi.responses import Response

    from lifecycle.serving.metrics.counts import Reason

MEDIA_TYPE = "application/problem+json"
MAX_FAULTS = 20
"""Faults listed in one answer; ``fault_count`` tells how many there are."""

_BOUNDS = ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern", "expected")
logger = logging.getLogger(__name__)


class Fault(BaseModel):
    """One field of a request that was refused."""

    field: str = Field(description="Name of the field; empty: the record itself")
    instance: int | None = Field(None, description="Position in `instances`, from 0")
    reason: str = Field(description="What is wrong, without the value")
    bound: dict[str, Any] = Field({}, description="The bound that is not kept, as `ge`, `lt`, `expected` ...")


class Problem(BaseModel):
    """An error, as RFC 9457 describes it."""

    type: str = "about:blank"
    title: str = Field(description="The HTTP status in words")
    status: int
    detail: str = Field(description="What happened and what to do next")
    faults: list[Fault] | None = Field(None, description="Status 422: the fields that were refused")
    fault_count: int | None = None


class ProblemError(Exception):
    """Ends a request with a problem.

    Args:
        status: HTTP status.
        detail: What happened and what to do next; never a value from the request.
        members: Further members of the problem.
    """

    def __init__(self, status: HTTPStatus, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.reason: Reason | None = None
        """Why, for the counters, where the status alone does not tell."""
        self.problem = Problem(title=status.phrase, status=status, detail=detail, **members)
        self.headers = {"Retry-After": "1"} if status is HTTPStatus.SERVICE_UNAVAILABLE else {}

    def reply(self) -> Reply:
        """The problem as problem details."""
        body = to_json(self.problem, exclude_none=True)
        headers = [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]
        return Reply(self.status, body, MEDIA_TYPE.encode(), headers)

    def response(self) -> Response:
        """The same, for FastAPI."""
        from fastapi.responses import Response

        body = to_json(self.problem, exclude_none=True)
        return Response(body, self.status, self.headers, media_type=MEDIA_TYPE)


def in_words(problem: Problem) -> list[str]:
    """All that a problem tells, for protocols that have no list of faults: one text, or one per fault."""
    faults = problem.faults or []
    if len(faults) < 2:
        return [problem.detail]
    words = [
        f"{'' if fault.instance is None else f'instance {fault.instance}, '}"
        f"{fault.field or 'the record'} {fault.reason}"
        for fault in faults
    ]
    more = (problem.fault_count or 0) - len(faults)
    return [*words, f"and {more} more"] if more > 0 else words


def refused(
    errors: Sequence[ErrorDetails], fields: Sequence[str], *, batch: bool, count: int | None = None
) -> ProblemError:
    """The problem of a request whose fields do not fit the record.

    Args:
        errors: From pydantic, of a list of records; their inputs are ignored.
        fields: Names the record has.
        batch: Whether the request held several records, so that a position helps.
        count: How many errors there are, where ``errors`` are only the first ones.
    """
    faults = [_fault(error, fields, batch) for error in errors[:MAX_FAULTS]]
    return unprocessable(faults, count or len(errors))


def unprocessable(faults: Sequence[Fault], count: int) -> ProblemError:
    """Status 422 with these faults out of ``count``; the first one is told in the detail."""
    first = faults[0]
    where = f"instance {first.instance}, " if first.instance is not None else ""
    more = f" (and {count - 1} more)" if count > 1 else ""
    detail = f"{where}{first.field or 'the record'} {first.reason}{more}"
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, detail, faults=list(faults), fault_count=count)


def _fault(error: ErrorDetails, fields: Sequence[str], batch: bool) -> Fault:
    position, *path = error["loc"]
    field = str(path[0])[:64] if path else ""
    match error["type"]:
        case "missing":
            reason = "is missing"
        case "extra_forbidden":
            reason = f"is not a field of the record{nearest(field, fields)}"
        case "model_type":
            reason = "should be an object with the fields of the record"
        case _:
            reason = error["msg"].removeprefix("Input ").removeprefix("String ")
    return Fault(
        field=field,
        instance=int(position) if batch else None,
        reason=reason,
        bound={name: value for name, value in error.get("ctx", {}).items() if name in _BOUNDS},
    )


def unforeseen(error: Exception) -> ProblemError:
    """Status 500. The log gets its type and place only: its message may hold a value from the request."""
    trace, place = error.__traceback__, "?"
    while trace:
        place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    logger.error("unforeseen %s at %s", type(error).__name__, place)
    return ProblemError(
        HTTPStatus.INTERNAL_SERVER_ERROR, "an unforeseen error; the server's log has its place"
    )


def install(app: FastAPI) -> None:
    """Answer every error of an app with a problem."""
    from starlette.exceptions import HTTPException

    async def own(_: Request, error: Exception) -> Response:
        return error.response() if isinstance(error, ProblemError) else unforeseen(error).response()

    async def http(_: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            return unforeseen(error).response()
        problem = ProblemError(HTTPStatus(error.status_code), "/docs shows what this service answers")
        problem.headers |= dict(error.headers or {})
        return problem.response()

    app.add_exception_handler(ProblemError, own)
    app.add_exception_handler(Exception, own)
    app.add_exception_handler(HTTPException, http)
