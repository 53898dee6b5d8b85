"""A release: what was published is what is loaded, byte for byte, or nothing is."""

from __future__ import annotations

import hashlib
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlparse

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lifecycle.core.errors import IntegrityError
from lifecycle.core.release import (
    MANIFEST,
    MODEL,
    REFERENCE,
    SCHEMA,
    SIGNATURE,
    SKOPS,
    Manifest,
    read_schema,
    verify_release,
    write_release,
)
from lifecycle.core.values import Lineage, Parity, Release, Window
from lifecycle.records.signing import Ed25519Signer

START = datetime(1995, 1, 1, tzinfo=UTC)
WINDOW = Window(start=START, end=START.replace(year=1996), rows=100)
FACTS = {
    "system": "house-prices",
    "task": "regression",
    "threshold": 0.5,
    "lineage": Lineage(
        snapshot="a" * 32,
        commit="b" * 40,
        params="c" * 64,
        environment="d" * 64,
        split="e" * 64,
        seed=7,
        train=WINDOW,
        validation=WINDOW,
        test=WINDOW,
    ),
    "metrics": {"median_ape": 0.127, "mae": 12_700.0},
    "parity": Parity(rows=300, worst_relative=1e-6, worst_row="17", rtol=1e-4),
}
CONTENT = {
    MODEL: b"\x08\x0aonnx" * 50,
    SKOPS: b"PK\x03\x04skops" * 30,
    SCHEMA: b'{"name":"Sale","description":"","fields":[]}',
    REFERENCE: b'{"format": 1}',
}
FILES = (*CONTENT, MANIFEST, SIGNATURE)


@pytest.fixture(scope="module")
def signer(tmp_path_factory) -> Ed25519Signer:
    return Ed25519Signer(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Path]:
    """The files that training left."""
    folder = tmp_path_factory.mktemp("model")
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in CONTENT}


@pytest.fixture(scope="module")
def published(made, signer, tmp_path_factory) -> Release:
    return write_release(made, FACTS, tmp_path_factory.mktemp("home") / "releases", signer)


def folder_of(release: Release) -> Path:
    return Path(urlparse(release.uri).path)


@pytest.fixture
def copy(published, tmp_path) -> Path:
    """A copy to tamper with."""
    return Path(shutil.copytree(folder_of(published), tmp_path / "copy"))


def test_a_release_is_named_by_the_digest_of_its_manifest(published, signer):
    folder = folder_of(published)
    assert {path.name for path in folder.iterdir()} == set(FILES)
    assert folder.name == published.digest == hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    manifest = verify_release(folder, published.digest, signer)
    assert manifest.lineage == FACTS["lineage"]
    assert manifest.files[MODEL].size == len(CONTENT[MODEL])
    assert manifest.files[MODEL].sha256 == hashlib.sha256(CONTENT[MODEL]).hexdigest()
    assert read_schema(folder).name == "Sale"


def test_publishing_again_changes_nothing(published, made, signer):
    home = folder_of(published).parent
    before = {path: path.stat().st_mtime_ns for path in folder_of(published).iterdir()}
    assert write_release(made, FACTS, home, signer) == published
    assert {path: path.stat().st_mtime_ns for path in folder_of(published).iterdir()} == before
    assert [path.name for path in home.iterdir()] == [published.digest], "no draft is left"


def test_other_facts_or_files_make_another_release(published, made, signer, tmp_path):
    other = write_release(made, {**FACTS, "threshold": 0.6}, tmp_path, signer)
    assert other.digest != published.digest
    changed = tmp_path / "changed.onnx"
    changed.write_bytes(b"another model")
    assert write_release({**made, MODEL: changed}, FACTS, tmp_path, signer).digest != published.digest


def test_a_release_does_not_depend_on_the_order_of_its_files(published, made, signer, tmp_path):
    backwards = dict(reversed(made.items()))
    assert write_release(backwards, FACTS, tmp_path, signer).digest == published.digest


def test_a_signer_that_fails_publishes_nothing(made, tmp_path):
    class Broken:
        def sign(self, _content: bytes) -> bytes:
            raise IntegrityError("no key")

        def verify(self, content: bytes, signature: bytes) -> None: ...

    with pytest.raises(IntegrityError, match="no key"):
        write_release(made, FACTS, tmp_path / "home", Broken())
    assert list((tmp_path / "home").iterdir()) == []


def test_of_two_publishers_the_first_wins(made, published, signer, tmp_path):
    """The second finds the folder in place while it was preparing its own."""
    home = tmp_path / "home"

    class Slow:
        def sign(self, content: bytes) -> bytes:
            if not (home / published.digest).exists():
                shutil.copytree(folder_of(published), home / published.digest)
            return signer.sign(content)

        def verify(self, content: bytes, signature: bytes) -> None: ...

    assert write_release(made, FACTS, home, Slow()).digest == published.digest
    assert [path.name for path in home.iterdir()] == [published.digest]
    verify_release(home / published.digest, published.digest, signer)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_in_any_file_is_found(published, copy, signer, name):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 0b100
    (copy / name).write_bytes(content)
    told = {
        MANIFEST: "the manifest's digest is",
        SIGNATURE: "signature|signed by key",
    }.get(name, f"{name} was changed")
    with pytest.raises(IntegrityError, match=told) as caught:
        verify_release(copy, published.digest, signer)
    assert "do not serve it" in caught.value.hint
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(published, copy, signer, name):
    (copy / name).unlink()
    with pytest.raises(IntegrityError, match=f"{name} is missing|missing or unexpected files: {name}"):
        verify_release(copy, published.digest, signer)


