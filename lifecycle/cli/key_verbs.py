"""Verbs for API keys: who may ask the prediction service what."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from lifecycle.cli.base import Verbs, as_json_option, example, settings_now, show

if TYPE_CHECKING:
    from datetime import datetime

    from lifecycle.serving.key_file import Key


@click.group(cls=Verbs)
def keys() -> None:
    """API keys of the prediction service; only their hashes are kept."""


@keys.command("add")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    default=("predict",),
    show_default=True,
    help="predict, outcomes, admin or records; may be given several times.",
)
@click.option(
    "--system", "systems", multiple=True, help="Only for this system (default: all); may be repeated."
)
@as_json_option
@example("lifecycle keys add web-shop --scope predict --scope outcomes --system house-prices")
def keys_add(name: str, scopes: tuple[str, ...], systems: tuple[str, ...], as_json: bool) -> None:
    """Issue a key to NAME; it is shown this once."""
    from lifecycle.wiring import open_keys

    text = open_keys(settings_now()).issue(name, scopes, systems, _now())
    show({"name": name, "key": text}, text, as_json)


@keys.command("list")
@as_json_option
@example("lifecycle keys list")
def keys_list(as_json: bool) -> None:
    """Every key that was issued, and until when it is in force."""
    from lifecycle.wiring import open_keys

    issued = open_keys(settings_now()).read()
    if as_json:
        show([_told(key) for key in issued], "", as_json)
        return
    if not issued:
        click.echo("no keys: everybody on this machine may ask, and nobody else")
    for key in issued:
        ends = f"until {key.ends:%Y-%m-%d %H:%M}" if key.ends else "in force"
        if key.ends and key.ends <= _now():
            ends = f"ended {key.ends:%Y-%m-%d %H:%M}"
        click.echo(f"{key.id}  {key.name:<20} {','.join(key.scopes):<24} {','.join(key.systems):<20} {ends}")


@keys.command("rotate")
@click.argument("key_id", metavar="ID")
@click.option(
    "--overlap-hours",
    type=float,
    default=24.0,
    show_default=True,
    help="How long the old key stays in force.",
)
@as_json_option
@example("lifecycle keys rotate 1f8e0c2a --overlap-hours 48")
def keys_rotate(key_id: str, overlap_hours: float, as_json: bool) -> None:
    """Issue the successor of a key; both are in force for a while."""
    from lifecycle.wiring import open_keys

    text = open_keys(settings_now()).rotate(key_id, timedelta(hours=overlap_hours), _now())
    show({"replaces": key_id, "key": text}, text, as_json)


@keys.command("revoke")
@click.argument("key_id", metavar="ID")
@as_json_option
@example("lifecycle keys revoke 1f8e0c2a")
def keys_revoke(key_id: str, as_json: bool) -> None:
    """End a key at once."""
    from lifecycle.wiring import open_keys

    open_keys(settings_now()).revoke(key_id, _now())
    show({"revoked": key_id}, f"{key_id} is refused from now on", as_json)


def _told(key: Key) -> dict[str, Any]:
    return key.model_dump(mode="json", exclude={"digest"})


def _now() -> datetime:
    from lifecycle.core.clock import SystemClock

    return SystemClock().now()
