"""Release signatures: Ed25519, one private key per installation, any number of trusted public keys.

    keys/release.key          private key, PEM (PKCS #8), mode 0600; made when first asked to sign
    keys/trusted/<id>.pub     public keys, PEM; every ``*.pub`` here is trusted

An installation that only verifies, such as a server, needs ``trusted/`` alone. To trust another
installation's releases, copy its ``.pub`` file; to stop, delete it. Both count from the next call on.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from pydantic import ValidationError

from lifecycle.core.errors import ConfigError, IntegrityError, StorageError
from lifecycle.core.values import Value
from lifecycle.records.private_files import alone, read_private, store_private

PURPOSE = b"lifecycle release manifest v1\0"
"""Put before whatever is signed, so that a signature made for a manifest is good for nothing else."""

_UNTRUSTED = "do not serve it; fetch the release again, or roll back to one that verifies"


class Envelope(Value):
    """What a signature file holds.

    Attributes:
        key: Id of the public key: the first 16 hex digits of the SHA-256 of its 32 raw bytes.
        algorithm: How it was signed.
        signature: Base64 of the 64 signature bytes.
    """

    key: str
    algorithm: Literal["ed25519"] = "ed25519"
    signature: str

    def content(self) -> bytes:
        """The one accepted encoding; any other spelling of the same values is refused."""
        return self.model_dump_json().encode() + b"\n"


class Ed25519Signer:
    """Signs releases with this installation's key, and verifies them with the trusted ones.

    Args:
        keys: The folder of the keys. It need not exist: signing makes it, verifying never does.
        purpose: What is signed; a signature made for one purpose is good for no other.

    Example:
        >>> import tempfile
        >>> signer = Ed25519Signer(Path(tempfile.mkdtemp()) / "keys")
        >>> signer.verify(b"a manifest", signer.sign(b"a manifest"))
    """

    def __init__(self, keys: Path, purpose: bytes = PURPOSE) -> None:
        self._purpose = purpose
        self._home = keys
        self._private = keys / "release.key"
        self._trusted = keys / "trusted"

    def sign(self, content: bytes) -> bytes:
        """The signature file's bytes for this content; makes the key if there is none.

        Raises:
            ConfigError: The private key is readable by others, or is not an Ed25519 key.
            StorageError: A new key cannot be stored.
        """
        key = self._load_private() or self._make_private()
        signature = base64.b64encode(key.sign(self._purpose + content)).decode()
        return Envelope(key=key_id(key.public_key()), signature=signature).content()

    def verify(self, content: bytes, signature: bytes) -> None:
        """Return when a trusted key signed the content.

        Raises:
            IntegrityError: The signature file is malformed, made by a key that is not trusted, or made
                for another content.
            ConfigError: A file among the trusted keys is not an Ed25519 public key.
        """
        try:
            envelope = Envelope.model_validate_json(signature)
            raw = base64.b64decode(envelope.signature, validate=True)
        except (ValidationError, binascii.Error):
            raise IntegrityError("the signature file is malformed", hint=_UNTRUSTED) from None
        if envelope.content() != signature or base64.b64encode(raw).decode() != envelope.signature:
            raise IntegrityError("the signature file is malformed", hint=_UNTRUSTED)
        trusted = self._load_trusted()
        if envelope.key not in trusted:
            known = ", ".join(sorted(trusted)) or "none"
            raise IntegrityError(
                f"signed by key {envelope.key!a}, which is not trusted (trusted: {known})",
                hint=f"if that key is yours, copy its .pub file into {self._trusted}; otherwise {_UNTRUSTED}",
            )
        try:
            trusted[envelope.key].verify(raw, self._purpose + content)
        except InvalidSignature:
            raise IntegrityError(
                f"the signature of key {envelope.key} does not fit the manifest", hint=_UNTRUSTED
            ) from None

    def _load_private(self) -> Ed25519PrivateKey | None:
        pem = read_private(self._private, "the signing key")
        return None if pem is None else _private_key(pem, self._private)

    def _make_private(self) -> Ed25519PrivateKey:
        try:
            with alone(self._home):  # two processes that sign for the first time end with one key
                if (existing := self._load_private()) is not None:
                    return existing
                key = Ed25519PrivateKey.generate()
                public = key.public_key()
                # The public half first: a crash in between must not leave a key that nobody trusts.
                self._trusted.mkdir(mode=0o700, exist_ok=True)
                pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
                store_private(self._trusted / f"{key_id(public)}.pub", pem)
                store_private(
                    self._private, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
                )
                return key
        except OSError as error:
            raise StorageError(
                f"cannot store a signing key in {self._home}: {error.strerror}",
                hint="make the folder writable for this user, or set LIFECYCLE_HOME to one that is",
            ) from None

    def _load_trusted(self) -> dict[str, Ed25519PublicKey]:
        keys = [_public_key(path) for path in sorted(self._trusted.glob("*.pub"))]
        return {key_id(key): key for key in keys}


def key_id(key: Ed25519PublicKey) -> str:
    """Short name of a public key: the first 16 hex digits of the SHA-256 of its 32 raw bytes."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


def _private_key(pem: bytes, path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(
            f"{path} is not an unencrypted Ed25519 private key in PEM",
            hint="restore it from its backup, or delete it and its .pub, and a new one is made",
        )
    return key


def _public_key(path: Path) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(
            f"{path} is not a readable Ed25519 public key in PEM",
            hint="copy it again from the installation that signs, or delete it",
        )
    return key