def test_an_extra_file_is_named(published, copy, signer):
    (copy / "setup.py").write_text("print('hello')")
    with pytest.raises(IntegrityError, match=r"missing or unexpected files: setup\.py"):
        verify_release(copy, published.digest, signer)


@pytest.mark.parametrize("name", CONTENT)
def test_a_folder_in_place_of_a_file_is_found(published, copy, signer, name):
    (copy / name).unlink()
    (copy / name).mkdir()
    with pytest.raises(IntegrityError, match=f"{name} was changed"):
        verify_release(copy, published.digest, signer)


def test_a_renamed_file_is_found(published, copy, signer):
    (copy / MODEL).rename(copy / "other.onnx")
    with pytest.raises(IntegrityError, match=r"unexpected files: model\.onnx, other\.onnx"):
        verify_release(copy, published.digest, signer)


def test_two_files_swapped_are_found(published, copy, signer):
    (copy / MODEL).rename(copy / "x")
    (copy / SKOPS).rename(copy / MODEL)
    (copy / "x").rename(copy / SKOPS)
    with pytest.raises(IntegrityError, match="was changed"):
        verify_release(copy, published.digest, signer)


def test_an_appended_byte_is_found(published, copy, signer):
    with (copy / MODEL).open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(IntegrityError, match=r"model\.onnx was changed"):
        verify_release(copy, published.digest, signer)


def test_a_truncated_manifest_is_found(published, copy, signer):
    os.truncate(copy / MANIFEST, 40)
    with pytest.raises(IntegrityError, match="the manifest's digest is"):
        verify_release(copy, published.digest, signer)


def test_another_installations_signature_is_refused(published, copy, tmp_path):
    stranger = Ed25519Signer(tmp_path / "stranger")
    with pytest.raises(IntegrityError, match="which is not trusted"):
        verify_release(copy, published.digest, stranger)


def test_a_manifest_signed_again_by_a_stranger_is_refused(published, copy, signer, tmp_path):
    """Who changes a file, the manifest and the digest in one still lacks the key."""
    manifest = Manifest.model_validate_json((copy / MANIFEST).read_bytes())
    content = manifest.model_copy(update={"threshold": 0.9}).model_dump_json(indent=1).encode()
    (copy / MANIFEST).write_bytes(content)
    (copy / SIGNATURE).write_bytes(Ed25519Signer(tmp_path / "stranger").sign(content))
    with pytest.raises(IntegrityError, match="which is not trusted"):
        verify_release(copy, hashlib.sha256(content).hexdigest(), signer)


@pytest.mark.parametrize(
    "change",
    [
        (b'"format":', b'"layout":'),
        (b'"format": 1', b'"format": 2'),
        (b'"lineage"', b'"lineages"'),
    ],
    ids=["unknown key", "newer version", "renamed key"],
)
def test_a_well_signed_manifest_of_another_format_is_refused(copy, signer, change):
    content = (copy / MANIFEST).read_bytes()
    assert change[0] in content
    content = content.replace(*change)
    (copy / MANIFEST).write_bytes(content)
    (copy / SIGNATURE).write_bytes(signer.sign(content))
    with pytest.raises(IntegrityError, match="the manifest is of another format"):
        verify_release(copy, hashlib.sha256(content).hexdigest(), signer)


def test_the_digest_that_was_promised_decides(published, copy, signer):
    with pytest.raises(IntegrityError, match=r"release 000000000000: the manifest's digest is"):
        verify_release(copy, "0" * 64, signer)


def test_a_folder_that_is_not_there(published, signer, tmp_path):
    with pytest.raises(IntegrityError, match=r"manifest\.json is missing"):
        verify_release(tmp_path / "nowhere", published.digest, signer)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(data=st.data())
def test_no_random_damage_passes(published, copy, signer, data):
    """One bit anywhere, or any file cut short: whatever is drawn, nothing is loaded."""
    name = data.draw(st.sampled_from(FILES))
    path = copy / name
    whole = path.read_bytes()
    damaged = bytearray(whole)
    if data.draw(st.booleans()):
        bit = data.draw(st.integers(0, 8 * len(whole) - 1))
        damaged[bit // 8] ^= 1 << bit % 8
    else:
        del damaged[data.draw(st.integers(0, len(whole) - 1)) :]
    path.write_bytes(damaged)
    try:
        with pytest.raises(IntegrityError):
            verify_release(copy, published.digest, signer)
    finally:
        path.write_bytes(whole)
    verify_release(copy, published.digest, signer)
