"""What a forked child lets go of before it goes on: its parent's connections, and locks of its threads."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forked(Protocol):
    """What changes when its process is forked."""

    def after_fork(self) -> None:
        """In the child, before anything else: let go of what is the parent's."""
        ...


_all: weakref.WeakSet[Forked] = weakref.WeakSet()


def tell_of_forks(told: Forked) -> None:
    """Have it told in every child that is forked, for as long as it lives.

    Args:
        told: Compared by identity, as objects are if nothing else is said.
    """
    _all.add(told)


def _tell_all() -> None:
    for told in list(_all):
        told.after_fork()


os.register_at_fork(after_in_child=_tell_all)
