"""What the verbs of sealed records share: how a subject is named."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from inspect import cleandoc
from typing import TYPE_CHECKING

import click

from lifecycle.cli.base import Function, Verbs, settings_now
from lifecycle.core.errors import ConfigError, ErasedError, KeyMissingError

if TYPE_CHECKING:
    from lifecycle.core.erasure import AffectedVersion
    from lifecycle.wiring import Office

_WHO = """
A person is named by their REF (32 hex digits). Without one, the identifier is asked for without showing it,
or read as one line from standard input: never as an argument, for every user of this machine sees the
arguments of a process, and the shell keeps them in its history.
"""

ref_argument = click.argument("ref", required=False)


@click.group(cls=Verbs)
def records() -> None:
    """Sealed records: opening, subjects and their keys, consent, erasure, rotation, the audit trail."""


def open_office() -> Office:
    """The office of this shell and folder."""
    from lifecycle.wiring import open_office as office

    return office(settings_now())


def subject_of(office: Office, system: str, ref: str | None, *, shown: bool = False) -> bytes:
    """The subject that is meant: by ref, or by the identifier that is asked for.

    Who may not look people up learns nothing by their identifier, not even whether there is such a person;
    and whoever tries is on the audit trail, found or not.

    Args:
        office: Of this project.
        system: The system.
        ref: The ref; None: an identifier is asked for.
        shown: What is known about them is going to be shown: that is a look-up by the ref, too.

    Raises:
        AccessDeniedError: The policy does not let this actor look people up.
        ConfigError: The ref is none, no identifier was given, or there is no such system.
        ErasedError: The identifier belongs to somebody who was erased: no ref leads from it any more.
        KeyMissingError: Nobody has this identifier.
    """
    if ref is not None:
        from lifecycle.wiring import parse_ref

        subject = parse_ref(ref)
        if shown:
            office.admit("look-up", system, refs=(subject,))
        return subject
    people = office.people(system)
    identifier = ask_identifier()
    [found] = people.find([identifier])
    office.admit("look-up", system, refs=(found,) if found is not None else ())
    if found is not None:
        return found
    if people.erased([identifier]) == [True]:
        raise ErasedError(
            f"the subject of {system} with this identifier was erased",
            hint="what was written down of it is in their receipt; refs: lifecycle records status",
        )
    raise KeyMissingError(
        f"{system} knows no subject with this identifier",
        hint="two spellings are two subjects: see that it is written as in the source",
    )


def ask_identifier() -> str:
    """An identifier from standard input, or from a prompt that does not show it.

    Raises:
        ConfigError: There was none.
    """
    if sys.stdin.isatty():
        text = click.prompt("identifier", hide_input=True, err=True, default="", show_default=False)
    else:
        text = sys.stdin.readline()
    if not (text := text.strip()):
        raise ConfigError("no identifier was given", hint="type it, or send it: ... < FILE")
    return str(text)


def trained_on(versions: Sequence[AffectedVersion]) -> str:
    """A line that lists the versions that were trained on a person."""
    named = (
        version.version + " (live)" * version.live + " (not known)" * (not version.snapshot)
        for version in versions
    )
    return f"  models trained on them: {', '.join(named) or 'none'}"


def about_a_person(function: Function) -> Function:
    """Say in a verb's help how a person is named."""
    function.__doc__ = f"{cleandoc(function.__doc__ or '')}\n{_WHO}"
    return function
