"""Verbs that start a flow."""

from __future__ import annotations

import logging
import os
import sys
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, get_args

import click

from lifecycle.cli.base import (
    EXIT_HELD,
    EXIT_SKIPPED,
    as_json_option,
    as_of_option,
    example,
    moment,
    settings_now,
    show,
    system_argument,
)
from lifecycle.core.errors import ConfigError
from lifecycle.core.trigger import Trigger

if TYPE_CHECKING:
    from lifecycle.core.values import FlowResult


@click.command("first-deployment")
@system_argument
@as_of_option
@as_json_option
@example("lifecycle first-deployment house-prices --as-of 1996-01-01")
def first_deployment(system: str, as_of: str | None, as_json: bool) -> None:
    """Deploy a system for the first time: it must beat naive baselines and meet its requirements."""
    run_flow("first-deployment", as_json, system=system, as_of=moment(as_of))


@click.command()
@system_argument
@as_of_option
@click.option(
    "--trigger",
    type=click.Choice(get_args(Trigger)),
    default="manual",
    show_default=True,
    help="Why it runs; kept in the ledger and shown to reviewers.",
)
@as_json_option
@example("lifecycle update house-prices")
def update(system: str, as_of: str | None, trigger: str, as_json: bool) -> None:
    """Retrain on recent data and promote if it is not worse than the champion on identical rows."""
    run_flow("update", as_json, system=system, as_of=moment(as_of), trigger=trigger)


@click.command()
@system_argument
@click.option("--reason", default="", help="Why; kept in the ledger for good, so name no person.")
@click.option("--version", help="Roll back only if this version is live: asking twice rolls back once.")
@as_json_option
@example('lifecycle rollback house-prices --reason "complaints since noon"')
def rollback(system: str, reason: str, version: str | None, as_json: bool) -> None:
    """Make live what was live before; it is verified and loaded first."""
    run_flow("rollback", as_json, system=system, reason=reason, version=version)


def run_flow(name: str, as_json: bool, **arguments: Any) -> None:
    """Start an installed flow by its name, show its progress, and end with its exit code."""
    result: FlowResult = start_flow(name, **arguments)
    from lifecycle.steps.summary import as_text

    show(result.model_dump(mode="json"), as_text(result), as_json)
    sys.exit({"skipped": EXIT_SKIPPED, "held": EXIT_HELD}.get(result.status, 0))


def start_flow(name: str, **arguments: Any) -> Any:
    """Start an installed flow by its name and show its progress; its result.

    It runs through the Prefect server of ``lifecycle up`` (or of ``PREFECT_API_URL``), and in this process
    alone where there is none.

    Raises:
        ConfigError: The system is not in ``params.yaml``, or no flows are installed.
    """
    from lifecycle.core.params import load_params
    from lifecycle.core.settings import quiet_environment
    from lifecycle.wiring import addresses

    settings = settings_now()
    load_params(settings.project).system(arguments["system"])
    os.environ.update(quiet_environment(settings) | {"PREFECT_LOGGING_LEVEL": "CRITICAL"})
    if server := addresses(settings).get("prefect"):
        os.environ["PREFECT_API_URL"] = f"{server}/api"
    show_progress()
    found = entry_points(group="lifecycle.flows", name=name)
    if not found:
        raise ConfigError(f"no flow {name!r} is installed", hint='pip install "lifecycle[flows]"')
    return next(iter(found)).load()(**arguments)


def show_progress() -> None:
    """Steps and warnings go to stderr, so that stdout holds the result alone."""
    log = logging.getLogger("lifecycle")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("  %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
