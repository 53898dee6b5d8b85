"""Verbs that make or fill a project's folder."""

from __future__ import annotations

from pathlib import Path

import click

from lifecycle.cli.base import Verbs, as_json_option, example, settings_now, show, system_argument


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--name", default="deliveries", show_default=True, help="The system's name.")
@as_json_option
@example("lifecycle init my-project --name late-parcels")
def init(directory: Path, name: str, as_json: bool) -> None:
    """Make a project of your own, with one documented example system that runs at once."""
    from lifecycle.scaffold.project import init as make

    made = make(directory, name, echo=lambda line: click.echo(line, err=True))
    show({"project": str(made)}, f"{made} is ready; its README.md says what to run next", as_json)


@click.group(cls=Verbs)
def data() -> None:
    """Snapshots of a system's data."""


@data.command("checkout")
@system_argument
@click.option("--at", metavar="SNAPSHOT", help="A snapshot's id or commit (default: the newest).")
@as_json_option
@example("lifecycle data checkout house-prices && dvc repro")
def data_checkout(system: str, at: str | None, as_json: bool) -> None:
    """Bring a snapshot into this checkout, so that `dvc repro` and `dvc exp run` work here."""
    from lifecycle.wiring import checkout_data

    snapshot = checkout_data(settings_now(), system, at)
    said = f"data/{system} is snapshot {snapshot[:12]}; now run: dvc repro"
    show({"system": system, "snapshot": snapshot}, said, as_json)


@click.command(hidden=True)
@click.argument("stage", type=click.Choice(["split", "train", "evaluate"]))
@system_argument
def stage(stage: str, system: str) -> None:
    """Run one DVC stage in this folder; `dvc repro` calls it."""
    from lifecycle.wiring import run_stage

    run_stage(settings_now(), Path.cwd(), stage, system)
