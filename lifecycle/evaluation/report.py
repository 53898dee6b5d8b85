"""The review report: one HTML page that needs nothing beside it, and the same pictures as PNG."""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle.evaluation.subject import ReportInput

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ReportInput", "plots", "render"]

_TEMPLATE = "report.html.jinja"


def render(report: ReportInput) -> str:
    """The report as one HTML page: no script, no link to a file, the same bytes for the same input."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from lifecycle.evaluation import sections
    from lifecycle.evaluation.figures.style import svg

    pictures = {name: _embedded(svg(draw)) for name, draw in _drawings(report).items()}
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(_TEMPLATE).render(sections.context(report), pictures=pictures)


def plots(report: ReportInput) -> dict[str, bytes]:
    """The report's pictures as PNG, by name."""
    from lifecycle.evaluation.figures.style import png

    return {name: png(draw) for name, draw in _drawings(report).items()}


def _drawings(report: ReportInput) -> dict[str, Callable[[], Figure]]:
    """Every picture of this report, in the order of the page; the one list to add a picture to."""
    from lifecycle.evaluation import pictures, views

    drawings: dict[str, Callable[[ReportInput], Figure]] = {
        "verdict": pictures.verdict,
        "error_over_time": pictures.error_over_time,
        "bias_over_time": pictures.bias_over_time,
    }
    if any(views.slices(report).values()):
        drawings["slices"] = pictures.slices
    if report.system.task == "classification":
        drawings["calibration"] = pictures.calibration
    else:
        drawings["residuals"] = pictures.residuals
    drawings["reliability"] = pictures.reliability
    return {name: partial(draw, report) for name, draw in drawings.items()}


def _embedded(content: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(content).decode()}"
