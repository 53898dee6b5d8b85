"""The key encryption key in an environment variable, for development."""

from __future__ import annotations

import base64
import binascii
import logging
import os

from lifecycle.core.errors import ConfigError, StateError
from lifecycle.records.providers.keyset import Keyset, KeysetProvider

_log = logging.getLogger(__name__)


class EnvironmentKey(KeysetProvider):
    """A key provider for development: the processes and the panels of a machine can see its key.

    Args:
        variable: Its name. It holds ``version:key`` entries parted by commas, each key 32 bytes in Base64;
            read at each use.
    """

    def __init__(self, variable: str) -> None:
        self._variable = variable
        _log.warning("the key encryption key is in the environment (%s): for development only", variable)

    def rotate(self) -> int:
        """Refused: who set the variable must add to it."""
        following = max(self.versions(), default=0) + 1
        raise StateError(
            f"a key encryption key in the environment cannot be rotated from here ({self._variable})",
            hint=f"add to it, after a comma: {following}:$(head -c32 /dev/urandom | base64 -w0)",
        )

    def destroy(self, version: int) -> None:
        """Refused while the variable holds it: who set the variable must take it out."""
        keyset = self._keyset()
        keyset.check_old(version)
        if old := [number for number in keyset.versions() if number <= version]:
            raise StateError(
                f"a key encryption key in the environment cannot be destroyed from here ({self._variable})",
                hint=f"take version {', '.join(map(str, old))} out of {self._variable} wherever it is set",
            )

    def _keyset(self) -> Keyset:
        versions: dict[int, bytes] = {}
        for entry in filter(None, os.environ.get(self._variable, "").split(",")):
            number, _, key = entry.strip().partition(":")
            try:
                versions[int(number)] = base64.b64decode(key, validate=True)
            except (ValueError, binascii.Error):
                versions[0] = b""
        if any(number < 1 or len(key) != 32 for number, key in versions.items()):
            raise ConfigError(
                f"{self._variable} does not hold key encryption keys",
                hint="write it as version:key, the key being 32 bytes in Base64; several by commas",
            )
        return Keyset(versions, f"the variable {self._variable}")
