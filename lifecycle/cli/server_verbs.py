"""Verbs for the servers of a project: Prefect, MLflow, the worker and the prediction service."""

from __future__ import annotations

import json
import sys

import click

from lifecycle.cli.base import EXIT_UNHEALTHY, as_json_option, example, settings_now, show


@click.command()
@click.option("--detach", is_flag=True, help="Return as soon as everything answers.")
@as_json_option
@example("lifecycle up --detach")
def up(detach: bool, as_json: bool) -> None:
    """Start Prefect server and worker, MLflow server and prediction service; Ctrl-C takes them down."""
    from lifecycle.supervise.services import default_services
    from lifecycle.supervise.up import up as bring_up

    settings = settings_now()
    listening = bring_up(
        settings,
        default_services(settings),
        detach=detach or as_json,
        echo=lambda line: click.echo(line, err=as_json),
    )
    if as_json:
        click.echo(json.dumps(listening))
    elif detach:
        click.echo(f"in another shell first: export PREFECT_API_URL={listening['prefect']}/api")


@click.command()
@as_json_option
@example("lifecycle status --json")
def status(as_json: bool) -> None:
    """What is up, where it listens, and how it is doing."""
    from lifecycle.supervise.status import as_text
    from lifecycle.supervise.status import status as look

    found = look(settings_now())
    show(found.model_dump(mode="json"), as_text(found), as_json)
    if not found.ok:
        sys.exit(EXIT_UNHEALTHY)


@click.command()
@as_json_option
@example("lifecycle down")
def down(as_json: bool) -> None:
    """Take everything down and leave nothing behind."""
    from lifecycle.supervise.down import down as take_down

    ended = take_down(settings_now())
    show({"ended": ended}, f"ended {ended} processes" if ended else "nothing was up", as_json)


@click.command()
@click.option("--port", type=int, help="0 takes a free one (default: LIFECYCLE_SERVING_PORT).")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    help="Processes that answer (default: LIFECYCLE_SERVING_WORKERS, which is 1).",
)
@click.option("--place", hidden=True, help="Given to a worker by its parent.")
@example("lifecycle serve --port 8000 --workers 2")
def serve(port: int | None, workers: int | None, place: str | None) -> None:
    """Run the prediction service alone, in the foreground.

    SIGTERM ends it once every request is answered; SIGHUP replaces its workers one after the other, if it has
    several.
    """
    from lifecycle.wiring import serve as run
    from lifecycle.wiring import work

    settings = settings_now()
    if place is not None:
        work(settings, place)
    else:
        run(settings, settings.serving_port if port is None else port, workers)
