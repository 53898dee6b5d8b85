"""Verbs that replace keys while everything goes on."""

from __future__ import annotations

import click

from lifecycle.cli.base import Verbs, as_json_option, example, show, system_argument
from lifecycle.cli.progress import progress_bar
from lifecycle.cli.records.base import open_office


@click.group(cls=Verbs)
def rotate() -> None:
    """Replace keys while everything goes on: the KEK, table keys, subject keys, index keys.

    A rotation that is interrupted leaves everything readable; run it again, and it does the rest.
    """


@rotate.command("kek")
@click.option("--anew", is_flag=True, help="Begin a new one even if an interrupted one is finished by it.")
@as_json_option
@example("lifecycle records rotate kek")
def rotate_kek(anew: bool, as_json: bool) -> None:
    """Wrap every table key with a new version of the key encryption key.

    Takes a call to the key provider for each table key, of which there are few. The old version stays with
    the provider, and still opens backups of the key table: `lifecycle records shred` ends that.
    """
    from lifecycle.steps.rotate import told

    office = open_office()
    keys = [key for key in office.status().keys if key.state != "destroyed"]
    office.admit("rotate", detail="kek", count=len(keys))
    with progress_bar():
        version = office.rotation.rotate_kek(told("wrapping table keys"), anew=anew)
    show({"kek_version": version}, f"version {version} of the key encryption key wraps now", as_json)


@rotate.command("table")
@system_argument
@click.option("--anew", is_flag=True, help="Begin a new one even if an interrupted one is finished by it.")
@as_json_option
@example("lifecycle records rotate table patient-outcome")
def rotate_table(system: str, anew: bool, as_json: bool) -> None:
    """Wrap the keys of a system's subjects with a new table key, and destroy the old one.

    No record is sealed again: 100,000 subjects take seconds. Readers and writers go on.
    """
    from lifecycle.steps.rotate import told

    office = open_office()
    office.admit("rotate", system, detail="table", count=office.status().subject_keys(system))
    with progress_bar():
        moved = office.rotation.rotate_system(system, told("wrapping subject keys"), anew=anew)
    show({"subject_keys": moved}, f"{moved:,} subject keys wrapped anew", as_json)


@rotate.command("subjects")
@system_argument
@click.option("--to", type=click.IntRange(2, 65_535), help="Finish the interrupted run to this generation.")
@as_json_option
@example("lifecycle records rotate subjects patient-outcome")
def rotate_subjects(system: str, to: int | None, as_json: bool) -> None:
    """Give every subject of a system a new key, for what is sealed from now on.

    What is sealed already stays under the older keys, which are kept. The generation is printed first; if the
    run is interrupted, give it to --to, and only those who lack it get a key.
    """
    from lifecycle.steps.rotate import told

    office = open_office()
    renewal = office.renewal(system)
    generation = to or renewal.next_generation()
    count = office.status().subject_keys(system)
    office.admit("rotate", system, detail=f"subjects, to generation {generation}", count=count)
    click.echo(f"generation {generation}; if interrupted, run it again with --to {generation}", err=True)
    with progress_bar():
        renewed = renewal.run(generation, told("new subject keys"))
    value = {"generation": generation, "renewed": renewed}
    show(value, f"{renewed:,} subjects have a new key, up to generation {generation}", as_json)


@rotate.command("index")
@system_argument
@as_json_option
@example("lifecycle records rotate index patient-outcome")
def rotate_index(system: str, as_json: bool) -> None:
    """Make a new key for the blind index of a system's identifiers.

    New people are entered under it. Entries that are there cannot move, for identifiers are not kept: they
    are found by the older keys, which stay.
    """
    office = open_office()
    people = office.people(system)
    office.admit("rotate", system, detail="index", count=1)
    people.rotate_index()
    show({"system": system}, f"{system}: new identifiers are indexed under a new key", as_json)


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask whether it is meant.")
@as_json_option
@example("lifecycle records shred --yes")
def shred(yes: bool, as_json: bool) -> None:
    """Make every backup of the key table from before this moment dead: a shred epoch.

    All keys are wrapped anew, and the older versions of the key encryption key are destroyed. Until this is
    done, a backup still opens the records of people who were erased since. Take a new backup right after it:
    the old ones cannot be restored. If it is interrupted, run it again.

    Backups of the key encryption key itself are not reached; those are yours to destroy.
    """
    if not yes:
        click.confirm(
            "destroy all older key versions, and so all backups of the key table?", abort=True, err=True
        )
    from lifecycle.steps.rotate import told

    office = open_office()
    office.admit("shred", count=office.status().subjects)
    with progress_bar():
        office.rotation.shred(told("wrapping subject keys"))
    show({"shredded": True}, "older backups of the key table are dead: take a new one now", as_json)
