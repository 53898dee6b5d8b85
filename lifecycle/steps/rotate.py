"""The regular rotation: a new key encryption key, then a new table key for one system's subjects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lifecycle.core.values import Value
from lifecycle.steps.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from lifecycle.records.rotation import Rotation
    from lifecycle.records.status import KeyStatus


class Rotated(Value):
    """What a rotation did.

    Attributes:
        system: Name of the system.
        kek: Version of the key encryption key that wraps now; None: the system has no keys yet.
        subject_keys: Subject keys that were wrapped anew.
    """

    system: str
    kek: int | None = None
    subject_keys: int = 0


@dataclass(frozen=True)
class Rotator:
    """Rotates the keys of one system; an interrupted rotation is finished by the next.

    Attributes:
        name: Name of the system, whose subjects are the group of that name.
        status: Says which keys there are; None where there is no key table yet.
        admit: Returns when so many subject keys may be wrapped anew, and it is on the audit trail.
        rotation: Replaces keys.
    """

    name: str
    status: Callable[[], KeyStatus | None]
    admit: Callable[[int], None]
    rotation: Rotation

    def rotate(self) -> Rotated:
        """Rotate both keys; nothing is done where the system has no subjects.

        Raises:
            AccessDeniedError: The policy does not let the actor rotate.
            KeyMissingError: A key that is still needed is lost; nothing was rotated.
            StateError: The key provider cannot rotate by itself.
            UnavailableError: The key table or its provider does not answer.
        """
        status = self.status()
        if status is None or not status.has_subjects_of(self.name):
            return Rotated(system=self.name)
        self.admit(status.subject_keys(self.name))
        kek = self.rotation.rotate_kek()
        moved = self.rotation.rotate_system(self.name, told(f"{self.name}: wrapping subject keys"))
        return Rotated(system=self.name, kek=kek, subject_keys=moved)


def told(doing: str) -> Callable[[int, int], None]:
    """A progress callback that tells how many keys are done."""
    progress: Progress | None = None
    before = 0

    def advance(done: int, total: int) -> None:
        nonlocal progress, before
        progress = progress or Progress(doing, total, unit="keys")
        progress.advance(done - before)
        before = done

    return advance
