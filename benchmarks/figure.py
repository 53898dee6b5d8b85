"""What a benchmark answers: samples, what they are held against, and how they were got."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Samples:
    """Repeated measurements of one thing.

    Attributes:
        values: In the order they were taken; at least one.
        unit: Of the values; empty for a plain number.

    Example:
        >>> print(Samples((2.0, 4.04, 3.0), "s"))
        3.00 s (2.00–4.04)
    """

    values: tuple[float, ...]
    unit: str

    @classmethod
    def of(cls, values: Iterable[float], unit: str) -> Samples:
        """Samples of any iterable."""
        return cls(tuple(values), unit)

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        middle = quantity(self.median, self.unit)
        if len(self.values) == 1:
            return middle
        return f"{middle} ({_digits(min(self.values))}–{_digits(max(self.values))})"


@dataclass(frozen=True)
class Bound:
    """What a measurement is asked to keep to, in its own unit."""

    kind: Literal["at most", "at least"]
    value: float

    def kept(self, samples: Samples) -> bool:
        """Whether the median keeps to it."""
        return samples.median <= self.value if self.kind == "at most" else samples.median >= self.value


@dataclass(frozen=True)
class Beside:
    """A peer or limit, measured in the same run: its name and its samples, in the unit of the measurement."""

    name: str
    samples: Samples


@dataclass(frozen=True)
class Measured:
    """One line of a figure's table.

    Attributes:
        what: What was measured.
        samples: The measurements.
        bound: What is asked of it, if anything is.
        beside: What it is compared with, if anything is.
    """

    what: str
    samples: Samples
    bound: Bound | None = None
    beside: Beside | None = None


@dataclass(frozen=True)
class Figure:
    """One section of the page.

    Attributes:
        name: As on the command line.
        title: Of the section.
        how: How it was measured, Markdown.
        lines: The table.
        notes: What the measurements say beyond the table, Markdown.
    """

    name: str
    title: str
    how: str
    lines: tuple[Measured, ...]
    notes: tuple[str, ...] = ()

    @property
    def missed(self) -> tuple[Measured, ...]:
        """The lines that do not keep to their bound."""
        return tuple(line for line in self.lines if line.bound and not line.bound.kept(line.samples))


def quantity(value: float, unit: str) -> str:
    """A number in three digits or so, and its unit.

    Example:
        >>> quantity(612345.6, "rows/s"), quantity(0.11849, "s"), quantity(15.8, ""), quantity(0.0, "")
        ('612,346 rows/s', '0.118 s', '15.8', '0')
    """
    return f"{_digits(value)} {unit}".strip()


def _digits(value: float) -> str:
    for least, digits in ((1000, 0), (10, 1), (1, 2)):
        if abs(value) >= least:
            return f"{value:,.{digits}f}"
    return f"{value:.3f}" if value else "0"
