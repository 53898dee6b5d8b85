"""Signatures: one key per installation, made once and kept to its owner; nothing unsigned is ever taken."""

from __future__ import annotations

import base64
import json
import multiprocessing
import stat
import traceback
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.errors import ConfigError, IntegrityError, StorageError
from lifecycle.records.signing import PURPOSE, Ed25519Signer, key_id

MANIFEST = b'{"format": 1}'


@pytest.fixture
def keys(tmp_path) -> Path:
    return tmp_path / "state" / "keys"


@pytest.fixture
def signer(keys) -> Ed25519Signer:
    return Ed25519Signer(keys)


def public_part(keys: Path) -> Path:
    (path,) = (keys / "trusted").glob("*.pub")
    return path


def private_pem(kind) -> bytes:
    return kind.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_what_was_signed_verifies(signer):
    signer.verify(MANIFEST, signer.sign(MANIFEST))


def test_the_same_content_gives_the_same_signature(signer):
    assert signer.sign(MANIFEST) == signer.sign(MANIFEST)


def test_nothing_is_made_before_the_first_signature(keys, signer):
    assert not keys.exists()
    signer.sign(MANIFEST)
    assert sorted(path.name for path in keys.iterdir()) == ["release.key", "trusted"]
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    assert stat.S_IMODE((keys / "release.key").stat().st_mode) == 0o600


def test_the_signature_file_names_its_key(keys, signer):
    envelope = json.loads(signer.sign(MANIFEST))
    key = load_pem_private_key((keys / "release.key").read_bytes(), password=None)
    assert isinstance(key, Ed25519PrivateKey)
    assert envelope["key"] == key_id(key.public_key()) == public_part(keys).stem
    assert len(envelope["key"]) == 16
    assert envelope["algorithm"] == "ed25519"


def test_a_server_verifies_with_public_keys_alone(keys, signer, tmp_path):
    signature = signer.sign(MANIFEST)
    server = tmp_path / "server"
    (server / "trusted").mkdir(parents=True)
    (server / "trusted" / "anything.pub").write_bytes(public_part(keys).read_bytes())

    Ed25519Signer(server).verify(MANIFEST, signature)

    assert not (server / "release.key").exists()
    assert [path.name for path in server.iterdir()] == ["trusted"]


def test_verifying_where_there_are_no_keys_trusts_nobody_and_makes_nothing(signer, tmp_path):
    signature = signer.sign(MANIFEST)
    empty = tmp_path / "empty"
    with pytest.raises(IntegrityError, match=r"is not trusted \(trusted: none\)"):
        Ed25519Signer(empty).verify(MANIFEST, signature)
    assert not empty.exists()


def test_another_installations_key_is_refused_until_it_is_trusted(keys, signer, tmp_path):
    other = tmp_path / "other"
    signature = Ed25519Signer(other).sign(MANIFEST)
    signer.sign(MANIFEST)
    with pytest.raises(IntegrityError, match="which is not trusted") as caught:
        signer.verify(MANIFEST, signature)
    assert str(keys / "trusted") in caught.value.hint

    (keys / "trusted" / "colleague.pub").write_bytes(public_part(other).read_bytes())
    signer.verify(MANIFEST, signature)

    (keys / "trusted" / "colleague.pub").unlink()
    with pytest.raises(IntegrityError, match="which is not trusted"):
        signer.verify(MANIFEST, signature)


def test_a_revoked_own_key_does_not_come_back_by_itself(keys, signer):
    signature = signer.sign(MANIFEST)
    public_part(keys).unlink()
    signer.sign(MANIFEST)
    with pytest.raises(IntegrityError, match="which is not trusted"):
        signer.verify(MANIFEST, signature)


def test_another_content_is_refused(signer):
    signature = signer.sign(MANIFEST)
    with pytest.raises(IntegrityError, match=r"the signature of key [0-9a-f]{16} does not fit the manifest"):
        signer.verify(MANIFEST + b" ", signature)


def test_a_signature_for_another_purpose_is_refused(keys, signer):
    """The bytes of a manifest, signed by the right key as something else, are no release."""
    envelope = json.loads(signer.sign(MANIFEST))
    content_of_another_kind = MANIFEST.removeprefix(PURPOSE)
    key = load_pem_private_key((keys / "release.key").read_bytes(), password=None)
    assert isinstance(key, Ed25519PrivateKey)
    envelope["signature"] = base64.b64encode(key.sign(content_of_another_kind)).decode()
    forged = json.dumps(envelope, separators=(",", ":")).encode() + b"\n"
    with pytest.raises(IntegrityError, match="does not fit the manifest"):
        signer.verify(MANIFEST, forged)


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda _: b"\x00\xff",
        lambda text: text[:-10],
        lambda text: text + b" ",
        lambda text: text.replace(b"ed25519", b"none"),
        lambda text: text.replace(b'"signature"', b'"other"'),
        lambda text: text.replace(b'{"key"', b'{"extra":1,"key"'),
        lambda text: text.replace(b'==",', b'",').replace(b'=="', b'"'),
        lambda text: b"[" + text + b"]",
    ],
)
def test_a_malformed_signature_file_is_refused(signer, damage):
    with pytest.raises(IntegrityError, match="the signature file is malformed"):
        signer.verify(MANIFEST, damage(signer.sign(MANIFEST)))


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    signer = Ed25519Signer(tmp_path_factory.mktemp("signed"))
    return signer, signer.sign(MANIFEST)


