"""Who may ask what of which system, and in whose name records are opened: by API keys, if there are any.

The id of a key finds its entry; the SHA-256 of its secret is compared in constant time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from lifecycle.core.errors import AccessDeniedError, ConfigError, IntegrityError, StorageError
from lifecycle.serving.exchange import Request
from lifecycle.serving.key_file import PREFIX, Key, KeyFile
from lifecycle.serving.problems import ProblemError

Access = Literal["predict", "outcomes", "admin", "any key", "everybody"]
"""What a path asks for: a scope, any valid key, or nothing."""

_LOCAL_HOSTS = (b"localhost", b"127.0.0.1", b"[::1]")


@dataclass(frozen=True)
class _Entry:
    key: Key
    digest: bytes
    ends: float


class KeyRing:
    """Checks requests against the keys; open to everybody only while the project has none.

    Args:
        path: The file of the keys, read again whenever it changed; None: nobody is ever asked for one.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._entries: dict[bytes, _Entry] = {}
        self._closed = False
        self.fault = ""
        self.refresh()

    @property
    def open(self) -> bool:
        """Whether no key was ever issued, so that nobody is asked for one."""
        return not self._closed

    def refresh(self) -> None:
        """Read the file again if it changed; a damaged one changes nothing, and is told by ``fault``.

        Once there were keys, a file that vanishes opens nothing: the keys known last stay in force.
        """
        if self._path is None:
            return
        try:
            status = self._path.stat()
            stamp = status.st_ino, status.st_mtime_ns, status.st_size
        except OSError as error:
            self.fault = f"the file of API keys is gone: {error.strerror}" if self._closed else ""
            return
        if stamp == self._stamp:
            return
        try:
            keys = KeyFile(self._path).read()
        except (IntegrityError, StorageError) as error:
            self.fault = error.message
            self._closed = True
            return
        self._entries = {
            key.id.encode(): _Entry(
                key, bytes.fromhex(key.digest), key.ends.timestamp() if key.ends else float("inf")
            )
            for key in keys
        }
        self._closed, self._stamp, self.fault = True, stamp, ""

    def check(self, request: Request, access: Access, system: str | None, now: float) -> str:
        """Who is asking; empty where nobody is asked for a key.

        Without keys only this machine is answered: a name that some web page made point here is refused.

        Args:
            request: Its key is in ``Authorization: Bearer``, ``X-API-Key`` or the password of Basic.
            access: What the path asks for.
            system: The system it belongs to, if any.
            now: Seconds since 1970.

        Raises:
            ProblemError: 401: there is no valid key. 403: it does not allow this.
        """
        if access == "everybody":
            return ""
        if not self._closed:
            if self._path is not None and not _is_local(request.header(b"host")):
                raise ProblemError(HTTPStatus.FORBIDDEN, _OPEN_TO_THIS_MACHINE)
            return ""
        entry = self._in_force(_presented(request), now)
        if entry is None:
            problem = ProblemError(HTTPStatus.UNAUTHORIZED, _NEEDED)
            problem.headers["WWW-Authenticate"] = 'Bearer realm="lifecycle", Basic realm="lifecycle"'
            raise problem
        if access != "any key" and not entry.key.allows(access, system):
            raise ProblemError(
                HTTPStatus.FORBIDDEN, f"this API key ({entry.key.id}) does not allow {access} here"
            )
        return entry.key.name

    def acting(self, claimed: str, presented: str, now: float) -> str:
        """Whose name stands for an act on sealed records: the owner of a key, else who claims to act.

        Args:
            claimed: As configuration or the operating system says.
            presented: A key; empty: none. Who was ever issued one for ``records`` must present one.
            now: Seconds since 1970.

        Raises:
            AccessDeniedError: The key is not in force or not for records, or is needed and was not presented.
        """
        if presented:
            entry = self._in_force(presented.strip().removeprefix(PREFIX).encode(), now)
            if entry is None or "records" not in entry.key.scopes:
                raise AccessDeniedError(
                    "the API key in LIFECYCLE_ACTOR_KEY is not one that opens records",
                    hint="have one issued: lifecycle keys add NAME --scope records",
                )
            return entry.key.name
        # Ended keys count: to revoke one must not let anybody act in its owner's name.
        if claimed in {entry.key.name for entry in self._entries.values() if "records" in entry.key.scopes}:
            raise AccessDeniedError(
                f"actor {claimed!r} has an API key for records, and did not present it",
                hint="set LIFECYCLE_ACTOR_KEY to it",
            )
        return claimed

    def _in_force(self, presented: bytes, now: float) -> _Entry | None:
        """The entry of a key without its prefix; None: no such key is in force."""
        key_id, _, secret = presented.partition(b"_")
        entry = self._entries.get(key_id)
        digest = hashlib.sha256(secret).digest()
        # Compared in any case, so that a wrong id takes as long as a wrong secret.
        right = hmac.compare_digest(digest, entry.digest if entry else digest[::-1])
        return entry if entry is not None and right and now < entry.ends else None


def require_keys(ring: KeyRing, host: str) -> None:
    """Refuse to listen to other machines without keys.

    Raises:
        ConfigError: The address is not of this machine alone, and there is no key.
    """
    if ring.open and not _is_loopback(host):
        raise ConfigError(
            f"{host} can be reached from other machines, and there are no API keys",
            hint="issue one first: lifecycle keys add NAME --scope predict; or listen on 127.0.0.1",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_NEEDED = "a valid API key is needed: Authorization: Bearer lc_…; `lifecycle keys add` issues one"
_OPEN_TO_THIS_MACHINE = (
    "without API keys only this machine is answered, by its own name (localhost): `lifecycle keys add`"
)


def _is_local(host: bytes) -> bool:
    """Whether a Host header names this machine as itself; a missing one comes from no browser."""
    name = host if host.endswith(b"]") else host.rpartition(b":")[0] or host
    return not host or name in _LOCAL_HOSTS


def _presented(request: Request) -> bytes:
    """The key a request carries, without its prefix; empty if it has none."""
    given = request.header(b"x-api-key")
    if not given:
        kind, _, given = request.header(b"authorization").partition(b" ")
        if kind.lower() == b"basic":
            given = _password(given)
    return given.strip().removeprefix(PREFIX.encode())


def _password(encoded: bytes) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True).partition(b":")[2]
    except ValueError:
        return b""
