"""The envelope: one authenticated ciphertext, bound to the place where it belongs. Version 2.

    offset  bytes
         0      3  magic            "LSE"
         3      1  version          2
         4      1  suite            1: AES-256-GCM, 2: AES-256-SIV
         5      1  flags            0
         6      2  generation       of the subject's key, big-endian
         8     32  key commitment
        40     12  nonce            random (suite 1), zero (suite 2)
        52      …  suite 1: ciphertext ‖ tag 16; suite 2: tag 16 ‖ ciphertext, as RFC 5297 has it

Key and commitment are BLAKE2b(label ‖ dataset ‖ access group), keyed with the subject key. Neither suite
commits to its key by itself: for GCM, one ciphertext that opens under two keys was built. The associated
data is, each part after its length: the whole header, dataset, segment, fingerprint of the schema, access
group, block, subject ref, first row and number of rows.

Envelopes are sealed and opened many at a time: what is the same for all is laid out once, by numpy.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from operator import length_hint

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from numpy.typing import NDArray

from lifecycle.core.errors import (
    CommitmentError,
    EnvelopeError,
    KeyMissingError,
    TamperedError,
    TruncatedError,
)
from lifecycle.records.columns import empty, wipe
from lifecycle.records.derivation import Suite, derive, prefixed
from lifecycle.records.place import Bytes, Chunks, Numbers, Place, row_bytes
from lifecycle.records.subject_keys import REF_BYTES, SubjectKey

Buffer = bytes | bytearray | memoryview

MAGIC = b"LSE"
VERSION = 2
HEADER_BYTES = 52
TAG_BYTES = 16
OVERHEAD = HEADER_BYTES + TAG_BYTES

_GENERATION, _COMMITMENT, _NONCE = slice(6, 8), slice(8, 40), slice(40, 52)
_BATCH = 1024  # chunks
_UNTOUCHED = "restore the segment from the remote or a backup; never skip the check"


def seal(
    suite: Suite, place: Place, chunks: Chunks, keys: Sequence[SubjectKey], plain: Iterable[Buffer]
) -> tuple[bytes, Numbers]:
    """Seal one chunk per subject.

    Args:
        suite: How.
        place: Where the envelopes belong.
        chunks: Whose they are.
        keys: One per chunk: the newest of its subject.
        plain: One per chunk.

    Returns:
        The envelopes one after the other; int64 (chunks + 1,): where each begins and the last ends.
    """
    sealed: list[bytes] = []
    sizes = np.zeros(len(chunks) + 1, np.int64)
    waiting = iter(plain)
    for batch in _batches(len(chunks)):
        ciphers, headers = _heads(suite, place, keys[batch])
        bound, texts = _associated(place, chunks[batch], headers), islice(waiting, len(ciphers))
        # A cipher is made for each chunk: kept, it would cost 2.5 kB.
        if suite is Suite.AES_256_GCM:
            nonces = row_bytes(headers[:, _NONCE])
            bodies = [
                AESGCM(key).encrypt(nonce, text, more)
                for key, nonce, text, more in zip(ciphers, nonces, texts, bound, strict=True)
            ]
        else:
            bodies = [
                AESSIV(key).encrypt(text, [more])
                for key, text, more in zip(ciphers, texts, bound, strict=True)
            ]
        sizes[batch.start + 1 : batch.stop + 1] = [HEADER_BYTES + len(body) for body in bodies]
        # Joined here, their small pieces of memory are used again for the next thousand.
        sealed.append(b"".join(chain.from_iterable(zip(row_bytes(headers), bodies, strict=True))))
    return b"".join(sealed), np.cumsum(sizes)


def _heads(suite: Suite, place: Place, keys: Sequence[SubjectKey]) -> tuple[list[bytes], Bytes]:
    """Cipher keys, and headers with fresh nonces: uint8 (chunks, 52)."""
    count = len(keys)
    ciphers, commitments = derive(suite, VERSION, [key.secret for key in keys], place.dataset, place.group)
    headers = np.zeros((count, HEADER_BYTES), np.uint8)
    headers[:, : _GENERATION.start] = np.frombuffer(MAGIC + bytes([VERSION, suite, 0]), np.uint8)
    generations = np.fromiter((key.generation for key in keys), ">u2", count)
    headers[:, _GENERATION] = generations.view(np.uint8).reshape(count, 2)
    headers[:, _COMMITMENT] = commitments
    if suite is Suite.AES_256_GCM:
        # One call for the batch; never a parameter, and never kept, so that no fork can repeat one.
        headers[:, _NONCE] = np.frombuffer(os.urandom(12 * count), np.uint8).reshape(count, 12)
    return ciphers, headers


def open_pieces(
    suite: Suite,
    place: Place,
    chunks: Chunks,
    keys: Sequence[tuple[SubjectKey, ...] | None],
    pieces: Iterable[tuple[memoryview, Numbers]],
) -> Generator[tuple[Bytes, Numbers, Numbers], None, None]:
    """Open the chunks of all subjects who were not erased, piece by piece; close it when done.

    Args:
        suite: How they must be sealed.
        place: Where the envelopes must belong.
        chunks: Whose they must be.
        keys: One per chunk: every generation of its subject's key; None: erased.
        pieces: The envelopes, some chunks at a time: one after the other; int64 (their chunks + 1,): where
            each begins and the last ends.

    Yields:
        For each piece, the plaintexts one after the other, in memory that the next piece overwrites; int64
        (kept + 1,): where each begins and the last ends; int64 (kept,): the numbers of the chunks they come
        from.

    Raises:
        EnvelopeError: A chunk is no envelope of a known version and suite.
        KeyMissingError: A chunk names a generation of its subject's key that is not held.
        TruncatedError: A chunk is cut short or missing.
        CommitmentError: A chunk was sealed under another key.
        TamperedError: A chunk was changed, or does not belong here.
    """
    alive = np.array([found is not None for found in keys], bool)
    memory, begun = empty(0, np.dtype(np.uint8)), 0
    try:
        for sealed, offsets in pieces:
            piece = slice(begun, begun + len(offsets) - 1)
            kept = np.flatnonzero(alive[piece])
            envelopes = _Envelopes(kept + piece.start, sealed, offsets[kept], offsets[kept + 1])
            bounds = envelopes.bounds(place)
            if bounds[-1] > len(memory):
                wipe(memory)
                memory = empty(int(bounds[-1]), memory.dtype)
            plain = memory[: bounds[-1]]
            if len(kept):
                held = [found for found in keys[piece] if found is not None]
                parts = _slices(plain.data, bounds[:-1], bounds[1:])
                _open(suite, place, chunks[envelopes.numbers], held, envelopes, parts)
            yield plain, bounds, envelopes.numbers
            begun = piece.stop
    finally:
        # After a bad tag it holds what was not authenticated, and always the rows of people.
        wipe(memory)
    if begun != len(chunks):
        raise TruncatedError(f"{place}: {begun} of {len(chunks)} chunks are there", hint=_UNTOUCHED)


@dataclass(frozen=True)
class _Envelopes:
    """Some envelopes of a block.

    Attributes:
        numbers: int64 (chunks,): theirs within the block.
        sealed: Where they lie.
        begins: int64 (chunks,): where each begins.
        ends: int64 (chunks,): where each ends.
    """

    numbers: Numbers
    sealed: memoryview
    begins: Numbers
    ends: Numbers

    def bounds(self, place: Place) -> Numbers:
        """Where their plaintexts begin and the last ends, one after the other: int64 (chunks + 1,)."""
        sizes = self.ends - self.begins - OVERHEAD
        if len(short := np.flatnonzero(sizes < 0)):
            raise TruncatedError(f"{place}: chunk {self.numbers[short[0]]} is cut short", hint=_UNTOUCHED)
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])


def _open(
    suite: Suite,
    place: Place,
    chunks: Chunks,
    keys: Sequence[tuple[SubjectKey, ...]],
    envelopes: _Envelopes,
    parts: Iterable[memoryview],
) -> None:
    """Open some chunks, none of an erased subject, each into its part of the memory."""
    numbers = envelopes.numbers
    headers = _headers(suite, place, envelopes)
    secrets = _secrets(place, headers, numbers, keys)
    ciphers, commitments = derive(suite, VERSION, secrets, place.dataset, place.group)
    if len(wrong := np.flatnonzero((headers[:, _COMMITMENT] != commitments).any(axis=1))):
        raise CommitmentError(
            f"{place}: chunk {numbers[wrong[0]]} was sealed under another key than its subject's",
            hint="check that segment and key table belong together, and were not restored from two moments",
        )
    bound = _associated(place, chunks, headers)
    texts = _slices(envelopes.sealed, envelopes.begins + HEADER_BYTES, envelopes.ends)
    waiting = iter(ciphers)
    try:
        if suite is Suite.AES_256_GCM:
            nonces = row_bytes(headers[:, _NONCE])
            for key, nonce, text, more, part in zip(waiting, nonces, texts, bound, parts, strict=True):
                AESGCM(key).decrypt_into(nonce, text, more, part)
        else:
            for key, text, more, part in zip(waiting, texts, bound, parts, strict=True):
                AESSIV(key).decrypt_into(text, [more], part)
    except InvalidTag:
        at = numbers[-1 - length_hint(waiting)]
        raise TamperedError(
            f"{place}: chunk {at} was changed after it was sealed, or does not belong there",
            hint=_UNTOUCHED,
        ) from None


def _slices(buffer: memoryview, begins: Numbers, ends: Numbers) -> Iterator[memoryview]:
    """Parts of a buffer, each made when it is asked for: thousands at once would wake the collector."""
    return map(buffer.__getitem__, map(slice, begins.tolist(), ends.tolist()))


def _batches(count: int) -> Iterator[slice]:
    """All numbers below ``count``, a thousand at a time, so that what is made of them stays in cache."""
    for start in range(0, count, _BATCH):
        yield slice(start, min(count, start + _BATCH))


def _headers(suite: Suite, place: Place, envelopes: _Envelopes) -> Bytes:
    """The headers of chunks, uint8 (chunks, 52), once they were found to be of the one known form."""
    sealed, numbers = envelopes.sealed, envelopes.numbers
    starts = np.ndarray(len(sealed) - HEADER_BYTES + 1, f"V{HEADER_BYTES}", sealed, strides=1)
    headers: Bytes = starts[envelopes.begins].view(np.uint8).reshape(len(numbers), HEADER_BYTES)
    known = np.frombuffer(MAGIC + bytes([VERSION, suite, 0]), np.uint8)
    if not (headers[:, : _GENERATION.start] == known).all():
        _refuse_form(suite, place, headers, numbers)
    if suite is Suite.AES_256_SIV:
        _same(place, numbers, headers[:, _NONCE] == 0, "has a nonce, which its suite does not use")
    return headers


def _refuse_form(suite: Suite, place: Place, headers: Bytes, numbers: Numbers) -> None:
    """Say which chunk is not of the one known form, and how."""
    known = ", ".join(str(suite.value) for suite in Suite)
    _same(place, numbers, headers[:, :3] == np.frombuffer(MAGIC, np.uint8), "does not begin as an envelope")
    _same(place, numbers, headers[:, 3:4] == VERSION, f"is not of version {VERSION}, the only one known")
    _same(place, numbers, np.isin(headers[:, 4:5], list(Suite)), f"is of no known suite ({known})")
    _same(place, numbers, headers[:, 4:5] == suite, "is of another suite than its segment")
    _same(place, numbers, headers[:, 5:6] == 0, "has flags that are not known")


def _same(place: Place, numbers: Numbers, right: NDArray[np.bool_], what: str) -> None:
    if not right.all():
        raise EnvelopeError(
            f"{place}: chunk {numbers[np.flatnonzero(~right.all(axis=1))[0]]} {what}",
            hint="open it with the release of lifecycle that wrote it, or restore the segment",
        )


def _secrets(
    place: Place, headers: Bytes, numbers: Numbers, keys: Sequence[tuple[SubjectKey, ...]]
) -> list[bytes]:
    """The subject keys of the generations that the headers name."""
    generations = np.ascontiguousarray(headers[:, _GENERATION]).view(">u2").ravel().tolist()
    newest = [every[-1] for every in keys if every]
    if [key.generation for key in newest] == generations:  # nearly always
        return [key.secret for key in newest]
    secrets = []
    for number, generation, every in zip(numbers.tolist(), generations, keys, strict=True):
        named = [key.secret for key in every if key.generation == generation]
        if not named:
            raise KeyMissingError(
                f"{place}: chunk {number} names generation {generation} of its subject's key, "
                "which the key table does not hold",
                hint="restore the newest backup of the key table, or the segment",
            )
        secrets += named
    return secrets


def _associated(place: Place, chunks: Chunks, headers: Bytes) -> list[bytes]:
    """The associated data of chunks."""
    fixed = place.dataset.encode(), place.segment, place.fingerprint, place.group.encode()
    block = place.block.to_bytes(4, "big")
    template = prefixed(bytes(HEADER_BYTES), *fixed, block, bytes(REF_BYTES), bytes(8), bytes(8))
    rows = np.empty((len(chunks), len(template)), np.uint8)
    rows[:] = np.frombuffer(template, np.uint8)
    rows[:, 4 : 4 + HEADER_BYTES] = headers
    rows[:, -40:-24] = chunks.refs
    rows[:, -20:-12] = chunks.first.astype(">u8").view(np.uint8).reshape(-1, 8)
    rows[:, -8:] = chunks.counts.astype(">u8").view(np.uint8).reshape(-1, 8)
    return row_bytes(rows)
