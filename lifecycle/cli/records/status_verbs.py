"""Verbs that look: how the keys stand, and which ref a person has."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from lifecycle.cli.base import Verbs, as_json_option, example, show, system_argument
from lifecycle.cli.records.base import ask_identifier, open_office, subject_of

if TYPE_CHECKING:
    from lifecycle.records.status import KeyStatus


@click.command()
@as_json_option
@example("lifecycle records status")
def status(as_json: bool) -> None:
    """How many subjects are under which keys, who was erased, and where the audit trail is.

    Shows counts and versions. Of erasures that are not finished, or have no receipt, it shows the refs.
    """
    office = open_office()
    found = office.status()
    waiting = [ref.hex() for ref in office.without_receipt()]
    show(asdict(found) | {"without_receipt": waiting}, _as_text(found, waiting), as_json)


def _as_text(found: KeyStatus, waiting: list[str]) -> str:
    erased = sum(found.tombstones.values())
    lines = [
        f"{found.subjects:,} subjects, {erased:,} erased; {found.refused:,} identifiers may not come back",
        f"key encryption key: versions {', '.join(map(str, found.kek_versions)) or 'none'}",
    ]
    for key in found.keys:
        held = f"{key.subject_keys:,} subject keys" if key.purpose.startswith("subjects/") else ""
        lines.append(
            f"  {key.version:>3}  {key.state:<9}  {key.purpose:<40} "
            f"by version {key.kek_version}  {held}".rstrip()
        )
    head = f", head {found.audit_head}" if found.audit_head else ""
    lines.append(f"audit trail: {found.audit_entries:,} entries{head}")
    if waiting:
        lines.append("erasures without a receipt: run `lifecycle records erase SYSTEM REF` for")
        lines += [f"  {ref}" for ref in waiting]
    return "\n".join(lines)


@click.group(cls=Verbs)
def subjects() -> None:
    """The people behind sealed records."""


@subjects.command("find")
@system_argument
@as_json_option
@example("lifecycle records subjects find patient-outcome < identifier.txt")
def subjects_find(system: str, as_json: bool) -> None:
    """The ref of a person.

    The identifier is asked for without showing it, or read as one line from standard input: never as an
    argument, for every user of this machine sees the arguments of a process, and the shell keeps them in its
    history. That it was looked up is on the audit trail.
    """
    office = open_office()
    ref = subject_of(office, system, None)
    show({"ref": ref.hex()}, ref.hex(), as_json)


@subjects.command("register")
@system_argument
@click.option("--again", is_flag=True, help="They were erased, and want to come back: as a new person.")
@as_json_option
@example("lifecycle records subjects register patient-outcome --again < identifier.txt")
def subjects_register(system: str, again: bool, as_json: bool) -> None:
    """Give a person a ref and a key, before their first record comes; one who has them keeps them.

    Whoever was erased is refused, unless --again says that they themselves want to come back. What was erased
    stays erased, and their earlier consent says nothing: record it anew.

    The identifier is asked for as by `lifecycle records subjects find`.
    """
    ref = open_office().register(system, ask_identifier(), again=again)
    show({"ref": ref.hex()}, ref.hex(), as_json)
