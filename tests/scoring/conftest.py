"""Homes to score: a signed release of a small real model, and jobs over files a test writes down."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lifecycle.core.params import BatchParams, SourceParams, SplitParams, SystemParams
from lifecycle.core.ports import Engine, OpenVault
from lifecycle.core.record import RecordSchema
from lifecycle.core.reference import CategoryProfile, NumberProfile, ReferenceProfile
from lifecycle.core.release import write_release
from lifecycle.core.rows import Tensors, encode
from lifecycle.core.scoring import ScoreManifest, ScoreRequest, ScoreResult
from lifecycle.core.values import Release
from lifecycle.records.signing import Ed25519Signer
from lifecycle.serving.engine import load_engine
from lifecycle.serving.store import VerifiedReleaseStore
from lifecycle.steps.score import Scorer
from lifecycle.training.reference import profile_number
from tests.serving.conftest import FACTS, HOMES, NOON, promote, write_model
from tests.simulators.ledger import LedgerSimulator

ROWS = 250
COLUMNS = {
    "home_id": [f"h{n}" for n in range(ROWS)],
    "sold_on": [date(1996, 1, 1 + n % 28) for n in range(ROWS)],
    "area": [500.0 + 7 * n for n in range(ROWS)],
    "beds": [n % 6 for n in range(ROWS)],
    "garden": [n % 2 == 0 for n in range(ROWS)],
    "wall": [("brick", "wood")[n % 3 == 0] for n in range(ROWS)],
    "depth": [None if n % 5 == 0 else 20.0 + n for n in range(ROWS)],
    "note": [None if n % 2 else f"n{n}" for n in range(ROWS)],
}
HOUSES = pl.DataFrame(COLUMNS)


@dataclass
class Counting:
    """An engine that counts the rows it is asked about."""

    engine: Engine
    rows: int = 0

    def predict(self, tensors: Tensors) -> Any:
        self.rows += len(tensors)
        return self.engine.predict(tensors)

    def close(self) -> None:
        self.engine.close()


@dataclass
class World:
    """A project folder with releases in a ledger."""

    root: Path
    batch: dict[str, Any] = field(default_factory=dict)
    ledger: LedgerSimulator = field(default_factory=LedgerSimulator)
    engine: Counting | None = None
    schema: RecordSchema = HOMES
    open_vault: OpenVault = lambda _: None

    @property
    def out(self) -> Path:
        return self.root / "scores"

    @property
    def work(self) -> Path:
        return self.root / ".scores.scoring"

    @property
    def signer(self) -> Ed25519Signer:
        return Ed25519Signer(self.root / "keys")

    def release(
        self, version: str = "1", constant: float = 0.0, *, profiled: bool = True, **facts: object
    ) -> Release:
        """Make a release live; its reference is what it answers for ``HOUSES``."""
        folder = write_model(self.root / "model" / version, constant, self.schema)
        files = {name: folder / name for name in ("model.onnx", "schema.json")}
        if profiled:
            answers = np.asarray(HOUSES["area"] * 2 + constant)
            seen = encode(self.schema, HOUSES.to_dict(as_series=False), ROWS)
            reference = ReferenceProfile(
                system="homes",
                record_schema=self.schema.digest,
                rows=1,
                numbers={
                    name: profile_number(seen.numbers[:, i]) for i, name in enumerate(self.schema.numbers)
                },
                categories={
                    name: CategoryProfile(counts=Counter(words), other=0, missing=words.count(""))
                    for name, words in zip(self.schema.categories, seen.categories.T.tolist(), strict=True)
                },
                label=profile_number(answers),
                prediction=_repeated(profile_number(answers + 300.0), 40),
            )
            (folder / "reference.json").write_text(reference.model_dump_json())
            files["reference.json"] = folder / "reference.json"
        release = write_release(files, FACTS | facts, self.root / "registry", self.signer)
        promote(self.ledger, release, version)
        return release

    def scorer(self, *inputs: str, **asked: Any) -> Scorer:
        """A job over ``homes.parquet``, unless other files are named."""
        batch = {"max_bad_share": 0.1, "max_shift": 0.5} | self.batch
        params = SystemParams(
            entry="homes:SYSTEM",
            code="homes.py",
            sources=(
                SourceParams(origin="user", kind="csv", path="x.csv", columns={"area": "TLA", "price": "P"}),
            ),
            split=SplitParams(validation_days=1, test_days=1),
            batch=BatchParams.model_validate(batch),
        )
        asked = {"inputs": inputs or ("homes.parquet",), "output": "scores", "chunk_rows": 100} | asked

        def load(folder: Path) -> Engine:
            self.engine = Counting(load_engine(folder))
            return self.engine

        return Scorer(
            name="homes",
            request=ScoreRequest.of(**asked),
            as_of=NOON,
            past=False,
            actor="ada",
            root=self.root,
            params=params,
            ledger=self.ledger,
            store=VerifiedReleaseStore(self.root / "cache", self.signer),
            signer=self.signer,
            load_engine=load,
            open_vault=self.open_vault,
        )

    def score(self, *inputs: str, **asked: Any) -> ScoreResult:
        """Run a job to its end, as the flow does."""
        with self.scorer(*inputs, **asked).opened() as scorer:
            job = scorer.prepare()
            return scorer.settled(job) or scorer.publish(job, scorer.score(job))

    def manifest(self) -> ScoreManifest:
        """What is published."""
        return ScoreManifest.model_validate_json((self.out / "manifest.json").read_bytes())

    def rows(self) -> pl.DataFrame:
        """The scores that the manifest names."""
        return pl.concat(pl.read_parquet(self.out / part.name) for part in self.manifest().parts)

    def refused(self) -> list[dict[str, Any]]:
        """The lines of the published quarantine."""
        text = (self.out / "quarantine.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def bytes_of(self, folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _repeated(profile: NumberProfile, times: int) -> NumberProfile:
    """As if so many times more rows had been profiled."""
    return profile.model_copy(update={"counts": tuple(count * times for count in profile.counts)})


@pytest.fixture
def world(tmp_path: Path) -> World:
    """One release is live, and ``homes.parquet`` holds 250 homes; chunks have 100 rows."""
    found = World(tmp_path)
    found.release()
    HOUSES.write_parquet(tmp_path / "homes.parquet")
    return found
