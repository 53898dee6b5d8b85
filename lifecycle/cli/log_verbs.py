"""Verbs for what servers have logged, and for what became true."""

from __future__ import annotations

from pathlib import Path

import click

from lifecycle.cli.base import Verbs, as_json_option, example, settings_now, show, system_argument
from lifecycle.cli.flow_verbs import start_flow
from lifecycle.core.errors import ConfigError


@click.group(cls=Verbs)
def log() -> None:
    """The prediction log of a system."""


@log.command("compact")
@system_argument
@as_json_option
@example("lifecycle log compact house-prices")
def log_compact(system: str, as_json: bool) -> None:
    """Make Parquet of the segments nobody writes any more, exactly once; delete what is too old."""
    done = start_flow("compact-log", system=system)
    said = f"{system}: {done.predictions:,} predictions and {done.outcomes:,} outcomes compacted"
    if done.deleted_days:
        said += f"; deleted by retention: {', '.join(done.deleted_days)}"
    show(done.model_dump(mode="json"), said, as_json)


@log.command("status")
@system_argument
@as_json_option
@example("lifecycle log status house-prices")
def log_status(system: str, as_json: bool) -> None:
    """What is compacted, what waits in segments, what was never logged."""
    from lifecycle.steps.log_status import as_text
    from lifecycle.wiring import log_status as look

    found = look(settings_now(), system)
    show(found.model_dump(mode="json"), as_text(found), as_json)


@click.group(cls=Verbs)
def outcomes() -> None:
    """What became true of predictions."""


@outcomes.command("import")
@system_argument
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--column", "columns", multiple=True, metavar="FIELD=COLUMN", help="Where a column is named else."
)
@click.option("--utc", is_flag=True, help="Times without an offset are UTC (otherwise they are refused).")
@click.option("--skip-bad", is_flag=True, help="Leave bad rows out; otherwise one bad row stores nothing.")
@as_json_option
@example("lifecycle outcomes import house-prices sold.csv --column record_id=sale --column value=price")
def outcomes_import(
    system: str, file: Path, columns: tuple[str, ...], utc: bool, skip_bad: bool, as_json: bool
) -> None:
    """Store outcomes from a CSV, Parquet or JSON lines file; the same file twice counts once.

    It has value, observed_at, and a prediction_id or a record_id; where records are sealed, also subject.
    """
    from lifecycle.wiring import import_outcomes

    mapping = dict(_pair(column) for column in columns)
    done = import_outcomes(settings_now(), system, file, mapping, utc=utc, skip_bad=skip_bad)
    said = f"{system}: {done.rows:,} outcomes stored"
    if done.before:
        said = f"{system}: this file was imported before; nothing to do"
    if done.left_out:
        said += f", {done.left_out:,} left out of people who were erased or allow no logging"
    if done.refused:
        said = "\n".join(
            [f"{said}, {done.refused:,} rows left out:", *(f"  {fault}" for fault in done.faults)]
        )
    show(done.model_dump(mode="json"), said, as_json)


@outcomes.command("status")
@system_argument
@as_json_option
@example("lifecycle outcomes status house-prices")
def outcomes_status(system: str, as_json: bool) -> None:
    """How many outcomes are matched, parked, corrected and repeated."""
    from lifecycle.wiring import outcome_counts

    it = outcome_counts(settings_now(), system)
    said = (
        f"{system}: outcomes of {it.ids:,} ids: {it.matched:,} matched, {it.parked:,} parked until their "
        f"prediction comes\n"
        f"  {it.received:,} received: {it.corrections:,} corrections, {it.repeated:,} repeated"
    )
    show(it.model_dump(mode="json"), said, as_json)


def _pair(text: str) -> tuple[str, str]:
    field, sign, column = text.partition("=")
    if not (field and sign and column):
        raise ConfigError(f"--column {text!r} is not FIELD=COLUMN", hint="write --column value=price")
    return field, column
