"""A scan finds sealed files by what they are, counts whose rows are in them, and says what it cannot read."""

from __future__ import annotations

import shutil
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.errors import StorageError
from lifecycle.records.plan import Plan
from lifecycle.records.scan import Place, scan
from lifecycle.records.sealing import seal_segment
from tests.simulators.keyring import KeyRingSimulator

ADA, BOB, EVE = (bytes([number]) * 16 for number in (1, 2, 3))
TWIN = ADA[:8] + BOB[8:]
"""Shares half of Ada's ref."""


def sealed(path: Path, *owners: bytes, block_rows: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"who": pa.array(owners, pa.binary(16)), "value": pa.array(range(len(owners)))})
    seal_segment(
        [table],
        table.schema,
        path.with_name("draft.parquet"),
        plan=Plan(dataset="patients", subject="who"),
        keys=KeyRingSimulator().register(*owners),
        segment=uuid4(),
        block_rows=block_rows,
    )
    return path.with_name("draft.parquet").replace(path)


def test_files_are_known_by_what_they_are(tmp_path):
    sealed(tmp_path / "cache" / "files" / "md5" / "ab" / "cdef", ADA, BOB, ADA, EVE, ADA, BOB)
    sealed(tmp_path / "b.txt", BOB)
    pq.write_table(pa.table({"who": ["Ada"]}), tmp_path / "clear.parquet")
    (tmp_path / "notes.parquet").write_text("no Parquet at all")

    found = scan(Place("all", tmp_path), ADA, [ADA, EVE])

    assert (found.sealed, found.unreadable) == (2, ())
    [held] = found.held
    assert (held.file, held.dataset) == ("cache/files/md5/ab/cdef", "patients")
    assert (held.lost, held.others, held.erased_before) == (3, 2, 1)


def test_who_shares_half_of_a_ref_is_somebody_else(tmp_path):
    sealed(tmp_path / "a.parquet", ADA, TWIN, TWIN, BOB)
    [held] = scan(Place("all", tmp_path), BOB, [ADA, BOB]).held
    assert (held.lost, held.others, held.erased_before) == (1, 2, 1)


def test_a_file_that_is_cut_is_named_and_never_passed_over(tmp_path):
    path = sealed(tmp_path / "a.parquet", ADA)
    path.write_bytes(path.read_bytes()[:-9])
    found = scan(Place("all", tmp_path), ADA, [ADA])
    assert (found.sealed, found.unreadable, found.held) == (0, ("a.parquet",), ())


def test_places_do_not_overlap_and_environments_hold_no_records(tmp_path):
    inner = tmp_path / "state"
    sealed(inner / "a.parquet", ADA)
    sealed(tmp_path / "env" / "a.parquet", ADA)
    (tmp_path / "env" / "pyvenv.cfg").touch()
    assert scan(Place("all", tmp_path, (inner,)), ADA, [ADA]).held == ()
    assert scan(Place("state", inner), ADA, [ADA]).lost == 1
    assert scan(Place("nowhere", tmp_path / "nowhere"), ADA, [ADA]).sealed == 0


def test_what_may_not_be_read_proves_nothing(tmp_path, monkeypatch):
    path = sealed(tmp_path / "a.parquet", ADA)

    def refused(self, *_):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refused)  # root may read anything
    with pytest.raises(StorageError, match=f"{path} cannot be read: Permission denied"):
        scan(Place("all", tmp_path), ADA, [ADA])


@given(st.lists(st.sampled_from([ADA, BOB, EVE, TWIN]), min_size=1, max_size=30), st.integers(1, 7))
def test_every_row_is_counted_once(tmp_path_factory, owners, block_rows):
    folder = tmp_path_factory.mktemp("scan")
    try:
        sealed(folder / "a.parquet", *owners, block_rows=block_rows)
        found = scan(Place("all", folder), ADA, [ADA, EVE])
        assert found.lost == owners.count(ADA)
        for held in found.held:
            assert held.erased_before == owners.count(EVE)
            assert held.others == owners.count(BOB) + owners.count(TWIN)
    finally:
        shutil.rmtree(folder)
