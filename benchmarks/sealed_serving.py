"""Serving people: the same model behind the same server, with a record that is sealed and one that is not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path

import msgspec

from benchmarks.bench import Bench
from benchmarks.figure import Beside, Bound, Figure, Measured, Samples
from benchmarks.ours import Ours, Up
from benchmarks.serving_peers import Pairs, load_of
from lifecycle.core.record import FieldSpec, RecordSchema
from lifecycle.core.release import MANIFEST, SCHEMA, Manifest, read_schema, write_release
from lifecycle.core.settings import Settings
from lifecycle.core.values import Release
from lifecycle.core.wiping import wiping
from lifecycle.records.custody import SystemCustody
from lifecycle.records.identifiers import Identifiers
from lifecycle.serving.log.entries import PredictionEntry
from lifecycle.serving.log.writer import PredictionLog
from lifecycle.wiring import open_office, open_signer

SUBJECT = FieldSpec(name="patient", kind="text", subject_id=True, sensitive="identifiers")
PEOPLE, OBJECTORS = 1000, 100
ENTRIES = 20_000
SAME_PASS = 16
"""Entries of one pass of the event loop."""
CONNECTIONS = (16, 64)
TURN_SECONDS = 1.0


@dataclass(frozen=True)
class _Found:
    """What the rounds gave: loads, seconds until ready and resident memory, sealed and in clear."""

    pairs: Pairs
    ready_s: list[tuple[float, float]]
    memory_mb: list[tuple[float, float]]


class Sealed(Ours):
    """What is live, as if each of its records were about a person.

    Args:
        ours: The server that is not.
        folder: Scratch.
    """

    def __init__(self, ours: Ours, folder: Path) -> None:
        super().__init__(ours.project, folder)
        self.settings = Settings(
            project=ours.project.root, home=Path(".lifecycle"), keys_url=f"sqlite:///{folder}/keys.db"
        )
        self.schema = _about_people(read_schema(self.release))
        self._people = [f"MRN-{number:07d}" for number in range(PEOPLE)]
        office = open_office(self.settings)
        self.table = office.table
        # Not among those who are asked about: each of these is looked for among the objectors all the same.
        names = [f"MRN-9{number:06d}" for number in range(OBJECTORS)]
        refs = Identifiers(self.table, f"{self.system}.{SUBJECT.name}", self.system).register(names)
        office.consent.withdraw(refs, "logging", datetime.now(UTC))

    @cached_property
    def bodies(self) -> list[bytes]:
        """The records, each with a person."""
        return [
            json.dumps(record | {SUBJECT.name: self._people[number % PEOPLE]}).encode()
            for number, record in enumerate(self.records)
        ]

    def sealed(self) -> Release:
        """The live release with the schema that is about people, signed anew."""
        manifest = Manifest.model_validate_json((self.release / MANIFEST).read_bytes())
        files = {name: self.release / name for name in manifest.files}
        files[SCHEMA] = self.folder / SCHEMA
        files[SCHEMA].write_text(self.schema.model_dump_json())
        facts = manifest.model_dump(exclude={"files"})
        return write_release(files, facts, self.settings.releases, open_signer(self.settings))

    @contextmanager
    def serving(self) -> Iterator[Up]:
        """A server of that release."""
        ledger, url = self.ledger("sealed")
        self.promote(ledger, self.sealed())
        extra = {"LIFECYCLE_KEYS_URL": self.settings.keys_url, "LIFECYCLE_WIPE_MEMORY": "true", **wiping()}
        with self.up(url, extra) as up:
            yield up


def measure(bench: Bench) -> Figure:
    """Load both servers in turn, and write to both logs in this process."""
    ours = Ours(bench.project, bench.folder / "clear")
    sealed = Sealed(ours, bench.folder / "sealed")
    found = _rounds(bench, ours, sealed)
    pairs = found.pairs
    lines = []
    for number in CONNECTIONS:
        lines += [
            Measured(
                f"sealed, {number} connections",
                Samples.of((it.per_s for it in pairs.ours[number]), "requests/s"),
                beside=pairs.beside("in clear", number, lambda it: it.per_s, "requests/s"),
            ),
            Measured(
                f"of the QPS in clear, pair by pair, {number}",
                pairs.ratio(number, lambda it: it.per_s),
                Bound("at least", 0.75),
            ),
            Measured(
                f"of the p99 in clear, pair by pair, {number}",
                pairs.ratio(number, lambda it: it.p99_ms),
                Bound("at most", 1.25),
            ),
        ]
    return Figure(
        name="sealed-serving",
        title="Serving people",
        how=(
            f"The live release of {ours.system}, and the same one with a record that names a person and is "
            f"sealed: each request names its person, who is looked for among {OBJECTORS} who allow no "
            "logging; every entry of the prediction log is sealed; memory that is freed is overwritten. Both "
            f"are `lifecycle serve` with everything on, loaded by wrk for {TURN_SECONDS:g} s at a time, in "
            "turn and compared pair by pair, since what else the machine does is worth a quarter from one "
            f"moment to the next; {bench.size.rounds} rounds of {_turns(bench)} pairs, each round with two "
            "new processes. The log alone is written in one process, entries a second of CPU time."
        ),
        lines=(
            *lines,
            Measured(
                "of the CPU per request in clear, pair by pair, 16",
                pairs.ratio(16, lambda it: it.cpu_us),
                Bound("at most", 1.25),
            ),
            _times("of the time until ready in clear", found.ready_s, "s"),
            _times("of the resident memory in clear", found.memory_mb, "MB"),
            *_log_lines(bench, sealed),
        ),
    )


def _rounds(bench: Bench, ours: Ours, sealed: Sealed) -> _Found:
    """Start both servers anew in each round, warm them up, and load them in turn."""
    found = _Found(Pairs({it: [] for it in CONNECTIONS}, {it: [] for it in CONNECTIONS}), [], [])
    for round_ in range(1, bench.size.rounds + 1):
        with ours.up() as clear, sealed.serving() as secret:
            mine, other = (load_of(bench, *it, TURN_SECONDS) for it in ((sealed, secret), (ours, clear)))
            mine(CONNECTIONS[0]), other(CONNECTIONS[0])
            for number in CONNECTIONS:
                both = [(found.pairs.ours[number], mine), (found.pairs.other[number], other)]
                for pair in range(_turns(bench)):
                    for kept, loaded in both if pair % 2 else both[::-1]:
                        kept.append(loaded(number))
            found.ready_s.append((secret.ready_s, clear.ready_s))
            rss = [up.process.memory_info().rss / 1e6 for up in (secret, clear)]
            found.memory_mb.append((rss[0], rss[1]))
        bench.say(f"sealed-serving: round {round_} of {bench.size.rounds}")
    return found


def _turns(bench: Bench) -> int:
    """Pairs of a round."""
    return max(1, round(bench.size.load_seconds / TURN_SECONDS))


def _times(what: str, pairs: Sequence[tuple[float, float]], unit: str) -> Measured:
    beside = Beside("in clear", Samples.of((other for _, other in pairs), unit))
    times = Samples.of((ours / other for ours, other in pairs), "")
    return Measured(what, times, Bound("at most", 1.25), beside)


def _log_lines(bench: Bench, sealed: Sealed) -> tuple[Measured, ...]:
    """Entries a second, one by one and as one pass of the event loop writes them."""
    custody = SystemCustody(sealed.table, sealed.system, SUBJECT.name)
    custody.refresh()
    entry = msgspec.msgpack.encode(
        PredictionEntry("id", 0, "a" * 64, "1", "champion", 250, "", "", "record", sealed.bodies[0], bytes(8))
    )
    rates: dict[tuple[str, int], list[float]] = {}
    for turn in range(bench.size.rounds):
        for name, held in (("sealed", custody), ("in clear", None)):
            for together in (1, SAME_PASS):
                log = PredictionLog(bench.folder / f"log-{name}-{together}-{turn}")
                appender = log.predictions(
                    sealed.system, "a" * 64, sealed.schema.model_dump_json().encode(), "process", held
                )
                appender.append(entry)
                rate = _rate(partial(appender.extend, [entry] * together), ENTRIES // together)
                rates.setdefault((name, together), []).append(rate * together)
                log.close()
    return tuple(
        Measured(
            f"prediction log, sealed, {words}",
            Samples.of(rates["sealed", together], "entries/s"),
            Bound("at least", 10_000),
            Beside("in clear", Samples.of(rates["in clear", together], "entries/s")),
        )
        for together, words in ((1, "one by one"), (SAME_PASS, f"{SAME_PASS} at once"))
    )


def _rate(work: Callable[[], object], count: int) -> float:
    """Calls a second of CPU time."""
    begun = time.process_time()
    for _ in range(count):
        work()
    return count / (time.process_time() - begun)


def _about_people(schema: RecordSchema) -> RecordSchema:
    return RecordSchema(name=schema.name, description=schema.description, fields=(*schema.fields, SUBJECT))
