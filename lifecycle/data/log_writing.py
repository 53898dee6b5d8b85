"""Writing parts of the prediction log: bounded memory, and nothing under its name before it is whole."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

import polars as pl

from lifecycle.core.errors import IntegrityError
from lifecycle.data.log_files import draft_of
from lifecycle.data.log_parts import KINDS, CompactedLog, Kind, Part, sync_folder

ROWS_A_PART = 262_144
"""Rows that wait in memory before they are written as a part."""


class PartWriter:
    """Collects rows by kind, day and shape, and writes them as parts.

    Args:
        log: Whose parts they are.
        token: What the names of the parts begin with; says what they were made of.
        source: What outcomes are imported from; empty otherwise.
        rows_a_part: Rows that wait in memory.

    Attributes:
        left_out: Reason -> rows that may not be kept, and are in no part.
    """

    def __init__(
        self, log: CompactedLog, token: str, *, source: str = "", rows_a_part: int = ROWS_A_PART
    ) -> None:
        self._log = log
        self._token = token
        self._source = source
        self._rows_a_part = rows_a_part
        self._waiting: dict[tuple[Kind, str, str], list[pl.DataFrame]] = defaultdict(list)
        self._rows = 0
        self._parts: list[Part] = []
        self._dropped: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        self.left_out: Counter[str] = Counter()

    def add(self, kind: Kind, frame: pl.DataFrame, shape: str = "") -> None:
        """Take rows.

        Args:
            kind: What they are.
            frame: Predictions with ``at``, outcomes with ``received_at``: that decides their day.
            shape: Rows of one shape have the same columns: the release of predictions.
        """
        kept = self._log.files.keep(frame)
        frame = kept.rows
        self.left_out.update(kept.left_out)
        self._dropped[kind] += sum(kept.left_out.values())
        moment = pl.col("at" if kind == "predictions" else "received_at")
        for key, part in frame.group_by(moment.dt.date().cast(pl.String), maintain_order=True):
            self._waiting[kind, str(key[0]), shape].append(part)
        self._rows += frame.height
        if self._rows >= self._rows_a_part:
            self._flush()

    def finish(self, expected: Mapping[Kind, int]) -> list[Part]:
        """Write what waits, and put every part under its name; it counts once it is committed.

        Args:
            expected: Rows that were read, by kind.

        Raises:
            IntegrityError: The files hold another number of rows; they are taken away.
        """
        self._flush()
        written = dict(self._dropped)
        for part in self._parts:
            written[part.kind] += self._log.files.rows(draft_of(self._log.path(part)))
        if written != {kind: expected.get(kind, 0) for kind in KINDS}:
            self.discard()
            raise IntegrityError(
                f"the parts hold {_counted(written)}, and {_counted(expected)} were read",
                hint="nothing was deleted; see that the disk is sound, then run it again",
            )
        for part in self._parts:
            draft_of(self._log.path(part)).replace(self._log.path(part))
        for folder in {self._log.path(part).parent for part in self._parts}:
            self._log.files.sign(folder)
            sync_folder(folder)
            sync_folder(folder.parent)
        return self._parts

    def discard(self) -> None:
        """Take away what was written; nothing of it counts."""
        self._waiting.clear()
        for part in self._parts:
            draft_of(self._log.path(part)).unlink()
        self._parts = []

    def _flush(self) -> None:
        for (kind, day, shape), frames in self._waiting.items():
            self._write(kind, day, shape, pl.concat(frames))
        self._waiting.clear()
        self._rows = 0

    def _write(self, kind: Kind, day: str, shape: str, frame: pl.DataFrame) -> None:
        name = "-".join(filter(None, [self._token, shape[:8], f"{len(self._parts):03}"])) + ".parquet"
        folder = self._log.folder / kind / day
        folder.mkdir(parents=True, exist_ok=True)
        draft = draft_of(folder / name)
        self._log.files.write(frame, draft)
        size = draft.stat().st_size
        self._parts.append(
            Part(kind=kind, day=day, name=name, rows=frame.height, bytes=size, source=self._source)
        )


def _counted(rows: Mapping[Kind, int]) -> str:
    return " and ".join(f"{count} {kind}" for kind, count in rows.items())
