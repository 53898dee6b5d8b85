"""A bar on a terminal for the steps that tell how far they are; elsewhere, their lines in the log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class _Bar(logging.Handler):
    """Moves a bar by the records of ``lifecycle.progress``."""

    def __init__(self, bar: Progress) -> None:
        super().__init__(logging.DEBUG)
        self._bar = bar
        self._task: TaskID | None = None

    def emit(self, record: logging.LogRecord) -> None:
        told = record.__dict__
        if "done" not in told:
            return
        if self._task is None:
            self._task = self._bar.add_task(told["doing"], total=told["total"])
        self._bar.update(self._task, completed=told["done"])


@contextmanager
def progress_bar(console: Console | None = None) -> Iterator[None]:
    """Draw the progress of the block on stderr, where that is a terminal."""
    console = console or Console(file=sys.stderr)
    if not console.is_terminal:
        yield
        return
    log = logging.getLogger("lifecycle.progress")
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        handler = _Bar(bar)
        kept = log.level, log.propagate
        log.addHandler(handler)
        log.setLevel(logging.DEBUG)
        log.propagate = False  # the bar says it
        try:
            yield
        finally:
            log.removeHandler(handler)
            log.setLevel(kept[0])
            log.propagate = kept[1]
