"""Verbs for the audit trail: who read whose records, when and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lifecycle.cli.base import Verbs, as_json_option, example, show, system_argument
from lifecycle.cli.records.base import about_a_person, open_office, ref_argument, subject_of


@click.group(cls=Verbs)
def audit() -> None:
    """The trail of reads and acts: hash-chained, signed every hundred entries, no value of a record in it."""


@audit.command("verify")
@click.option(
    "--head", default="", metavar="DIGEST", help="An entry that must be in it: of an earlier export."
)
@as_json_option
@example("lifecycle records audit verify")
def audit_verify(head: str, as_json: bool) -> None:
    """Go through the whole trail: no entry was changed, and none but the last can be missing.

    Whoever can write to the database can cut off what came after the last signature, or put back an old copy
    of all of it. --head with a digest that was kept elsewhere finds that too.
    """
    found = open_office().trail.verify(head)
    value = {"entries": found.entries, "unsigned": found.unsigned, "head": found.head}
    text = (
        f"{found.entries:,} entries in order, the last {found.unsigned:,} not yet signed; head {found.head}"
    )
    show(value, text, as_json)


@audit.command("who")
@system_argument
@ref_argument
@as_json_option
@example("lifecycle records audit who patient-outcome < identifier.txt")
@about_a_person
def audit_who(system: str, ref: str | None, as_json: bool) -> None:
    """Who read a person's records, who did what about them, when and why, and who was denied."""
    office = open_office()
    entries = list(office.trail.who(subject_of(office, system, ref, shown=True)))
    show(entries, "\n".join(map(_line, entries)) or "nobody", as_json)


@audit.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@as_json_option
@example("lifecycle records audit export audit-2026-11.jsonl")
def audit_export(file: Path, as_json: bool) -> None:
    """Sign the trail as it is now, and write it to FILE as JSON lines.

    Keep FILE, or at least the head that is printed, where those who can write to the database cannot:
    `lifecycle records audit verify --head DIGEST` then shows that nothing before it was cut off or replaced.
    """
    from lifecycle.wiring.records import export_audit

    entries, head = export_audit(open_office(), file)
    value = {"file": str(file), "entries": entries, "head": head}
    show(value, f"{entries:,} entries written to {file}; head {head}", as_json)


def _line(entry: dict[str, Any]) -> str:
    what = entry.get("act") or ", ".join(entry["columns"]) or ", ".join(entry["groups"]) or "-"
    if detail := entry.get("detail"):
        what += f" ({detail})"
    ended = f"{entry['dataset']}: {what}"
    if entry["denied"]:
        ended += f"; denied: {entry['denied']}"
    return f"{entry['at'][:19]}  {entry['actor']:<20} {entry['purpose']:<14} {ended}"
