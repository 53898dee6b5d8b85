"""The command line: thin verbs over wiring and the installed flows."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lifecycle import __version__
from lifecycle.core.errors import ConfigError, LifecycleError

if TYPE_CHECKING:
    from datetime import datetime

    from lifecycle.core.settings import Settings
    from lifecycle.core.values import FlowResult

EXIT_SKIPPED = 10
EXIT_HELD = 11
EXIT_UNHEALTHY = 12
_EXIT_CODES = """
\b
Exit codes
   0  done: promoted, rolled back, or nothing new
   2  configuration or command line wrong      3  source or rows refused
   4  training failed                          5  a digest or signature does not match
   6  the verb does not fit what is deployed   7  a disk or remote refuses to store
  10  skipped: too little data                11  held: registered, not promoted
  12  doctor or status found a fault          75  try again later
"""

Command = TypeVar("Command", bound=Callable[..., Any])


class Verbs(click.Group):
    """Verbs that turn the project's own errors into a message, a next step and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except LifecycleError as error:
            click.secho(f"error: {error.message}", fg="red", err=True)
            if error.hint:
                click.echo(f"  → {error.hint}", err=True)
            ctx.exit(error.exit_code)


def example(text: str) -> Callable[[Command], Command]:
    """Add an example to a verb's help."""

    def decorate(command: Command) -> Command:
        command.__doc__ = f"{command.__doc__}\n\n\b\nExample\n  {text}\n"
        return command

    return decorate


as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON value instead of text.")
system_name = click.argument("system")
as_of_option = click.option(
    "--as-of", metavar="TIME", help="Only events and labels known by then exist (ISO 8601; default: now)."
)


