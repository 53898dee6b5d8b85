"""A scan finds sealed files by what they are, counts whose rows are in them, and says what it cannot read."""

from __future__ import annotations

import os
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
from lifecycle.records.scan import Place, scan, scan_objects
from lifecycle.records.sealing import seal_segment
from tests.simulators.keyring import KeyRingSimulator

ADA, BOB, EVE = (bytes([number]) * 16 for number in (1, 2, 3))
TWIN = ADA[:8] + BOB[8:]
"""Shares half of Ada's ref."""


def sealed(path: Path, *owners: bytes, values: pa.Array | None = None, block_rows: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = pa.array(range(len(owners))) if values is None else values
    table = pa.table({"who": pa.array(owners, pa.binary(16)), "value": values})
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


class Store:
    """A store in memory that notes what is read of it."""

    at_once = 2

    def __init__(self, **objects: bytes) -> None:
        self.objects = objects
        self.sizes = {name: len(content) for name, content in objects.items()}
        self.asked: dict[str, int] = dict.fromkeys(objects, 0)
        self.fails = ""

    def read(self, name: str, start: int, end: int) -> bytes:
        if name == self.fails and start:
            raise OSError("the line is dead")
        self.asked[name] += end - start
        return self.objects[name][start:end]


def test_a_store_is_looked_through_as_a_folder_is_and_of_large_objects_little_is_read(tmp_path):
    path = tmp_path / "large"
    noise = pa.array([os.urandom(40_000) for _ in range(60)], pa.binary())
    sealed(path, *[ADA, BOB, EVE] * 20, values=noise, block_rows=100)
    sealed(tmp_path / "small", ADA, BOB)
    pq.write_table(pa.table({"noise": noise}), tmp_path / "clear")
    (tmp_path / "cut").write_bytes((tmp_path / "small").read_bytes()[:-9])
    (tmp_path / "empty").touch()
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    store = Store(**files)

    found = scan_objects("remote", "s3://bucket", store, ADA, [ADA, EVE])

    there = scan(Place("remote", tmp_path), ADA, [ADA, EVE])
    assert (found.sealed, set(found.unreadable)) == (there.sealed, {"cut"}) == (2, set(there.unreadable))
    assert {file.file: file for file in found.held} == {file.file: file for file in there.held}
    assert store.asked["large"] < len(files["large"]) / 3
    assert store.asked["clear"] < len(files["clear"]) / 3


def test_a_store_that_fails_midway_proves_nothing(tmp_path):
    content = sealed(tmp_path / "a", ADA, values=pa.array([os.urandom(400_000)])).read_bytes()
    store = Store(a=content)
    store.fails = "a"
    with pytest.raises(OSError, match="the line is dead"):
        scan_objects("remote", "s3://bucket", store, ADA, [ADA])


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
