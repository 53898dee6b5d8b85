"""Refusals on the API page: which status means what, and what to do about it."""

from __future__ import annotations

from typing import Any

from lifecycle.serving.limits import BODY_SECONDS, MAX_BODY
from lifecycle.serving.problems import MEDIA_TYPE

_PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_SECONDS = {"description": "Seconds to wait before asking again", "schema": {"type": "integer"}}
_METHOD = {"description": "The method this path takes", "schema": {"type": "string"}}

_MEANINGS = {
    "400": "The body is not JSON, or the request is not one of HTTP/1.1",
    "401": "No valid API key came with it",
    "403": "The API key does not allow this, or the page of another site asks",
    "404": "No system of that name is live",
    "405": "This path takes another method",
    "408": f"The whole request did not come within {BODY_SECONDS:g} seconds",
    "413": f"The body is larger than {MAX_BODY:,} bytes, or holds too many: send several requests",
    "415": "The content type or encoding is not one that this path takes",
    "422": "A field does not fit: the bound is named, the value is not",
    "431": "The request line and headers are too large",
    "503": "Nothing can answer now, more is asked than can be answered in time, or it cannot be logged",
}
_HEADERS = {"405": {"Allow": _METHOD}, "503": {"Retry-After": _SECONDS}}

POSTED = (*_MEANINGS,)
"""What may be refused of a request with a body."""

ASKED = ("401", "403", "405", "431")
"""What may be refused of a page; ``404`` and ``503`` where it is about a system."""


def problems_of(*statuses: str) -> dict[str, Any]:
    """The responses of an operation that are refusals.

    Example:
        >>> sorted(problems_of("404", "503")["503"])
        ['content', 'description', 'headers']
    """
    return {
        status: {"description": _MEANINGS[status], "content": _PROBLEM}
        | ({"headers": _HEADERS[status]} if status in _HEADERS else {})
        for status in statuses
    }


def describe_refusals(paths: dict[str, Any]) -> None:
    """Add to pages made by FastAPI what may be refused of them, in place of what it believes."""
    for path, operations in paths.items():
        about_a_system = ("404", "503") if "{system}" in path else ()
        for operation in operations.values():
            operation["responses"].pop("422", None)  # a path is never wrong by its type
            for status, meaning in problems_of(*ASKED, *about_a_system).items():
                operation["responses"].setdefault(status, meaning)
