"""A manifest says which segments a dataset has: none is lost, repeated, moved or brought back unnoticed."""

from __future__ import annotations

from uuid import UUID

import pyarrow as pa
import pytest

from lifecycle.core.errors import IntegrityError, ManifestError
from lifecycle.records.manifest import (
    NAME,
    PURPOSE,
    SIGNATURE,
    SegmentManifest,
    manifest_of,
    read_manifest,
    verify_segments,
    write_manifest,
)
from lifecycle.records.plan import Plan
from lifecycle.records.sealing import seal_segment
from lifecycle.records.segment import SealedSegment
from lifecycle.records.signing import Ed25519Signer
from tests.simulators.keyring import KeyRingSimulator

REF = bytes(16)
KEYS = KeyRingSimulator().register(REF)


@pytest.fixture
def signer(tmp_path):
    return Ed25519Signer(tmp_path / "keys", PURPOSE)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "patients"
    folder.mkdir()
    return folder


def month(folder, number, *, dataset="patients", value=1):
    table = pa.table({"ref": pa.array([REF] * number, pa.binary(16)), "value": [value] * number})
    path = folder / f"2026-{number:02}.parquet"
    plan = Plan(dataset, "ref", {"value": "clinical"})
    return seal_segment([table], table.schema, path, plan=plan, keys=KEYS, segment=UUID(int=number))


def opened(folder, manifest, months=(1, 2, 3)):
    paths = [folder / f"2026-{number:02}.parquet" for number in months]
    verify_segments(folder, manifest, paths)
    return [SealedSegment(path).read(KEYS, ["clinical"]).table.num_rows for path in paths]


@pytest.fixture
def first(folder, signer):
    manifest = manifest_of("patients", [month(folder, number) for number in (1, 2, 3)])
    write_manifest(folder, manifest, signer)
    return manifest


def test_a_whole_dataset_is_read_in_order(folder, signer, first):
    manifest = read_manifest(folder, signer, dataset="patients", digest=first.digest)
    assert manifest == first
    assert opened(folder, manifest) == [1, 2, 3]


def test_a_dropped_a_replaced_and_a_foreign_segment_are_caught(folder, signer, first):
    segment = folder / "2026-02.parquet"
    content = segment.read_bytes()
    month(folder, 2)  # the same rows, sealed anew
    with pytest.raises(ManifestError, match=r"2026-02\.parquet .* not the one"):
        opened(folder, first)
    segment.write_bytes((folder / "2026-01.parquet").read_bytes())
    with pytest.raises(ManifestError, match="not the one"):
        opened(folder, first)
    assert opened(folder, first, months=(1, 3)) == [1, 3]  # nobody reads it
    segment.unlink()
    with pytest.raises(ManifestError, match=r"lacks 2026-02\.parquet"):
        opened(folder, first, months=(1, 3))
    segment.write_bytes(content)
    month(folder, 4)
    with pytest.raises(ManifestError, match=r"2026-04\.parquet, which its manifest does not name"):
        opened(folder, first)


def test_nobody_but_the_signer_can_reorder_repeat_or_drop(folder, signer, first):
    one, two, three = first.segments
    for segments in ((two, one, three), (one, two), (one, two, three, three)):
        forged = SegmentManifest(dataset="patients", sequence=1, segments=segments)
        (folder / NAME).write_bytes(forged.content())
        with pytest.raises(IntegrityError, match="does not fit"):
            read_manifest(folder, signer, dataset="patients")


def test_a_signature_for_a_release_is_none_for_a_dataset(folder, tmp_path, signer, first):
    release = Ed25519Signer(tmp_path / "keys")
    (folder / SIGNATURE).write_bytes(release.sign(first.content()))
    with pytest.raises(IntegrityError):
        read_manifest(folder, signer, dataset="patients")


def test_an_older_version_is_not_taken_for_the_newest(folder, signer, first):
    old = {path: path.read_bytes() for path in folder.iterdir()}
    second = first.successor([*first.segments[:2], month(folder, 3, value=2)])
    write_manifest(folder, second, signer)
    assert read_manifest(folder, signer, dataset="patients", after=first).previous == first.digest
    for path, content in old.items():
        path.write_bytes(content)
    assert read_manifest(folder, signer, dataset="patients").sequence == 1  # whole, and wanted by its digest
    with pytest.raises(ManifestError, match="replay"):
        read_manifest(folder, signer, dataset="patients", at_least=2)
    with pytest.raises(ManifestError, match="replay"):
        read_manifest(folder, signer, dataset="patients", after=first)
    with pytest.raises(ManifestError, match="not the version"):
        read_manifest(folder, signer, dataset="patients", digest=second.digest)


def test_a_version_that_does_not_follow_the_one_before_is_refused(folder, signer, first):
    stranger = manifest_of("patients", first.segments[:1]).successor(first.segments)
    write_manifest(folder, stranger, signer)
    with pytest.raises(ManifestError, match="not the version"):
        read_manifest(folder, signer, dataset="patients", after=first)


def test_a_manifest_names_each_segment_once_and_only_its_own_datasets(folder, signer, first):
    with pytest.raises(ManifestError, match="twice"):
        manifest_of("patients", [*first.segments, first.segments[0]])
    with pytest.raises(ManifestError, match=r"2026-04\.parquet of another dataset"):
        manifest_of("patients", [month(folder, 4, dataset="staff")])
    with pytest.raises(ManifestError, match="'staff'"):
        read_manifest(folder, signer, dataset="staff")


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format":2}'])
def test_a_malformed_manifest_is_refused_though_it_is_signed(folder, signer, content):
    (folder / NAME).write_bytes(content)
    (folder / SIGNATURE).write_bytes(signer.sign(content))
    with pytest.raises(ManifestError, match="malformed"):
        read_manifest(folder, signer, dataset="patients")


def test_a_folder_without_a_manifest_is_no_dataset(folder, signer):
    with pytest.raises(ManifestError, match="no readable manifest"):
        read_manifest(folder, signer, dataset="patients")
