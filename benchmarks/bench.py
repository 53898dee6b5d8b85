"""What the figures share: how much to measure, a scratch folder, and a project with a live release."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.commands import ROOT
from benchmarks.project import HOUSE_PRICES, Project, Story
from lifecycle.training.probes import LEAST_ROWS


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        updates: Times an update is repeated.
        starts: Times a server is started, or an update that finds nothing new is run.
        commands: Times a command of a fraction of a second is run.
        warm_ups: Times each is run before, and not counted.
        ingests: Times each ingest is repeated.
        rows: Rows of the large ingest.
        csv_rows: Rows of the ingest from CSV.
        scored: Rows of the batch that is scored.
        every: One of how many sales the house-price models are trained on.
        probes: Rows that ONNX and the house-price estimator are compared on at least.
        rounds: Times two servers are loaded in turn, or sealed records and plain ones are read.
        load_seconds: Length of one load of a server; whole seconds.
        requests: Over which memory must be steady.
        sealed: Rows of the sealed table.
        keys: People of the key table.
        read: Rows of the read that is put on record.
        patients: People in each monthly snapshot that an erasure looks through.
        trained: Patients that a model is trained on, sealed and in clear.
        trainings: Times it is trained on each.
        spans: Months that one partition of these patients stands for; each is a snapshot of its own.
        trees: Of the house-price model; None: as many as it has.
    """

    updates: int
    starts: int
    commands: int
    ingests: int
    rows: int
    csv_rows: int
    scored: int
    every: int
    warm_ups: int = 1
    probes: int = 1000
    rounds: int = 1
    load_seconds: float = 1.0
    requests: int = 1000
    sealed: int = 2000
    keys: int = 500
    read: int = 1000
    patients: int = 50
    trained: int = 1000
    trainings: int = 1
    spans: tuple[int, ...] = (36,)
    trees: int | None = None


FULL = Size(
    updates=3,
    starts=5,
    commands=20,
    ingests=3,
    rows=10_000_000,
    csv_rows=1_000_000,
    scored=50_000_000,
    every=1,
    probes=LEAST_ROWS,
    rounds=7,
    load_seconds=5.0,
    requests=1_000_000,
    sealed=250_000,
    keys=100_000,
    read=100_000,
    patients=20_000,
    trained=50_000,
    trainings=15,
    spans=(1, 12),
)
SMALL = Size(
    updates=1, starts=1, commands=2, ingests=1, rows=100_000, csv_rows=20_000, scored=20_000, every=20
)


@dataclass(frozen=True)
class Bench:
    """One run of the benchmarks.

    Attributes:
        folder: Scratch; the caller removes it.
        size: How much is measured.
        say: Takes a line of progress.
        story: Which system is deployed and updated, and when.
        repository: The git repository it is cloned from.
    """

    folder: Path
    size: Size
    say: Callable[[str], None]
    story: Story = HOUSE_PRICES
    repository: Path = ROOT

    @cached_property
    def project(self) -> Project:
        """A fresh clone in which the system was deployed for the first time."""
        self.say(f"a fresh clone, and the first deployment as of {self.story.first}")
        return Project.deployed(self.folder / "project", self.repository, self.story)
