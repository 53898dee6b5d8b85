"""Time as an argument: flows take ``as_of``, and only the edges ask a clock."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

from lifecycle.core.errors import ConfigError

_UNITS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}


class SystemClock:
    """The machine's clock, in UTC."""

    def now(self) -> datetime:
        """The current moment, timezone-aware."""
        return datetime.now(UTC)


class FixedClock:
    """A clock that stands still until told otherwise; for tests and replays.

    Example:
        >>> FixedClock(datetime(1996, 1, 1, tzinfo=UTC)).now().year
        1996
    """

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        """The moment the clock was set to."""
        return self.moment


def parse_moment(value: str | date | datetime) -> datetime:
    """Read a date or time as an aware UTC moment; a bare date is its first instant.

    Args:
        value: ISO 8601 text, a date or a datetime. Without an offset, UTC is meant.

    Raises:
        ConfigError: The text is not ISO 8601.

    Example:
        >>> parse_moment("1996-01-01").isoformat()
        '1996-01-01T00:00:00+00:00'
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ConfigError(
                f"{value!r} is not a date or time", hint="write it as 2026-01-31 or 2026-01-31T06:00:00+00:00"
            ) from None
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def parse_duration(text: str) -> float:
    """Read a duration such as ``300ms``, ``0.3s`` or ``2min`` as seconds.

    Raises:
        ConfigError: It is not a positive number with one of these units.

    Example:
        >>> parse_duration("300ms"), parse_duration("0.3 s")
        (0.3, 0.3)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+) ?(us|µs|ms|s|min|h)", text.strip())
    if found is None or not float(found[1]):
        raise ConfigError(f"{text!r} is not a duration", hint="write it as 300ms, 0.3s or 2min")
    return float(found[1]) * _UNITS[found[2]]
