"""The verb that opens sealed files."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lifecycle.cli.base import as_json_option, example, settings_now, show, system_argument


@click.command("open")
@system_argument
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--purpose", required=True, metavar="PURPOSE", help="What for: one that the policy allows this actor."
)
@click.option(
    "--columns",
    default="",
    metavar="NAMES",
    help="Which columns, separated by commas. Without it, it says which there are, in which access groups.",
)
@click.option(
    "--output",
    required=True,
    metavar="FILE",
    help="A new file, .csv or .parquet, that only this user can read; - is standard output, as CSV.",
)
@as_json_option
@example(
    "lifecycle records open patient-outcome scores/2026-01 --purpose care "
    "--columns record_id,prediction --output night.csv"
)
def open_verb(system: str, path: Path, purpose: str, columns: str, output: str, as_json: bool) -> None:
    """Open sealed scores, or any sealed folder, for a purpose that the policy allows.

    PATH is a folder with sealed files and their manifest, or one file in such a folder. Who opens what for
    which purpose is on the audit trail before anything is opened, and so is who was denied. Rows of people
    who were erased are left out and counted.

    What is written is in clear, and out of reach of a later erasure: see who can read it, and remove it.
    """
    from lifecycle.wiring import open_sealed

    names = [name for name in columns.split(",") if name]
    plain = output == "-"
    target = sys.stdout.buffer if plain else Path(output)
    done = open_sealed(settings_now(), system, path, names, purpose, target)
    text = f"{done.rows:,} rows for {done.purpose}" + ("" if plain else f" in {output}, in clear")
    if done.erased:
        text += f"; {done.erased:,} rows of erased people left out"
    if plain:
        sys.stdout.buffer.flush()
        click.echo(done.model_dump_json() if as_json else text, err=True)
    else:
        show(done.model_dump(mode="json"), text, as_json)
