"""What ``prefect.yaml`` says of systems: the same flows for each, on the schedules its mode needs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Literal

_LIST = "deployments:\n"


def render_deployments(systems: Mapping[str, Literal["real-time", "batch"]]) -> str:
    """The file, with the template's part for one system repeated.

    Args:
        systems: Name -> the ``mode`` of its requirements: a batch system is scored every night.

    Example:
        >>> render_deployments({"one": "batch", "two": "real-time"}).count("slug: nightly, active: true}")
        1
    """
    text = (files("lifecycle.scaffold") / "template" / "prefect.yaml.tmpl").read_text(encoding="utf-8")
    head, _, part = text.partition(_LIST)
    parts = (
        Template(part).substitute(system=name, batch=str(mode == "batch").lower())
        for name, mode in systems.items()
    )
    return Template(head).substitute() + _LIST + "\n".join(parts)
