"""Latencies in buckets that grow by a fixed ratio: any quantile to one percent, whatever its size."""

from __future__ import annotations

import math

PRECISION = 0.01
"""Relative width of a bucket."""

_SHORTEST = 1e-6
_LONGEST = 1e4
_SCALE = 1 / math.log1p(PRECISION)
_BUCKETS = math.ceil(math.log(_LONGEST / _SHORTEST) * _SCALE) + 1


class Histogram:
    """Counts of durations from a microsecond to some hours, in constant memory.

    Example:
        >>> latencies = Histogram()
        >>> for milliseconds in range(1, 1001):
        ...     latencies.add(milliseconds / 1000)
        >>> 0.990 <= latencies.quantile(0.99) <= 0.990 * (1 + PRECISION)
        True
    """

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self.count = 0
        self.largest = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.largest = max(self.largest, seconds)
        place = int(math.log(seconds / _SHORTEST) * _SCALE) if seconds > _SHORTEST else 0
        self._counts[place if place < _BUCKETS else -1] += 1
        self.count += 1

    def quantile(self, share: float) -> float:
        """The duration that this share of all does not exceed, seconds; never below the true one.

        Without any duration it is 0.
        """
        wanted, seen = math.ceil(share * self.count), 0
        if not self.count:
            return 0.0
        for place, count in enumerate(self._counts):
            seen += count
            if seen >= wanted:
                return min(_SHORTEST * (1 + PRECISION) ** (place + 1), self.largest)
        return self.largest
