"""The key encryption key in HashiCorp Vault's (or OpenBao's) transit engine, which never gives it out."""

from __future__ import annotations

import base64
import http.client
import json
import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urlsplit

from lifecycle.core.errors import ConfigError, IntegrityError, KeyMissingError, StateError, UnavailableError
from lifecycle.records.providers.port import WrappedKey

_LONGEST_ANSWER = 1 << 20


class VaultTransit:
    """A key provider on Vault's HTTP API, with a key of the type ``aes256-gcm96``.

    The token needs, below ``transit/``: update on ``encrypt/KEY`` and ``decrypt/KEY``, and read on
    ``keys/KEY``; for rotation also update on ``keys/KEY`` and ``keys/KEY/rotate``; to destroy, update on
    ``keys/KEY/config`` and ``keys/KEY/trim``. What was trimmed lives on in backups of Vault itself.

    A key is unwrapped here and wrapped again when it moves to a new version: ``rewrap`` takes no
    associated data, which ties a wrapped key to its place.

    Args:
        address: Such as ``https://vault.example:8200``; plain HTTP only to this machine.
        key: Name of the transit key.
        token: Gives the token, asked at each call, so that a renewed one counts at once.
        mount: Where the engine is mounted.
        timeout: Longest wait for a connection and for each part of an answer, seconds.

    Raises:
        ConfigError: The address is no URL of that kind.
    """

    def __init__(
        self,
        address: str,
        key: str,
        token: Callable[[], str],
        *,
        mount: str = "transit",
        timeout: float = 5.0,
    ) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise ConfigError("Vault's address is not an https:// URL", hint="write https://host:8200")
        if parts.scheme == "http" and not _is_here(parts.hostname):
            raise ConfigError(
                f"Vault at {parts.hostname} would get its token over plain HTTP", hint="use https://"
            )
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port or 8200
        self._key, self._token, self._mount, self._timeout = key, token, mount, timeout

    def wrap(self, secret: bytes, context: bytes) -> WrappedKey:
        """Wrap a key with the newest version; see ``KeyProvider``."""
        if not self.versions():  # Vault would make a key that is not there
            raise self._lost()
        body = {"plaintext": _text(secret), "associated_data": _text(context)}
        ciphertext = self._ask("POST", f"encrypt/{self._name}", body)["ciphertext"]
        found = re.match(r"vault:v(\d+):", ciphertext)
        if found is None:
            raise UnavailableError(
                f"{self._place} gave no ciphertext", hint="see that Vault is of version 1.9+"
            )
        return WrappedKey(int(found[1]), ciphertext.encode())

    def unwrap(self, wrapped: WrappedKey, context: bytes) -> bytes:
        """The raw key; see ``KeyProvider``."""
        if wrapped.version not in self.versions():
            raise self._lost(wrapped.version)
        body = {"ciphertext": wrapped.blob.decode(), "associated_data": _text(context)}
        return base64.b64decode(self._ask("POST", f"decrypt/{self._name}", body)["plaintext"])

    def versions(self) -> tuple[int, ...]:
        """The versions that Vault still decrypts with."""
        try:
            facts = self._ask("GET", f"keys/{self._name}")
        except KeyMissingError:
            return ()
        oldest = max(facts.get("min_decryption_version", 1), facts.get("min_available_version", 0), 1)
        return tuple(range(oldest, facts["latest_version"] + 1))

    def rotate(self) -> int:
        """Let Vault make a new version, or the key if there is none."""
        if self.versions():
            self._ask("POST", f"keys/{self._name}/rotate", {})
        else:
            self._ask("POST", f"keys/{self._name}", {"type": "aes256-gcm96"})
        return self.versions()[-1]

    def destroy(self, version: int) -> None:
        """Let Vault trim this version and the older ones."""
        have = self.versions()
        if not have or version >= have[-1]:
            raise StateError(
                f"version {version} of {self._place} is in use, or never was",
                hint="rotate first: lifecycle records rotate",
            )
        oldest = version + 1
        if oldest > have[0]:
            config = {"min_decryption_version": oldest, "min_encryption_version": oldest}
            self._ask("POST", f"keys/{self._name}/config", config)
        self._ask("POST", f"keys/{self._name}/trim", {"min_available_version": oldest})

    @property
    def _name(self) -> str:
        return quote(self._key, safe="")

    @property
    def _place(self) -> str:
        return f"the key {self._key} of Vault at {self._host}"

    def _lost(self, version: int = 1) -> KeyMissingError:
        return KeyMissingError(
            f"version {version} of {self._place} is not there",
            hint="restore it from Vault's backup; without it nothing that it protects can be opened",
        )

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        status, answer = self._send(method, f"/v1/{self._mount}/{path}", body)
        if status in (200, 204):
            return answer.get("data") or {}
        if status == 403:
            raise ConfigError(
                f"Vault at {self._host} refuses our token for {self._mount}/{path} (403)",
                hint="renew the token, or give its policy what docs/privacy.md lists",
            )
        if status == 404:
            raise self._lost()
        if status == 400 and path.startswith("decrypt/"):
            raise IntegrityError(
                f"{self._place} is not the one that wrapped this key, or the wrapped key was changed",
                hint="point to the Vault key that belongs to this key table",
            )
        if status == 400:
            raise ConfigError(f"{self._place} refuses {path} (400)", hint="see Vault's audit log")
        raise UnavailableError(
            f"Vault at {self._host} answers {status}", hint="see `vault status`; try again"
        )

    def _send(self, method: str, path: str, body: Mapping[str, object] | None) -> tuple[int, dict[str, Any]]:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=self._timeout)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"X-Vault-Token": self._token()})
            response = connection.getresponse()
            return response.status, json.loads(response.read(_LONGEST_ANSWER) or b"{}")
        except TimeoutError:
            problem = f"does not answer within {self._timeout:g} s"
        except (OSError, http.client.HTTPException):
            problem = "cannot be reached"
        except ValueError:
            problem = "does not answer as Vault does"
        finally:
            connection.close()
        # Outside of `except`: what the cause holds, the secret among it, is in no traceback.
        raise UnavailableError(f"Vault at {self._host} {problem}", hint="see `vault status`; then try again")


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
