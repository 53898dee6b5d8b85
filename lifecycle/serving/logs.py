"""What the service writes to its log: one line per event, for people or for machines, never an input.

Of an exception, only its type and where it was raised are written: its message may quote a request.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

from lifecycle.core.settings import Settings

LogFormat = Literal["text", "json"]
_Raised = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


def logging_config(chosen: LogFormat | None = None) -> dict[str, Any]:
    """How the server logs, for ``logging.config.dictConfig``: all of it to stderr, stdout holds the address.

    Args:
        chosen: The format; None: as ``LIFECYCLE_LOG_FORMAT`` says, else text on a terminal, JSON elsewhere.
    """
    chosen = chosen or Settings().log_format or ("text" if sys.stderr.isatty() else "json")
    formatter = JsonFormatter if chosen == "json" else TextFormatter
    ours = {"handlers": ["stderr"], "level": "INFO", "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        # Other libraries are heard when something is wrong.
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            "lifecycle": ours,
            "uvicorn": ours,
            # A line per request would hold its path and query, and cost more than its answer.
            "uvicorn.access": {"level": "WARNING"},
        },
    }


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """What was given as ``extra``, such as system, release, request_id and trace_id."""
    return {key: value for key, value in vars(record).items() if key not in _OWN}


class JsonFormatter(logging.Formatter):
    """One JSON object per line: ts, level, logger, message, pid, error if one was raised, and the extras."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        at = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "ts": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
        }
        if record.exc_info and (error := place_of(record.exc_info)):
            line["error"] = error
        return json.dumps(extras(record) | line, default=str)


class TextFormatter(logging.Formatter):
    """A line for people: time, level, logger, message, and the extras as key=value."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The record as text, in one line."""
        record.message = record.getMessage()
        record.asctime = self.formatTime(record)
        words = [self.formatMessage(record), *(f"{key}={value}" for key, value in extras(record).items())]
        if record.exc_info and (error := place_of(record.exc_info)):
            words.append(f"({error})")
        return " ".join(words).replace("\r", "\\r").replace("\n", "\\n")


def place_of(raised: _Raised) -> str:
    """The type of an exception and the line that raised it; empty if there is none.

    Example:
        >>> try:
        ...     int("secret")
        ... except ValueError as error:
        ...     place_of((type(error), error, error.__traceback__)).partition(" at ")[0]
        'ValueError'
    """
    kind, error, trace = raised
    if kind is None or error is None:
        return ""
    place = "?"
    while trace:
        place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{kind.__name__} at {place}"
