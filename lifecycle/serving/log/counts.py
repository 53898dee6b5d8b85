"""How many requests were answered and not logged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

from lifecycle.serving.log.entries import Reason, UnloggedEntry


@dataclass
class UnloggedCounts:
    """Counts until they are written.

    Attributes:
        total: Requests so far, per reason, written or not.
    """

    total: dict[Reason, int] = field(default_factory=lambda: dict.fromkeys(get_args(Reason), 0))
    _waiting: dict[Reason, tuple[int, int]] = field(default_factory=dict)

    def add(self, reason: Reason, requests: int, rows: int) -> int:
        """Count some more.

        Returns:
            How many requests of this reason are not written yet.
        """
        self.total[reason] += requests
        before = self._waiting.get(reason, (0, 0))
        self._waiting[reason] = before[0] + requests, before[1] + rows
        return self._waiting[reason][0]

    def entries(self, at: int) -> list[UnloggedEntry]:
        """What is to be written; at most one entry per reason.

        Args:
            at: Now, microseconds since 1970 UTC.
        """
        return [UnloggedEntry(reason, *counts, at) for reason, counts in self._waiting.items()]

    def clear(self) -> None:
        """All of ``entries`` is written."""
        self._waiting.clear()
