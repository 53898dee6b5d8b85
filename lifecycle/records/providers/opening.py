"""From a setting to a key provider."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from lifecycle.core.errors import ConfigError
from lifecycle.records.providers.environment import EnvironmentKey
from lifecycle.records.providers.local_file import LocalKeyFile
from lifecycle.records.providers.port import KeyProvider
from lifecycle.records.providers.vault import VaultTransit

_HINT = "write file:///path/kek.json, env:VARIABLE, or vault+https://host:8200/transit/KEY"


def open_provider(address: str) -> KeyProvider:
    """The provider of an address; nothing is connected to yet.

    Args:
        address: ``file:///path``; ``env:VARIABLE`` (development); ``vault+https://host:port/mount/key``,
            whose token is in the variable ``VAULT_TOKEN`` or the file that ``VAULT_TOKEN_FILE`` names.

    Raises:
        ConfigError: The address is none of these.
    """
    kind, _, place = address.partition(":")
    if kind == "file" and place.startswith("///"):
        return LocalKeyFile(Path(place[2:]))
    if kind == "env" and place.isidentifier():
        return EnvironmentKey(place)
    if kind in ("vault+https", "vault+http"):
        parts = urlsplit(address.removeprefix("vault+"))
        mount, _, key = parts.path.strip("/").rpartition("/")
        if mount and key:
            return VaultTransit(f"{parts.scheme}://{parts.netloc}", key, _vault_token, mount=mount)
    raise ConfigError("the address of the key provider is not one that we know", hint=_HINT)


def _vault_token() -> str:
    if file := os.environ.get("VAULT_TOKEN_FILE"):
        try:
            return Path(file).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            raise ConfigError(f"VAULT_TOKEN_FILE cannot be read: {file}", hint="see who owns it") from None
    if token := os.environ.get("VAULT_TOKEN"):
        return token
    raise ConfigError("there is no token for Vault", hint="set VAULT_TOKEN_FILE or VAULT_TOKEN")
