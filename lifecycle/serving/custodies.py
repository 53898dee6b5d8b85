"""The custodies of the systems whose records are sealed: opened with their first release, and kept true."""

from __future__ import annotations

import logging

from lifecycle.core.errors import LifecycleError, SensitiveFieldError
from lifecycle.core.ports import Custody, OpenCustody
from lifecycle.core.record import RecordSchema
from lifecycle.core.wiping import is_wiping

logger = logging.getLogger(__name__)


class Custodies:
    """One for each system and the field that names its subjects.

    Args:
        open_custody: Opens one; None: nothing sealed is served.
    """

    def __init__(self, open_custody: OpenCustody | None) -> None:
        self._open = open_custody
        self._held: dict[tuple[str, str], Custody] = {}
        self._faults: dict[tuple[str, str], str] = {}

    def of(self, system: str, schema: RecordSchema) -> Custody | None:
        """The custody of a release's records; None if they are not sealed.

        Raises:
            SensitiveFieldError: They are, and there are no keys here.
            LifecycleError: The key table or its provider does not answer.
        """
        if schema.about is None:
            return None
        if self._open is None:
            raise SensitiveFieldError(
                f"record {schema.name} has sensitive fields, and this service was given no keys to seal them",
                hint="serve it by `lifecycle serve`, which opens the key table of the project",
            )
        key = (system, schema.about.name)
        if key not in self._held:
            custody = self._open(system, schema)
            custody.refresh()
            self._held[key] = custody
            if not is_wiping():
                logger.warning(
                    "%s is about people, and this process leaves what it frees in memory: restart it with "
                    "LIFECYCLE_WIPE_MEMORY=true",
                    system,
                )
        return self._held[key]

    def refresh(self) -> None:
        """Take note of erasures and withdrawals; where that fails, what is known goes on counting."""
        for key, custody in [*self._held.items()]:
            try:
                custody.refresh()
            except LifecycleError as error:
                if error.message != self._faults.get(key):
                    logger.warning(
                        "%s: who withdrew cannot be read, serving goes on: %s", key[0], error.message
                    )
                self._faults[key] = error.message
            else:
                self._faults.pop(key, None)