@given(st.data())
def test_no_flipped_bit_survives(signed, data):
    """In the signature file or in what it signs: there is one spelling of each, and no slack in it."""
    signer, signature = signed
    which = data.draw(st.sampled_from(["content", "signature"]))
    flipped = bytearray(MANIFEST if which == "content" else signature)
    bit = data.draw(st.integers(0, 8 * len(flipped) - 1))
    flipped[bit // 8] ^= 1 << bit % 8
    with pytest.raises(IntegrityError):
        signer.verify(*((bytes(flipped), signature) if which == "content" else (MANIFEST, bytes(flipped))))


def _sign(keys: Path, ready, go, results) -> None:
    ready.release()
    go.wait()
    results.put(Ed25519Signer(keys).sign(MANIFEST))


def test_two_processes_that_sign_first_end_with_one_key(keys):
    context = multiprocessing.get_context("fork")
    ready, go, results = context.Semaphore(0), context.Event(), context.Queue()
    workers = [context.Process(target=_sign, args=(keys, ready, go, results)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for _ in workers:
        ready.acquire()
    go.set()
    signatures = {results.get(timeout=20) for _ in workers}
    for worker in workers:
        worker.join()
    assert len(signatures) == 1
    assert sorted(path.name for path in keys.iterdir()) == ["release.key", "trusted"]
    Ed25519Signer(keys).verify(MANIFEST, signatures.pop())
    assert public_part(keys)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_key_that_others_can_read_is_refused(keys, signer, mode):
    signer.sign(MANIFEST)
    (keys / "release.key").chmod(mode)
    with pytest.raises(ConfigError, match=f"has mode {mode:04o}") as caught:
        signer.sign(MANIFEST)
    assert "chmod 600" in caught.value.hint
    (keys / "release.key").chmod(0o600)
    signer.sign(MANIFEST)


@pytest.mark.parametrize(
    "content",
    [b"", b"not a key", private_pem(generate_private_key(65537, 2048))],
    ids=["empty", "text", "RSA"],
)
def test_a_private_key_of_another_kind_is_refused_and_not_shown(keys, signer, content):
    keys.mkdir(parents=True)
    (keys / "release.key").write_bytes(content)
    (keys / "release.key").chmod(0o600)
    with pytest.raises(ConfigError, match="is not an unencrypted Ed25519 private key") as caught:
        signer.sign(MANIFEST)
    shown = "".join(traceback.format_exception(caught.value))
    assert not content or content.decode() not in shown
    assert (keys / "release.key").read_bytes() == content, "and it is left for its owner to look at"


def test_a_public_key_that_is_none_is_named(keys, signer):
    signature = signer.sign(MANIFEST)
    (keys / "trusted" / "odd.pub").write_text("no key")
    with pytest.raises(ConfigError, match=r"odd\.pub is not a readable Ed25519 public key"):
        signer.verify(MANIFEST, signature)
    rsa = generate_private_key(65537, 2048).public_key()
    pem = rsa.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (keys / "trusted" / "odd.pub").write_bytes(pem)
    with pytest.raises(ConfigError, match=r"odd\.pub is not a readable Ed25519 public key"):
        signer.verify(MANIFEST, signature)


def test_nothing_of_the_private_key_is_ever_shown(keys, signer):
    signature = signer.sign(MANIFEST)
    secret = (keys / "release.key").read_text().splitlines()[1]
    (keys / "release.key").chmod(0o644)
    shown = repr(signer) + repr(vars(signer)) + signature.decode()
    for attempt in (lambda: signer.sign(MANIFEST), lambda: signer.verify(b"other", signature)):
        with pytest.raises((ConfigError, IntegrityError)) as caught:
            attempt()
        shown += "".join(traceback.format_exception(caught.value))
    assert secret not in shown
    assert "PRIVATE" not in shown


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "keys").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="cannot store a signing key") as caught:
        Ed25519Signer(tmp_path / "keys").sign(MANIFEST)
    assert "LIFECYCLE_HOME" in caught.value.hint