@click.group(cls=Verbs, epilog=_EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lifecycle")
def main() -> None:
    """Manage a machine-learning system from its first deployment through every later update."""


@main.command("first-deployment")
@system_name
@as_of_option
@as_json
@example("lifecycle first-deployment house-prices --as-of 1996-01-01")
def first_deployment(system: str, as_of: str | None, as_json: bool) -> None:
    """Deploy a system for the first time: it must beat naive baselines and meet its requirements."""
    _run_flow("first-deployment", as_json, system=system, as_of=_moment(as_of))


@main.command()
@system_name
@as_of_option
@as_json
@example("lifecycle update house-prices")
def update(system: str, as_of: str | None, as_json: bool) -> None:
    """Retrain on recent data and promote if it is not worse than the champion on identical rows."""
    _run_flow("update", as_json, system=system, as_of=_moment(as_of))


@main.command()
@system_name
@click.option("--reason", default="", help="Why; kept in the ledger.")
@click.option("--version", help="Roll back only if this version is live: asking twice rolls back once.")
@as_json
@example('lifecycle rollback house-prices --reason "complaints since noon"')
def rollback(system: str, reason: str, version: str | None, as_json: bool) -> None:
    """Make live what was live before; it is verified and loaded first."""
    _run_flow("rollback", as_json, system=system, reason=reason, version=version)


@main.command()
@system_name
@click.option("--at", metavar="TIME", help="Only what was live at that time, and why (ISO 8601).")
@as_json
@example("lifecycle history house-prices --at 2026-01-31T12:00")
def history(system: str, at: str | None, as_json: bool) -> None:
    """What was decided, when, by whom and why."""
    from lifecycle.core.params import load_params
    from lifecycle.rollout.decisions import standing
    from lifecycle.wiring import open_ledger

    settings = _settings()
    load_params(settings.project).system(system)
    rows = list(open_ledger(settings).history(system, _moment(at)))
    if at:
        live, _ = standing(rows)
        rows = [live] if live else []
    if as_json:
        click.echo(json.dumps([row.model_dump(mode="json") for row in rows]))
        return
    if not rows:
        click.echo(f"nothing {'was' if at else 'is'} deployed for {system}")
    for row in rows:
        click.echo(
            f"{row.id:>4}  {row.decided_at:%Y-%m-%d %H:%M:%S}  {row.decision:<16} version {row.version:<4}"
            f"{row.release.digest[:12]}  by {row.actor}: {row.evidence.get('reason', '')}"
        )


@main.command()
@system_name
@click.argument("version")
@as_json
@example("lifecycle reproduce house-prices 2")
def reproduce(system: str, version: str, as_json: bool) -> None:
    """Retrain a version from its commit in a clean folder, and prove that it answers the same."""
    from lifecycle.wiring import reproduce as run

    proof = run(_settings(), system, version)
    _print(proof.model_dump(mode="json"), proof.said, as_json)
    if not proof.same:
        sys.exit(5)


@main.command()
@as_json
@example("lifecycle doctor")
def doctor(as_json: bool) -> None:
    """Check this machine and project, and say what to mend."""
    from lifecycle.doctor import examine

    findings = examine(_settings())
    if as_json:
        click.echo(json.dumps([finding.model_dump() for finding in findings]))
    else:
        for finding in findings:
            click.secho(f"{'✓' if finding.ok else '✗'} ", fg="green" if finding.ok else "red", nl=False)
            click.echo(
                f"{finding.name}: {finding.detail}" + (f"\n    → {finding.hint}" if finding.hint else "")
            )
    if not all(finding.ok for finding in findings):
        sys.exit(EXIT_UNHEALTHY)


@main.group()
def data() -> None:
    """Snapshots of a system's data."""


@data.command("checkout")
@system_name
@click.option("--at", metavar="SNAPSHOT", help="A snapshot's id or commit (default: the newest).")
@as_json
@example("lifecycle data checkout house-prices && dvc repro")
def data_checkout(system: str, at: str | None, as_json: bool) -> None:
    """Bring a snapshot into this checkout, so that `dvc repro` and `dvc exp run` work here."""
    from lifecycle.data.checkout import checkout_data

    snapshot = checkout_data(_settings(), system, at)
    said = f"data/{system} is snapshot {snapshot[:12]}; now run: dvc repro"
    _print({"system": system, "snapshot": snapshot}, said, as_json)


@main.command(hidden=True)
@click.argument("stage", type=click.Choice(["split", "train", "evaluate"]))
@system_name
def stage(stage: str, system: str) -> None:
    """Run one DVC stage in this folder; `dvc repro` calls it."""
    from lifecycle.wiring import run_stage

    run_stage(Path.cwd(), stage, system)


def _settings() -> Settings:
    from lifecycle.core.settings import Settings

    return Settings()


def _moment(text: str | None) -> datetime | None:
    from lifecycle.core.clock import parse_moment

    return parse_moment(text) if text else None


def _print(value: Any, text: str, as_json: bool) -> None:
    click.echo(json.dumps(value) if as_json else text)


def _run_flow(name: str, as_json: bool, **arguments: Any) -> None:
    """Start an installed flow by its name, show its progress, and end with its exit code."""
    from lifecycle.core.params import load_params
    from lifecycle.core.settings import quiet_environment

    settings = _settings()
    load_params(settings.project).system(arguments["system"])
    os.environ.update(quiet_environment(settings) | {"PREFECT_LOGGING_LEVEL": "ERROR"})
    _show_progress()
    found = entry_points(group="lifecycle.flows", name=name)
    if not found:
        raise ConfigError(f"no flow {name!r} is installed", hint='pip install "lifecycle[flows]"')
    result: FlowResult = next(iter(found)).load()(**arguments)
    from lifecycle.steps.summary import as_text

    _print(result.model_dump(mode="json"), as_text(result), as_json)
    sys.exit({"skipped": EXIT_SKIPPED, "held": EXIT_HELD}.get(result.status, 0))


def _show_progress() -> None:
    """Steps and warnings go to stderr, so that stdout holds the result alone."""
    log = logging.getLogger("lifecycle")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("  %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
