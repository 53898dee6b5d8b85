"""The entries of segments as tables, a few thousand rows at a time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from lifecycle.core.errors import IntegrityError
from lifecycle.core.ports import SegmentKey
from lifecycle.core.record import RecordSchema
from lifecycle.data.predictions import Outcome, Requests, Table, outcome_table, prediction_table
from lifecycle.serving.log.entries import OutcomeEntry, PredictionEntry, SchemaEntry, Shape, UnloggedEntry
from lifecycle.serving.log.inputs import InputDecoder
from lifecycle.serving.log.segment import read_segment
from lifecycle.serving.log.unsealing import unsealed

if TYPE_CHECKING:
    from lifecycle.data.log_parts import Kind

ROWS_AT_ONCE = 16_384
_ANSWER_BYTES = 8


class SegmentTables:
    """Reads segments and hands on their rows.

    Args:
        add: Takes rows: their kind, the table, and the release of predictions.
        key_of: Gives the key of a sealed segment by its name.

    Attributes:
        entries: Entries read.
        rows: Rows read, by kind; counted from the entries, before anything is made of them.
        unlogged: Reason -> requests and rows that were answered and not logged.
    """

    def __init__(
        self, add: Callable[[Kind, Table, str], None], key_of: Callable[[bytes], SegmentKey] | None = None
    ) -> None:
        self._add = add
        self._key_of = key_of
        self._decoders: dict[str, tuple[RecordSchema, InputDecoder]] = {}
        self._answered: dict[tuple[str, Shape], list[PredictionEntry]] = defaultdict(list)
        self._outcomes: list[Outcome] = []
        self._waiting = 0
        self.entries = 0
        self.rows: dict[Kind, int] = {"predictions": 0, "outcomes": 0}
        self.unlogged: dict[str, Counter[str]] = defaultdict(Counter)

    def read(self, segment: Path) -> None:
        """Read one segment to its end; its last rows may wait for ``flush``.

        Raises:
            IntegrityError: It is damaged, or its entries do not fit each other.
        """
        reader = read_segment(segment)
        for entry in unsealed(reader, self._key_of):
            if isinstance(entry, PredictionEntry):
                self._take(entry)
            elif isinstance(entry, OutcomeEntry):
                self._outcomes.append(
                    (
                        entry.prediction_id,
                        entry.record_id,
                        entry.value,
                        entry.observed_at,
                        entry.received_at,
                        entry.subject,
                    )
                )
                self.rows["outcomes"] += 1
                self._waiting += 1
            elif isinstance(entry, SchemaEntry):
                self._learn(entry)
            elif isinstance(entry, UnloggedEntry):
                self.unlogged[entry.reason].update(requests=entry.requests, rows=entry.rows)
            if self._waiting >= ROWS_AT_ONCE:
                self.flush()
        reader.verify()
        self.entries += reader.entries

    def flush(self) -> None:
        """Hand on the rows that wait."""
        for (release, shape), entries in self._answered.items():
            if release not in self._decoders:
                raise IntegrityError(
                    f"logged predictions of release {release[:12]} have no schema before them",
                    hint="nothing was deleted; keep the segment and report it",
                )
            schema, decoder = self._decoders[release]
            self._add("predictions", _table(schema, decoder, shape, entries), release)
        if self._outcomes:
            self._add("outcomes", outcome_table(self._outcomes), "")
        self._answered.clear()
        self._outcomes.clear()
        self._waiting = 0

    def _take(self, entry: PredictionEntry) -> None:
        rows = len(entry.predictions) // _ANSWER_BYTES
        self._answered[entry.release, entry.shape].append(entry)
        self.rows["predictions"] += rows
        self._waiting += rows

    def _learn(self, entry: SchemaEntry) -> None:
        if entry.release not in self._decoders:
            try:
                schema = RecordSchema.model_validate_json(entry.schema)
            except ValidationError:
                raise IntegrityError(
                    f"the schema of release {entry.release[:12]} is none that this version knows",
                    hint="compact it with the version of lifecycle that wrote it; nothing was deleted",
                ) from None
            self._decoders[entry.release] = schema, InputDecoder(schema)


def _table(
    schema: RecordSchema, decoder: InputDecoder, shape: Shape, entries: Sequence[PredictionEntry]
) -> Table:
    rows = [len(entry.predictions) // _ANSWER_BYTES for entry in entries]
    asked = decoder.decode(shape, [entry.inputs for entry in entries], rows)
    requests = Requests(
        release=entries[0].release,
        ids=[entry.id for entry in entries],
        at=[entry.at for entry in entries],
        versions=[entry.version for entry in entries],
        shares=[entry.share for entry in entries],
        latencies=[entry.latency_us for entry in entries],
        request_ids=[entry.request_id for entry in entries],
        trace_ids=[entry.trace_id for entry in entries],
        rows=rows,
        several=shape != "record",
        answers=b"".join(entry.predictions for entry in entries),
        record_ids=asked.record_ids,
        features=asked.features,
        subjects=asked.subjects,
    )
    return prediction_table(schema, requests)
