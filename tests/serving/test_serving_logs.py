"""A log that a machine can read, and that nobody's data ever reaches."""

from __future__ import annotations

import io
import json
import logging
import logging.config
from collections.abc import Iterator
from datetime import datetime

import pytest

from lifecycle.serving.logs import JsonFormatter, TextFormatter, logging_config


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_is_put_back() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in (None, "lifecycle", "uvicorn", "uvicorn.access")]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_every_event_is_one_json_object_with_what_was_given(capsys):
    logging.config.dictConfig(logging_config("json"))
    given = {"system": "homes", "release": "ab12", "trace_id": "4b", "request_id": 'a\n"b'}
    logging.getLogger("lifecycle.serving").info("version %s answers now", 7, extra=given)
    [line] = lines(capsys)
    assert datetime.fromisoformat(line.pop("ts")).tzinfo is not None
    assert isinstance(line.pop("pid"), int)
    assert line == {
        "level": "info",
        "logger": "lifecycle.serving",
        "message": "version 7 answers now",
        **given,
    }


@pytest.mark.parametrize("chosen", ["json", "text"])
def test_an_exception_is_told_by_type_and_place_and_never_quoted(capsys, chosen):
    logging.config.dictConfig(logging_config(chosen))
    try:
        float("a secret")
    except ValueError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
    [line] = capsys.readouterr().err.splitlines()
    assert "ValueError at " in line
    assert "test_serving_logs.py:" in line
    assert "secret" not in line


def test_requests_leave_no_line_and_other_libraries_only_warnings(capsys):
    logging.config.dictConfig(logging_config("json"))
    logging.getLogger("uvicorn.access").info("GET /v1/homes?secret=1")
    logging.getLogger("other").info("chatter")
    logging.getLogger("other").warning("trouble")
    assert [line["message"] for line in lines(capsys)] == ["trouble"]


def test_text_for_people_has_the_same_in_one_line(capsys):
    logging.config.dictConfig(logging_config("text"))
    logging.getLogger("lifecycle.serving").warning("two\nlines", extra={"system": "homes"})
    assert capsys.readouterr().err.endswith("WARNING lifecycle.serving: two\\nlines system=homes\n")


def test_the_variable_decides_and_else_the_stream(monkeypatch):
    def formatter() -> type[logging.Formatter]:
        return logging_config()["formatters"]["line"]["()"]

    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert formatter() is JsonFormatter
    monkeypatch.setattr("sys.stderr", Terminal())
    assert formatter() is TextFormatter
    monkeypatch.setenv("LIFECYCLE_LOG_FORMAT", "json")
    assert formatter() is JsonFormatter
