"""Verbs for consent: what people agreed to, since when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lifecycle.cli.base import Verbs, as_json_option, example, moment, settings_now, show, system_argument
from lifecycle.cli.records.base import about_a_person, open_office, ref_argument, subject_of, trained_on
from lifecycle.core.purposes import CONSENTED, TRAINING

if TYPE_CHECKING:
    from lifecycle.core.erasure import AffectedVersion

purpose_option = click.option(
    "--purpose", type=click.Choice(CONSENTED), required=True, help="What the records may be used for."
)
since_option = click.option(
    "--since", metavar="TIME", help="From when on it holds (ISO 8601; default: now); may lie in the past."
)


@click.group(cls=Verbs)
def consent() -> None:
    """What people agreed to. Statements are added, never changed; the one that holds last counts."""


@consent.command("grant")
@system_argument
@ref_argument
@purpose_option
@since_option
@as_json_option
@example("lifecycle records consent grant patient-outcome --purpose training < identifier.txt")
@about_a_person
def consent_grant(system: str, ref: str | None, purpose: str, since: str | None, as_json: bool) -> None:
    """Record that a person allows a purpose from a moment on."""
    _record(system, ref, purpose, since, as_json, granted=True)


@consent.command("withdraw")
@system_argument
@ref_argument
@purpose_option
@since_option
@as_json_option
@example("lifecycle records consent withdraw patient-outcome --purpose scoring < identifier.txt")
@about_a_person
def consent_withdraw(system: str, ref: str | None, purpose: str, since: str | None, as_json: bool) -> None:
    """Record that a person allows a purpose no longer: the next snapshot leaves their records out.

    A model keeps what it learnt. For the purpose training, the versions that were trained on the person are
    listed, with the command that trains one without them.
    """
    _record(system, ref, purpose, since, as_json, granted=False)


@consent.command("history")
@system_argument
@ref_argument
@as_json_option
@example("lifecycle records consent history patient-outcome 3f0c2a9e51b84d7793a1c06e2f4d8b15")
@about_a_person
def consent_history(system: str, ref: str | None, as_json: bool) -> None:
    """Every statement of a person, in the order it was recorded."""
    office = open_office()
    said = office.consent.history(subject_of(office, system, ref, shown=True))
    told = [
        {
            "purpose": it.purpose,
            "granted": it.granted,
            "since": it.since.isoformat(),
            "recorded_at": it.recorded_at.isoformat(),
        }
        for it in said
    ]
    lines = [
        f"{it.purpose:<10} {'granted' if it.granted else 'withdrawn':<10} since {it.since:%Y-%m-%d %H:%M}, "
        f"recorded {it.recorded_at:%Y-%m-%d %H:%M}"
        for it in said
    ]
    show(told, "\n".join(lines) or "nothing was said", as_json)


def _record(
    system: str, ref: str | None, purpose: str, since: str | None, as_json: bool, *, granted: bool
) -> None:
    office = open_office()
    holds = moment(since) or office.table.clock.now()
    subject = subject_of(office, system, ref)
    word = "granted" if granted else "withdrawn"
    office.admit("consent", system, refs=(subject,), detail=f"{purpose} {word}")
    record = office.consent.grant if granted else office.consent.withdraw
    record([subject], purpose, holds)
    told = {"ref": subject.hex(), "purpose": purpose, "granted": granted, "since": holds.isoformat()}
    said = f"{subject.hex()}: {purpose} {word} since {holds:%Y-%m-%d %H:%M} UTC"
    if granted or purpose != TRAINING:
        show(told, said, as_json)
        return
    if not as_json:
        click.echo(said)  # before anything is looked through: it holds, whatever becomes of that
    versions = _trained_on(system, subject)
    show(told | {"versions": [it.model_dump() for it in versions]}, _as_text(system, versions), as_json)


def _trained_on(system: str, subject: bytes) -> tuple[AffectedVersion, ...]:
    from lifecycle.wiring import open_lineage

    return open_lineage(settings_now(), system).of(subject)


def _as_text(system: str, versions: tuple[AffectedVersion, ...]) -> str:
    lines = [trained_on(versions)]
    if any(version.live for version in versions):
        lines.append(f"  train one without them: lifecycle update {system} --trigger withdrawal")
    return "\n".join(lines)
