"""Scores of people: sealed before they are on disk, of those who may be scored, opened by those who may."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from lifecycle.core.clock import FixedClock
from lifecycle.core.disclosure import SMALLEST_CELL
from lifecycle.core.errors import AccessDeniedError
from lifecycle.records import audit, manifest
from lifecycle.records.access import Gate, Policy
from lifecycle.records.audit import AuditTrail
from lifecycle.records.consent import ConsentLedger
from lifecycle.records.erasure import Erasure
from lifecycle.records.identifiers import Identifiers
from lifecycle.records.key_table import KeyTable
from lifecycle.records.providers.local_file import LocalKeyFile
from lifecycle.records.signing import Ed25519Signer
from lifecycle.records.vault import SystemVault
from lifecycle.steps.score_summary import as_markdown
from tests.scoring.conftest import HOUSES, ROWS, World
from tests.serving.conftest import OWNED

PEOPLE = HOUSES.with_columns(owner=pl.Series([f"Zyxwvut {n // 2}" for n in range(ROWS)]))
POLICY = Policy.model_validate({"format": 1, "actors": {"doctor": {"care": ["clinical"]}}})
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Practice:
    """A world whose records are sealed."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.schema, world.open_vault = OWNED, lambda _: self.vault()
        world.release()
        self.table = KeyTable(
            f"sqlite:///{world.root}/keys/keys.db",
            LocalKeyFile(world.root / "keys" / "kek.json"),
            FixedClock(NOW),
        )
        self.trail = AuditTrail(self.table, Ed25519Signer(world.root / "keys", purpose=audit.PURPOSE))
        PEOPLE.write_parquet(world.root / "homes.parquet")

    def vault(self, actor: str = "flow") -> SystemVault:
        signer = Ed25519Signer(self.world.root / "keys", purpose=manifest.PURPOSE)
        return SystemVault("homes", OWNED, self.table, self.trail, Gate(POLICY, self.trail), signer, actor)

    def refs(self, *people: int) -> list[bytes]:
        found = Identifiers(self.table, "homes.owner", "homes").find(
            [f"Zyxwvut {person}" for person in people]
        )
        return [ref for ref in found if ref is not None]

    def parts(self) -> list[Path]:
        return sorted(self.world.out.glob("part-*.parquet"))

    def scores(self, actor: str = "doctor") -> pl.DataFrame:
        opened = self.vault(actor).open(self.parts(), ["row", "record_id", "prediction"], "care")
        return pl.concat([pl.DataFrame(pl.from_arrow(part.table)) for part in opened])


@pytest.fixture
def practice(world) -> Practice:
    return Practice(world)


def test_scores_are_sealed_and_are_what_the_model_says(practice):
    result = practice.world.score()
    assert (result.status, result.counts.scored) == ("published", ROWS)
    for path in practice.world.out.iterdir():
        assert b"Zyxwvut" not in path.read_bytes()
        assert b"h249" not in path.read_bytes()
    assert pl.read_parquet(practice.parts()[0]).columns == ["ref", "n", "sealed:clinical"]
    found = practice.scores().sort("row")
    assert found["record_id"].to_list() == HOUSES["home_id"].to_list()
    assert found["prediction"].null_count() == 0
    assert practice.trail.verify().entries == 1


def test_whoever_may_not_see_scores_does_not(practice):
    practice.world.score()
    with pytest.raises(AccessDeniedError):
        practice.scores("clerk")


def test_who_was_erased_or_withdrew_is_not_scored_and_counted(practice):
    practice.vault().admit([f"Zyxwvut {n}" for n in range(ROWS // 2)])
    erased, withdrawn = practice.refs(3, 4)
    Erasure(practice.table).erase([erased])
    ConsentLedger(practice.table).withdraw([withdrawn], "scoring", NOW)
    result = practice.world.score()
    counts = result.counts
    assert (result.status, counts.scored, counts.erased, counts.unconsented) == ("published", ROWS - 4, 2, 2)
    assert result.reason.endswith("2 left out as erased, 2 as without consent")
    assert not {"h6", "h7", "h8", "h9"} & set(practice.scores()["record_id"])
    told = as_markdown(result)
    assert "| left out: the person was erased | 2 |" in told
    assert "in 3 sealed files, one per chunk; `access.yaml`" in told
    assert result.folder in told
    assert sum(band.rows for band in result.bands) == ROWS - 4
    assert min(band.rows for band in result.bands) >= SMALLEST_CELL
    assert practice.world.score().bands == result.bands, "told again from the manifest"


def test_of_few_people_it_is_not_told_how_their_answers_are_spread(practice):
    practice.world.batch = {"explain": {"max_outside": 0}, "max_shift": 99.0}
    odd = PEOPLE.head(SMALLEST_CELL - 1).with_columns(area=pl.lit(9_000.0))
    odd.write_parquet(practice.world.root / "homes.parquet")
    result = practice.world.score()
    assert (result.bands, result.counts.abstained) == ((), SMALLEST_CELL - 1)
    told = as_markdown(result)
    assert "not shown of fewer than 11" in told
    assert "| … of these without a decision, each with the reason why | fewer than 11 |" in told


def test_who_is_erased_later_is_gone_from_what_was_published(practice):
    practice.world.score()
    Erasure(practice.table).erase(practice.refs(3))
    assert practice.scores().height == ROWS - 2
    assert practice.world.score().status == "unchanged", "the folder still verifies"
