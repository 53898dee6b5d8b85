"""A serving process whose clock is set back by an hour whenever it is sent SIGUSR1."""

from __future__ import annotations

import datetime as datetimes
import signal
import time
from types import FrameType

from lifecycle.core.settings import Settings
from lifecycle.serving import outcome_route
from lifecycle.wiring import serve

HOUR = 3600
_time, _time_ns = time.time, time.time_ns
_back = 0


class SetBack(datetimes.datetime):
    """Tells the time by the clock that is set back."""

    @classmethod
    def now(cls, tz: datetimes.tzinfo | None = None) -> SetBack:
        return cls.fromtimestamp(time.time(), tz)


def _set_back(_number: int, _frame: FrameType | None) -> None:
    global _back  # noqa: PLW0603 - the clock is one
    _back += HOUR


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _set_back)
    time.time = lambda: _time() - _back
    time.time_ns = lambda: _time_ns() - _back * 10**9
    outcome_route.datetime = SetBack  # type: ignore[attr-defined, misc]
    serve(Settings(), 0)
