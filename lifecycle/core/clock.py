"""Time as an argument: flows take ``as_of``, and only the edges ask a clock."""

from __future__ import annotations

from datetime import UTC, date, datetime

from lifecycle.core.errors import ConfigError


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
