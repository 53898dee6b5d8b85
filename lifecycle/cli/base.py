"""What all verbs share: errors, exit codes, examples and the ``--json`` switch."""

from __future__ import annotations

import json
from collections.abc import Callable
from inspect import cleandoc
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lifecycle import __version__
from lifecycle.core.errors import ConfigError, LifecycleError

if TYPE_CHECKING:
    from datetime import datetime

    from lifecycle.core.settings import Settings

_SERVING = "cryptography fastapi fsspec onnxruntime uvicorn"
_FLOWS = "dvc httpx jinja2 matplotlib mlflow onnx polars prefect psutil sklearn skl2onnx skops supervisor"
_EXTRAS = {
    **dict.fromkeys(_SERVING.split(), "serving"),
    **dict.fromkeys(_FLOWS.split(), "flows"),
    "psycopg": "postgres",
    "sqlalchemy": "flows",
}
"""Library -> the extra that brings it."""

EXIT_SKIPPED = 10
EXIT_HELD = 11
EXIT_UNHEALTHY = 12
_EXIT_CODES = """
\b
Exit codes
   0  done, or nothing new to do
   2  configuration or command line wrong      3  source or rows refused
   4  training failed, or answers differ       5  a digest or signature does not match
   6  the verb does not fit what is deployed   7  a disk or remote refuses to store
   8  a subject's key is missing or erased
  10  skipped: too little data                11  held: not promoted, or not published
  12  doctor, status or capacity: not well    75  try again later
  77  the access policy does not allow it
"""

Function = TypeVar("Function", bound=Callable[..., Any])


class Verbs(click.Group):
    """Verbs in the order of use, whose errors end with a message, a next step and an exit code."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """In the order they were added, which is the order a newcomer needs them."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except LifecycleError as error:
            click.secho(f"error: {error.message}", fg="red", err=True)
            if error.hint:
                click.echo(f"  → {error.hint}", err=True)
            ctx.exit(error.exit_code)
        except ModuleNotFoundError as error:
            library = (error.name or "").partition(".")[0]
            if library not in _EXTRAS:
                raise
            click.secho(f"error: {library} is not installed", fg="red", err=True)
            click.echo(f'  → pip install "lifecycle[{_EXTRAS[library]}]"', err=True)
            ctx.exit(ConfigError.exit_code)


@click.group(
    cls=Verbs,
    epilog=_EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="lifecycle")
def main() -> None:
    """Manage a machine-learning system from its first deployment through every later update."""


def example(text: str) -> Callable[[Function], Function]:
    """Add an example to a verb's help."""

    def decorate(function: Function) -> Function:
        function.__doc__ = f"{cleandoc(function.__doc__ or '')}\n\n\b\nExample\n  {text}\n"
        return function

    return decorate


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON value instead of text.")
system_argument = click.argument("system")
as_of_option = click.option(
    "--as-of", metavar="TIME", help="Only events and labels known by then exist (ISO 8601; default: now)."
)


def show(value: Any, text: str, as_json: bool) -> None:
    """Print a result: the value as JSON, or the text."""
    click.echo(json.dumps(value) if as_json else text)


def settings_now() -> Settings:
    """The settings of this shell and folder."""
    from lifecycle.core.settings import Settings

    return Settings()


def moment(text: str | None) -> datetime | None:
    """A time given on the command line."""
    from lifecycle.core.clock import parse_moment

    return parse_moment(text) if text else None
