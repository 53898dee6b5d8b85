"""How far a long step is: log lines now and then, and every advance for whoever draws a bar."""

from __future__ import annotations

import logging
import time

LOG = logging.getLogger("lifecycle.progress")
SECONDS = 10.0
"""Between two lines of the log."""


class Progress:
    """Counts rows, and says so on the logger ``lifecycle.progress``.

    Each advance is a record of level DEBUG with the attributes ``doing``, ``done`` and ``total`` (None: not
    known); every ten seconds it is of level INFO.

    Args:
        doing: What is done, in a few words.
        total: Rows in all, if that is known.
        unit: What is counted.
    """

    def __init__(self, doing: str, total: int | None, unit: str = "rows") -> None:
        self._unit = unit
        self._doing = doing
        self._total = total
        self._done = 0
        self._begun = self._told = time.monotonic()

    def advance(self, rows: int) -> None:
        """So many more rows are done."""
        self._done += rows
        now = time.monotonic()
        due = now - self._told >= SECONDS
        if due:
            self._told = now
        of = f" of {self._total:,}" if self._total is not None else ""
        speed = self._done / max(now - self._begun, 1e-9)
        LOG.log(
            logging.INFO if due else logging.DEBUG,
            "%s: %s%s %s, %s %s/s",
            self._doing,
            f"{self._done:,}",
            of,
            self._unit,
            f"{speed:,.0f}",
            self._unit,
            extra={"doing": self._doing, "done": self._done, "total": self._total},
        )
