"""From what the page shows to its bytes."""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING
from urllib.parse import quote

from fastapi import FastAPI, Request, Response

from lifecycle.serving.page.form import in_words
from lifecycle.serving.page.view import SHORT, LiveView, PageView, revision, shown, status

if TYPE_CHECKING:
    from jinja2 import Template

_HERE = files(__package__)


def render_page(view: PageView, base: str = "http://127.0.0.1:8000") -> bytes:
    """The page.

    Args:
        view: What to show.
        base: Address of the service, for the example with curl.
    """
    style, script = _assets()
    return (
        _template()
        .render(view=view, base=base.rstrip("/"), style=style, script=script, revision=revision(view))
        .encode()
    )


@cache
def page_headers() -> dict[str, str]:
    """The page's headers: it may run its own script and style and ask this service, and nothing else."""
    style, script = _assets()
    policy = (
        "default-src 'none'",
        f"style-src '{_source(style)}'",
        f"script-src '{_source(script)}'",
        "connect-src 'self'",
        "img-src data:",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
    return {
        "content-security-policy": "; ".join(policy),
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }


def add_page(app: FastAPI, view: Callable[[], PageView]) -> None:
    """Answer ``GET /`` with the page and ``GET /status.json`` with its numbers.

    Args:
        app: Of the service.
        view: Looks at the service; called in a thread for each of them.
    """

    @app.get("/", include_in_schema=False)
    def page(request: Request) -> Response:
        body = render_page(view(), str(request.base_url))
        return Response(body, headers=page_headers(), media_type="text/html; charset=utf-8")

    @app.get("/status.json", include_in_schema=False)
    def numbers() -> Response:
        body = json.dumps(status(view()))
        return Response(body, headers={"cache-control": "no-store"}, media_type="application/json")


@cache
def _assets() -> tuple[str, str]:
    """Style and script, as they stand inside the page."""
    return tuple((_HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))  # type: ignore[return-value]


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(
        shown=shown, short=_short, mark=_mark, path=_path, curl=_curl, decided=_decided, in_words=in_words
    )
    return environment.from_string((_HERE / "page.html.jinja").read_text(encoding="utf-8"))


def _source(text: str) -> str:
    """How a content security policy names an inline script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _short(digest: str) -> str:
    return digest[:SHORT]


def _decided(decision: str) -> str:
    return {"promote": "Promoted", "rollback": "Rolled back"}.get(
        decision, decision.replace("-", " ").capitalize()
    )


def _mark(name: str) -> str:
    """An HTML id for a name, whatever stands in it."""
    return f"s{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _path(system: str, *parts: str) -> str:
    """The path of a system's page, or of something below it."""
    return "/".join(("/v1", quote(system, safe=""), *parts))


def _curl(base: str, system: str, live: LiveView) -> str:
    """The example of the form, for a shell."""
    record = {field.name: field.value for field in live.form if field.value is not None}
    words = ("-H", "content-type: application/json", "-d", json.dumps(record, ensure_ascii=False))
    return f"curl -s {shlex.quote(base + _path(system, 'predict'))} " + " ".join(map(shlex.quote, words))
