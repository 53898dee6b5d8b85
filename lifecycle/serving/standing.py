"""How a system stands in one worker: what answers, what the ledger wants, and why they differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lifecycle.core.values import Deployment

if TYPE_CHECKING:
    from lifecycle.serving.live_release import LiveRelease


@dataclass(frozen=True)
class Swap:
    """One switch that this process saw.

    Attributes:
        deployment: What answers since then, without its evidence.
        monotonic: When, by the monotonic clock, seconds.
        seconds: From the moment the switch was seen in the ledger until it answered.
    """

    deployment: Deployment
    monotonic: float
    seconds: float


@dataclass(frozen=True)
class Standing:
    """How a system stands: what answers, and what the ledger wants, if that is another.

    Attributes:
        wanted: The ledger's live deployment when it was last read.
        seen: When that was first seen, monotonic, seconds.
        current: What answers; None until the first one is loaded.
        prepared: Whether ``wanted`` is loaded here, and waits for the other workers.
        fault: Why ``wanted`` is not ``current``, here or in another worker; empty while it is loading.
        attempts: Times it failed here.
        retry_at: Monotonic time of the next attempt, seconds.
        listed: Whether the ledger still knows the system.
        swaps: The last switches that this process saw, oldest first.
        switches: How many it saw in all.
        switch_seconds: How long all of them took, seconds.
        failures: Times a release of the system failed here, in all.
    """

    wanted: Deployment
    seen: float
    current: LiveRelease | None = None
    prepared: bool = False
    fault: str = ""
    attempts: int = 0
    retry_at: float = 0.0
    listed: bool = True
    swaps: tuple[Swap, ...] = ()
    switches: int = 0
    switch_seconds: float = 0.0
    failures: int = 0

    @property
    def behind(self) -> bool:
        """Whether something else than the ledger's live release answers, or nothing."""
        return self.current is None or not same(self.current.deployment, self.wanted)

    @property
    def reason(self) -> str:
        """Why it is behind, in words."""
        return self.fault or ("loaded here, other workers still load it" if self.prepared else "loading")


def same(one: Deployment, other: Deployment) -> bool:
    """Whether two rows are one decision; a ledger restored from a backup may give a number again."""
    return (one.id, one.release.digest) == (other.id, other.release.digest)
