"""The verb that scores files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lifecycle.cli.base import (
    EXIT_HELD,
    as_json_option,
    as_of_option,
    example,
    moment,
    show,
    system_argument,
)
from lifecycle.cli.flow_verbs import start_flow
from lifecycle.core.errors import ConfigError

if TYPE_CHECKING:
    from lifecycle.core.scoring import ScoreResult

CHUNK_ROWS = 100_000


@click.command()
@system_argument
@click.option(
    "--input",
    "inputs",
    multiple=True,
    required=True,
    metavar="FILES",
    help="A file or a glob in quotes: CSV, Parquet or Arrow IPC; {as_of} in it stands for the date. May be "
    "given several times.",
)
@click.option(
    "--output", required=True, metavar="DIR", help="The folder to publish; {as_of} in it stands for the date."
)
@click.option("--version", help="The version that answers (default: the live one).")
@click.option("--release", metavar="DIGEST", help="The release that answers; its first digits will do.")
@click.option(
    "--like-source",
    type=click.IntRange(1),
    metavar="N",
    help="Read columns and dates as the N-th source in params.yaml is read.",
)
@click.option(
    "--column", "columns", multiple=True, metavar="FIELD=COLUMN", help="Where a field of the record stands."
)
@click.option(
    "--format", "formats", multiple=True, metavar="FIELD=FORMAT", help="How a date is written (strptime)."
)
@click.option("--chunk-rows", type=click.IntRange(1), default=CHUNK_ROWS, show_default=True)
@click.option(
    "--max-bad-share",
    type=click.FloatRange(0, 1),
    help="Share of refused rows above which nothing is published (default: as in params.yaml).",
)
@click.option(
    "--threads", type=click.IntRange(1), default=1, show_default=True, help="Chunks answered at a time."
)
@click.option(
    "--accept", default="", metavar="REASON", help="Publish whatever the checks say; it is recorded."
)
@click.option("--restart", is_flag=True, help="Drop the finished chunks of another, unfinished job.")
@as_of_option
@as_json_option
@example('lifecycle score house-prices --input "new/*.parquet" --output scores/2026-01')
def score(
    system: str,
    inputs: tuple[str, ...],
    output: str,
    columns: tuple[str, ...],
    formats: tuple[str, ...],
    as_of: str | None,
    as_json: bool,
    **options: object,
) -> None:
    """Score files with the live release, check the whole batch, and publish all of it or nothing.

    Run the same command again after a crash: chunks that are finished are kept. Once the output is published,
    running it again does nothing.
    """
    from lifecycle.cli.progress import progress_bar
    from lifecycle.core.scoring import ScoreRequest
    from lifecycle.steps.score_summary import as_text

    here = Path.cwd()
    request = ScoreRequest.of(
        inputs=[str(here / pattern) for pattern in inputs],
        output=str(here / output),
        columns=_pairs("--column", columns),
        formats=_pairs("--format", formats),
        **options,
    )
    with progress_bar():
        result: ScoreResult = start_flow("score-batch", system=system, request=request, as_of=moment(as_of))
    show(result.model_dump(mode="json"), as_text(result), as_json)
    if result.status == "held":
        sys.exit(EXIT_HELD)


def _pairs(option: str, words: tuple[str, ...]) -> dict[str, str]:
    for word in words:
        if "=" not in word:
            raise ConfigError(f"{option} {word!r} is not FIELD=VALUE", hint=f"for example: {option} area=TLA")
    return {name: value for name, _, value in (word.partition("=") for word in words)}
