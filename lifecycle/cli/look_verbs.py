"""Verbs that look and change nothing."""

from __future__ import annotations

import json
import sys

import click

from lifecycle.cli.base import (
    EXIT_UNHEALTHY,
    as_json_option,
    example,
    moment,
    settings_now,
    show,
    system_argument,
)

EXIT_DIFFERS = 4


@click.command()
@system_argument
@click.option("--at", metavar="TIME", help="Only what was live at that time, and why (ISO 8601).")
@as_json_option
@example("lifecycle history house-prices --at 2026-01-31T12:00")
def history(system: str, at: str | None, as_json: bool) -> None:
    """What was decided, when, by whom and why."""
    from lifecycle.core.params import load_params
    from lifecycle.rollout.decisions import standing
    from lifecycle.wiring import open_ledger

    settings = settings_now()
    load_params(settings.project).system(system)
    rows = list(open_ledger(settings).history(system, moment(at)))
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
            f"{row.id:>4}  {row.decided_at:%Y-%m-%d %H:%M:%S}  {row.decision:<16}  "
            f"version {row.version:<3} {row.release.digest[:12]}  by {row.actor}"
            + (f", trigger: {row.trigger}" if row.trigger else "")
        )
        if reason := row.evidence.get("reason"):
            click.echo(f"      {reason}")


@click.command()
@system_argument
@click.argument("version")
@as_json_option
@example("lifecycle reproduce house-prices 2")
def reproduce(system: str, version: str, as_json: bool) -> None:
    """Retrain a version from its commit in a clean folder, and prove that it answers the same."""
    from lifecycle.wiring import reproduce as run

    proof = run(settings_now(), system, version)
    show(proof.model_dump(mode="json"), proof.said, as_json)
    if not proof.same:
        sys.exit(EXIT_DIFFERS)


@click.command()
@as_json_option
@example("lifecycle doctor")
def doctor(as_json: bool) -> None:
    """Check this machine and project, and say what to mend."""
    from lifecycle.doctor import examine

    findings = examine(settings_now())
    if as_json:
        click.echo(json.dumps([finding.model_dump() for finding in findings]))
    else:
        for finding in findings:
            click.secho("✓ " if finding.ok else "✗ ", fg="green" if finding.ok else "red", nl=False)
            click.echo(f"{finding.name}: {finding.detail}")
            if finding.hint:
                click.echo(f"    → {finding.hint}")
    if not all(finding.ok for finding in findings):
        sys.exit(EXIT_UNHEALTHY)
