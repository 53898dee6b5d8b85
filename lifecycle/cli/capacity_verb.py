"""The verb that measures how much this machine can serve."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lifecycle.cli.base import EXIT_UNHEALTHY, as_json_option, example, settings_now, show, system_argument


@click.command()
@system_argument
@click.option(
    "--qps", type=click.FloatRange(0, min_open=True), required=True, help="Requests a second to serve."
)
@click.option("--p99", metavar="TIME", required=True, help="Bound on the 99th percentile: 300ms, 0.3s.")
@click.option(
    "--headroom",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.3,
    show_default=True,
    help="Share of each machine that is kept free.",
)
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="Serving processes to start."
)
@click.option("--release", metavar="DIGEST", help="Another release than the live one; its beginning will do.")
@click.option(
    "--url",
    "urls",
    multiple=True,
    help="Ask a running service instead, such as http://127.0.0.1:8000; may be repeated.",
)
@click.option(
    "--header", "headers", multiple=True, metavar="LINE", help="A header line for it; may be repeated."
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    help="Length of one load (default: 3, or ten times the bound).",
)
@click.option("--plot", type=click.Path(path_type=Path), help="Write the picture here: FILE.png or FILE.svg.")
@as_json_option
@example("lifecycle capacity house-prices --qps 1000 --p99 300ms --plot capacity.png")
def capacity(
    system: str,
    qps: float,
    p99: str,
    headroom: float,
    workers: int,
    release: str | None,
    urls: tuple[str, ...],
    headers: tuple[str, ...],
    seconds: float | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Measure the highest rate that keeps a latency, and how many such machines a rate asks for.

    Serving processes of the live release are started on this machine and asked open-loop: requests are sent
    when they are due, and a latency counts from then. It takes about a minute.
    """
    from lifecycle.core.clock import parse_duration
    from lifecycle.steps.capacity import Question
    from lifecycle.steps.capacity_text import as_text
    from lifecycle.wiring import capacity as find

    if plot:
        from lifecycle.evaluation.figures.capacity import require_picture, save_capacity

        require_picture(plot)
    question = Question(
        system=system,
        per_s=qps,
        budget=parse_duration(p99),
        headroom=headroom,
        seconds=seconds,
        workers=workers,
        release=release,
        urls=urls,
        headers=headers,
    )
    report = find(settings_now(), question, lambda line: click.echo(f"  {line}", err=True))
    if plot:
        save_capacity(report, plot)
    show(report.model_dump(mode="json") | {"machines": report.machines}, as_text(report), as_json)
    if report.machines is None:
        sys.exit(EXIT_UNHEALTHY)
