"""API keys at rest: issued, rotated and revoked in one file. Only hashes are in it.

A key is ``lc_<id>_<secret>``. The id finds its entry; a secret of 256 random bits needs no slow hash. It is
replaced by issuing its successor and letting the old one end some time later, so that no client is cut off.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from lifecycle.core.errors import ConfigError, IntegrityError, StateError, StorageError

Scope = Literal["predict", "outcomes", "admin", "records"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "lc_"
EVERY_SYSTEM = "*"


class Key(BaseModel):
    """One issued key, without its secret.

    Attributes:
        id: Names it; the part of the key between the underscores.
        name: Whom it was given to.
        digest: SHA-256 of the secret, hex.
        scopes: What it may do: ``predict``, ``outcomes``; ``admin``: pages and metrics too; ``records``:
            stand for its owner where sealed records are opened, on the command line and in flows.
        systems: Of which systems; ``*``: of all.
        created: When it was issued.
        ends: From when on it is refused; None: never.
        replaces: Id of the key that it took the place of.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    digest: str
    scopes: tuple[Scope, ...]
    systems: tuple[str, ...] = (EVERY_SYSTEM,)
    created: datetime
    ends: datetime | None = None
    replaces: str | None = None

    def allows(self, scope: Scope, system: str | None) -> bool:
        """Whether it may do this; system None: something that belongs to no system."""
        granted = scope in self.scopes or "admin" in self.scopes
        return granted and (system is None or EVERY_SYSTEM in self.systems or system in self.systems)


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    keys: tuple[Key, ...] = ()


class KeyFile:
    """The keys of a project, in one file that only its owner may read; changed by one process at a time.

    Args:
        path: The file; there are no keys as long as it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[Key, ...]:
        """Every key, ended ones included.

        Raises:
            IntegrityError: The file is damaged.
            StorageError: It cannot be read.
        """
        try:
            return _File.model_validate_json(self._path.read_bytes()).keys
        except FileNotFoundError:
            return ()
        except ValidationError:
            raise IntegrityError(
                f"the file of API keys {self._path} is damaged", hint="restore it from a backup"
            ) from None
        except OSError as error:
            raise StorageError(f"cannot read {self._path}: {error.strerror}") from error

    def issue(self, name: str, scopes: Sequence[str], systems: Sequence[str], now: datetime) -> str:
        """Make a key; it is told once, here, and never again.

        Raises:
            ConfigError: A scope is not known, or none is given.
        """
        known = tuple(scope for scope in SCOPES if scope in scopes)
        if not known or len(known) < len(set(scopes)):
            raise ConfigError(
                f"a key's scopes are {', '.join(SCOPES)}; found {', '.join(scopes) or 'none'}",
                hint="lifecycle keys add NAME --scope predict",
            )
        with self._changing() as keys:
            key, text = _make(name, known, tuple(systems) or (EVERY_SYSTEM,), now)
            keys.append(key)
        return text

    def rotate(self, key_id: str, overlap: timedelta, now: datetime) -> str:
        """Issue the successor of a key, which itself ends after an overlap.

        Raises:
            StateError: There is no such key, or it has ended.
        """
        with self._changing() as keys:
            position, old = _find(keys, key_id, now)
            key, text = _make(old.name, old.scopes, old.systems, now, replaces=old.id)
            ends = now + overlap
            keys[position] = old.model_copy(update={"ends": min(ends, old.ends) if old.ends else ends})
            keys.append(key)
        return text

    def revoke(self, key_id: str, now: datetime) -> None:
        """End a key at once.

        Raises:
            StateError: There is no such key, or it has ended.
        """
        with self._changing() as keys:
            position, old = _find(keys, key_id, now)
            keys[position] = old.model_copy(update={"ends": now})

    @contextmanager
    def _changing(self) -> Iterator[list[Key]]:
        """The keys, written back in one rename when the block ends well."""
        folder = self._path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with (folder / f"{self._path.name}.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                keys = list(self.read())
                yield keys
                draft = self._path.with_suffix(".draft")
                draft.unlink(missing_ok=True)
                with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                    file.write(_File(keys=tuple(keys)).model_dump_json(indent=1).encode())
                    file.flush()
                    os.fsync(file.fileno())
                draft.replace(self._path)
        except OSError as error:
            raise StorageError(
                f"cannot write {self._path}: {error.strerror}", hint="the keys are as they were"
            ) from error


def _make(
    name: str, scopes: tuple[Scope, ...], systems: tuple[str, ...], now: datetime, replaces: str | None = None
) -> tuple[Key, str]:
    key_id, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    key = Key(
        id=key_id,
        name=name,
        digest=hashlib.sha256(secret.encode()).hexdigest(),
        scopes=scopes,
        systems=systems,
        created=now,
        replaces=replaces,
    )
    return key, f"{PREFIX}{key_id}_{secret}"


def _find(keys: Sequence[Key], key_id: str, now: datetime) -> tuple[int, Key]:
    for position, key in enumerate(keys):
        if key.id == key_id and (key.ends is None or key.ends > now):
            return position, key
    raise StateError(f"no key {key_id!r} is in force", hint="lifecycle keys list shows them")
