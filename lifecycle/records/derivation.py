"""From the key of a subject to the key and the commitment of an envelope."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from hashlib import blake2b

import numpy as np

from lifecycle.records.place import Bytes, row_bytes


class Suite(IntEnum):
    """How a chunk is encrypted.

    ``AES_256_GCM`` for everything that is written once. ``AES_256_SIV`` for files that must come out byte
    for byte the same from the same rows, since DVC names a file by its hash: it shows whether two chunks of
    the same subject, place and dataset are equal, and is half as fast at one row a subject.
    """

    AES_256_GCM = 1
    AES_256_SIV = 2


def derive(
    suite: Suite, version: int, secrets: Sequence[bytes], dataset: str, group: str
) -> tuple[list[bytes], Bytes]:
    """What one dataset and access group make of subject keys.

    Returns:
        The cipher keys, and uint8 (keys, 32): the commitments to them.
    """
    label, parts = b"lifecycle envelope v%d suite %d" % (version, suite), (dataset.encode(), group.encode())
    made = keyed_hashes(secrets, prefixed(label, *parts))
    if suite is Suite.AES_256_GCM:
        keys, committed = made[:, :32], made
    else:  # AES-256-SIV takes all 64 bytes
        keys, committed = made, keyed_hashes(secrets, prefixed(label + b" commitment", *parts))
    return row_bytes(keys), committed[:, 32:]


def keyed_hashes(keys: Sequence[bytes], message: bytes) -> Bytes:
    """BLAKE2b (RFC 7693) of one message, keyed with each of many keys: uint8 (keys, 64).

    Example:
        >>> from hashlib import blake2b
        >>> keyed_hashes([b"k" * 32], b"m").tobytes() == blake2b(b"m", key=b"k" * 32).digest()
        True
    """
    hashed = b"".join([blake2b(message, key=key).digest() for key in keys])
    return np.frombuffer(hashed, np.uint8).reshape(len(keys), blake2b.MAX_DIGEST_SIZE)


def prefixed(*parts: bytes) -> bytes:
    """The parts, each after its length: no two lists of parts come out the same."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)
