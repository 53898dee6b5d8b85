"""Verbs that erase a person, and check the receipt of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lifecycle.cli.base import as_json_option, example, settings_now, show, system_argument
from lifecycle.cli.flow_verbs import start_flow
from lifecycle.cli.records.base import about_a_person, open_office, ref_argument, subject_of, trained_on
from lifecycle.core.errors import ConfigError

if TYPE_CHECKING:
    from lifecycle.core.erasure import Receipt


@click.command()
@system_argument
@ref_argument
@click.option("--yes", is_flag=True, help="Do not ask whether it is meant.")
@as_json_option
@example("lifecycle records erase patient-outcome --yes < identifier.txt")
@about_a_person
def erase(system: str, ref: str | None, yes: bool, as_json: bool) -> None:
    """Destroy a person's keys, prove what that means, and write a signed receipt. It cannot be undone.

    Nobody can open their rows any more, in any snapshot, remote, log or batch result, whatever its age; rows
    of others stay as they are. The models that were trained on them are listed, and an update without them is
    queued. If it is interrupted, run it again with the REF that it prints: it finishes what was begun.
    """
    office = open_office()
    subject = subject_of(office, system, ref)
    click.echo(f"subject {subject.hex()}", err=True)
    if not yes:
        if ref is None and not sys.stdin.isatty():
            raise ConfigError("nobody can be asked whether it is meant", hint="add --yes")
        click.confirm(f"destroy the keys of this person in {system}, for good?", abort=True, err=True)
    written: Receipt = start_flow("erase-subject", system=system, ref=subject.hex())
    from lifecycle.steps.erase import receipt_file

    path = receipt_file(settings_now().receipts, system, subject)
    show(written.model_dump(mode="json"), _as_text(written, path), as_json)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@as_json_option
@example(
    "lifecycle records receipt .lifecycle/receipts/patient-outcome/3f0c2a9e51b84d7793a1c06e2f4d8b15.json"
)
def receipt(file: Path, as_json: bool) -> None:
    """Check the signature of a receipt, and say what it says.

    FILE is the receipt's JSON; its signature lies beside it as FILE.sig. The keys that are trusted are those
    of this installation, and those whose .pub was copied into its keys/trusted.
    """
    from lifecycle.steps.erase import read_receipt

    found = read_receipt(file, open_office().receipt_signer)
    show(found.model_dump(mode="json"), _as_text(found, file), as_json)


def _as_text(receipt: Receipt, path: Path) -> str:
    lines = [
        f"subject {receipt.ref} of {receipt.system}: keys destroyed {receipt.erased_at:%Y-%m-%d %H:%M:%S} UTC"
    ]
    for place in receipt.proof.places:
        if not place.scanned:
            lines.append(f"  {place.place}: not looked through; the keys are gone for it too")
            if place.reason:
                lines.append(f"    {place.reason}")
            continue
        lines.append(
            f"  {place.place}: {place.lost:,} rows lost for good in {len(place.held):,} of "
            f"{place.sealed:,} sealed files, {place.others:,} rows of others stay"
        )
        if place.unreadable:
            lines.append(f"    {len(place.unreadable):,} files could not be read as a whole")
    if receipt.proof.waiting:
        lines.append(
            f"  prediction log: {receipt.proof.waiting:,} segments wait for compaction, which leaves them "
            f"out: lifecycle log compact {receipt.system}"
        )
    lines.append(trained_on(receipt.versions))
    lines.append(f"  update: {receipt.update.status}, {receipt.update.detail}")
    lines.append(f"  receipt: {path}, to be read: {path.with_suffix('.html')}")
    return "\n".join(lines)
