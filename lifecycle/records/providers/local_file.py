"""The key encryption key in a file that only its owner can read: the default."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, ValidationError

from lifecycle.core.errors import ConfigError, StorageError
from lifecycle.records.private_files import alone, read_private, store_private
from lifecycle.records.providers.keyset import Keyset, KeysetProvider


class _Content(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    format: int = Field(1, ge=1, le=1)
    versions: dict[int, Base64Bytes]


class LocalKeyFile(KeysetProvider):
    """A key provider whose key is a file of mode 0600, changed by one process at a time.

    Back the file up apart from the key table: whoever has both can open everything, and whoever loses the
    file nothing. Destroying a version overwrites its bytes in place, which a journalling or copying file
    system and flash memory may not honour, and reaches no backup of the file: those are yours to destroy.

    Args:
        path: Of the file, which ``rotate`` makes, with its folder.

    Example:
        >>> import tempfile
        >>> provider = LocalKeyFile(Path(tempfile.mkdtemp()) / "keys" / "kek.json")
        >>> provider.rotate()
        1
        >>> provider.unwrap(provider.wrap(b"a table key", b"for a test"), b"for a test")
        b'a table key'
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def rotate(self) -> int:
        """Add a version to the file; make the file if there is none."""
        try:
            with alone(self._path.parent):
                versions = self._read()
                newest = max(versions, default=0) + 1
                self._write({**versions, newest: os.urandom(32)})
                return newest
        except OSError as error:
            raise self._refused(error) from None

    def destroy(self, version: int) -> None:
        """Take this version and the older ones out of the file."""
        try:
            with alone(self._path.parent):
                versions = self._read()
                Keyset(versions, str(self._path)).check_old(version)
                with self._path.open("r+b") as old:
                    self._write({number: key for number, key in versions.items() if number > version})
                    old.write(bytes(os.fstat(old.fileno()).st_size))
                    old.flush()
                    os.fsync(old.fileno())
        except OSError as error:
            raise self._refused(error) from None

    def _keyset(self) -> Keyset:
        try:
            with alone(self._path.parent, shared=True):  # not while a version is being overwritten
                return Keyset(self._read(), str(self._path))
        except FileNotFoundError:
            return Keyset({}, str(self._path))
        except OSError as error:
            raise self._refused(error) from None

    def _read(self) -> Mapping[int, bytes]:
        content = read_private(self._path, "the key encryption key")
        if content is None:
            return {}
        try:
            versions = _Content.model_validate_json(content).versions
        except ValidationError:
            versions = {}
        if not versions or any(number < 1 or len(key) != 32 for number, key in versions.items()):
            raise ConfigError(
                f"{self._path} is not a file of key encryption keys", hint="restore it from its backup"
            )
        return versions

    def _write(self, versions: Mapping[int, bytes]) -> None:
        encoded = {number: base64.b64encode(key) for number, key in versions.items()}
        store_private(self._path, _Content(versions=encoded).model_dump_json().encode())

    def _refused(self, error: OSError) -> StorageError:
        return StorageError(
            f"the key encryption key {self._path} cannot be read or stored: {error.strerror}",
            hint="make its folder writable for this user, and see that the disk has room",
        )
