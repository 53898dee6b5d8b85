"""What the audit trail keeps: reads of sealed records, and acts of those who administer them.

Neither holds an identifier or a value from a record: subjects are refs, everything else is names and counts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Literal

Verb = Literal["consent", "erase", "look-up", "register", "rotate", "shred"]
"""What may be done about people and keys; ``look-up``: a person is found by their identifier, or what is
known about them is shown."""

ADMINISTRATION = "administration"
"""The purpose of every act."""


@dataclass(frozen=True, kw_only=True)
class Entry(ABC):
    """Something that is about to happen.

    Attributes:
        actor: Who does it.
        dataset: To which dataset; empty: to all of them.
        segments: Ids of the segments that are read, each of them known to the trail (``know_segment``).
        refs: The subjects, where they are named one by one.
    """

    actor: str
    dataset: str
    segments: tuple[str, ...] = ()
    refs: tuple[bytes, ...] = field(default=(), repr=False)

    @abstractmethod
    def told(self) -> dict[str, Any]:
        """What stands in the trail, beside number, moment, segments and subjects."""


@dataclass(frozen=True, kw_only=True)
class Read(Entry):
    """One read of sealed records.

    Attributes:
        purpose: What for.
        columns: Names of the columns that are opened.
        groups: Their access groups.
        rows: How many rows, at most: those of erased subjects are among them.
    """

    purpose: str
    columns: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    rows: int = 0

    def told(self) -> dict[str, Any]:
        """Names and counts."""
        return {
            "actor": self.actor,
            "purpose": self.purpose,
            "dataset": self.dataset,
            "columns": self.columns,
            "groups": self.groups,
            "rows": self.rows,
        }


@dataclass(frozen=True, kw_only=True)
class Act(Entry):
    """One act of administration.

    Attributes:
        act: Which.
        detail: More of it, in words that are ours: which keys turn, which purpose is agreed to.
        count: How many subjects, or keys, where they are not named.
    """

    act: Verb
    detail: str = ""
    count: int = 0

    def told(self) -> dict[str, Any]:
        """As of a read, so that whoever goes through the trail finds the same names; and the act."""
        return {
            "actor": self.actor,
            "purpose": ADMINISTRATION,
            "act": self.act,
            "detail": self.detail,
            "dataset": self.dataset,
            "columns": (),
            "groups": (),
            "rows": self.count,
        }
