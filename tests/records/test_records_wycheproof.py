"""Published vectors, valid and forged, against the very calls that seal, wrap, derive and sign.

``wycheproof.json`` says where its vectors come from. Wycheproof has none for BLAKE2b: the self-test of
RFC 7693 stands for them.
"""

from __future__ import annotations

import base64
import json
from hashlib import blake2b
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from lifecycle.core.errors import IntegrityError
from lifecycle.records import wrapping
from lifecycle.records.derivation import keyed_hashes
from lifecycle.records.envelope import TAG_BYTES
from lifecycle.records.private_files import store_private
from lifecycle.records.providers import keyset
from lifecycle.records.providers.keyset import Keyset
from lifecycle.records.providers.port import WrappedKey
from lifecycle.records.signing import Ed25519Signer, Envelope, key_id
from lifecycle.records.wrapping import TableKey

VECTORS = json.loads(Path(__file__).with_name("wycheproof.json").read_text(encoding="utf-8"))["vectors"]


def vectors(name: str) -> list[tuple[int, dict[str, Any], bool]]:
    """Those of one algorithm: raw values, and whether they are valid."""
    cases = []
    for vector in VECTORS[name]:
        told = {
            key: bytes.fromhex(value)
            for key, value in vector.items()
            if isinstance(value, str) and key != "result"
        }
        cases.append((vector["tcId"], told, vector["result"] == "valid"))
    assert {valid for _, _, valid in cases} == {True, False}
    return cases


def test_the_envelopes_ciphers_agree():
    """The calls of ``lifecycle.records.envelope``, word by word."""
    for number, told, valid in vectors("AES-256-GCM"):
        key, nonce, bound, sealed = told["key"], told["iv"], told["aad"], told["ct"] + told["tag"]
        into = bytearray(len(sealed) - TAG_BYTES)
        if valid:
            assert AESGCM(key).encrypt(nonce, told["msg"], bound) == sealed, number
            AESGCM(key).decrypt_into(nonce, sealed, bound, memoryview(into))
            assert into == told["msg"], number
        else:
            with pytest.raises(InvalidTag):
                AESGCM(key).decrypt_into(nonce, sealed, bound, memoryview(into))
    for number, told, valid in vectors("AES-256-SIV"):
        key, bound, sealed = told["key"], told["aad"], told["ct"]
        into = bytearray(len(sealed) - TAG_BYTES)
        if valid:
            assert AESSIV(key).encrypt(told["msg"], [bound]) == sealed, number
            AESSIV(key).decrypt_into(sealed, [bound], memoryview(into))
            assert into == told["msg"], number
        else:
            with pytest.raises(InvalidTag):
                AESSIV(key).decrypt_into(sealed, [bound], memoryview(into))


def test_the_wrapping_of_table_keys_agrees(monkeypatch):
    for number, told, valid in vectors("AES-256-GCM"):
        versions = Keyset({1: told["key"]}, "a test")
        wrapped = WrappedKey(1, told["iv"] + told["ct"] + told["tag"])
        if valid:
            monkeypatch.setattr(keyset.os, "urandom", lambda _, nonce=told["iv"]: nonce)
            assert versions.wrap(told["msg"], told["aad"]) == wrapped, number
            assert versions.unwrap(wrapped, told["aad"]) == told["msg"], number
        else:
            with pytest.raises(IntegrityError):
                versions.unwrap(wrapped, told["aad"])


def test_the_wrapping_of_subject_keys_agrees(monkeypatch):
    """Its associated data is ref, version and generation: any of ten bytes and more can be put so."""
    valid_ones = 0
    for number, told, valid in vectors("AES-256-GCM"):
        bound = told["aad"]
        if len(bound) < 10 and valid:
            continue
        # A forgery is refused whatever it is bound to.
        bound = bound.rjust(10, b"\0")
        key = TableKey(int.from_bytes(bound[-10:-2]), told["key"])
        ref, generation = bound[:-10], int.from_bytes(bound[-2:])
        wrapped = told["iv"] + told["ct"] + told["tag"]
        if valid:
            valid_ones += 1
            monkeypatch.setattr(wrapping.os, "urandom", lambda _, nonce=told["iv"]: nonce)
            assert key.wrap(ref, generation, told["msg"]) == wrapped, number
            assert key.unwrap(ref, generation, wrapped) == told["msg"], number
        else:
            with pytest.raises(IntegrityError):
                key.unwrap(ref, generation, wrapped)
    assert valid_ones >= 10


def test_the_derivation_passes_the_self_test_of_rfc_7693():
    """Appendix E: a hash over the hashes, with and without keys, of all sizes of message and digest."""

    def sequence(size):
        found, a, b = bytearray(), 0xDEAD4BAD * size & 0xFFFFFFFF, 1
        for _ in range(size):
            a, b = b, (a + b) & 0xFFFFFFFF
            found.append(b >> 24)
        return bytes(found)

    every = blake2b(digest_size=32)
    for size, length in product((20, 32, 48, 64), (0, 3, 128, 129, 255, 1024)):
        message, key = sequence(length), sequence(size)
        every.update(blake2b(message, digest_size=size).digest())
        keyed = blake2b(message, digest_size=size, key=key).digest()
        if size == 64:  # the size of our digests
            assert keyed_hashes([key] * 2, message).tobytes() == keyed * 2
        every.update(keyed)
    assert every.hexdigest() == "c23a7800d98123bd10f506c61e29da5603d763b8bbad2e737f5e765a7bccd475"


def test_signatures_are_verified_as_published(tmp_path):
    for _, told, valid in vectors("Ed25519"):
        public = Ed25519PublicKey.from_public_bytes(told["pk"])
        keys = tmp_path / key_id(public)
        (keys / "trusted").mkdir(parents=True, exist_ok=True)
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (keys / "trusted" / "a.pub").write_bytes(pem)
        signer = Ed25519Signer(keys, purpose=b"")
        file = Envelope(key=key_id(public), signature=base64.b64encode(told["sig"]).decode()).content()
        if valid:
            signer.verify(told["msg"], file)
        else:
            with pytest.raises(IntegrityError, match="does not fit"):
                signer.verify(told["msg"], file)


RFC_8032 = [  # private key, message, signature
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
]


@pytest.mark.parametrize(("secret", "message", "signature"), RFC_8032)
def test_signatures_are_made_as_in_rfc_8032(tmp_path, secret, message, signature):
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    store_private(tmp_path / "release.key", pem)
    file = Envelope.model_validate_json(Ed25519Signer(tmp_path, purpose=b"").sign(bytes.fromhex(message)))
    assert base64.b64decode(file.signature) == bytes.fromhex(signature)
