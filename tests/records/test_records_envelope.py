"""An envelope opens where it belongs, under the key it was sealed with, byte for byte, and nowhere else."""

from __future__ import annotations

import os
import struct
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.errors import (
    CommitmentError,
    EnvelopeError,
    KeyMissingError,
    LifecycleError,
    TamperedError,
    TruncatedError,
)
from lifecycle.records import envelope
from lifecycle.records.derivation import Suite, derive, prefixed
from lifecycle.records.envelope import HEADER_BYTES, OVERHEAD, open_pieces, seal
from lifecycle.records.place import Chunks, Place
from lifecycle.records.subject_keys import SubjectKey

SUITES = pytest.mark.parametrize("suite", list(Suite))
PLACE = Place("patients", bytes(range(16)), bytes(range(32)), "clinical", 3)
KEYS = [SubjectKey(1, bytes([7]) * 32), SubjectKey(513, bytes([8]) * 32)]
PLAIN = [b"blood pressure 120/80", b""]
CHUNKS = Chunks.of(
    np.frombuffer(b"subject one 16 b" + b"subject two 16 b", np.uint8).reshape(2, 16), np.array([3, 1])
)


def sealed(suite, place=PLACE, chunks=CHUNKS, keys=KEYS, plain=PLAIN):
    content, offsets = seal(suite, place, chunks, keys, plain)
    return [content[low:high] for low, high in pairwise(offsets)]


def opened(suite, envelopes, place=PLACE, chunks=CHUNKS, keys=KEYS, together=100):
    """Number of the chunk -> its plaintext, opened so many at a time."""
    held = [key if key is None else (key,) for key in keys]
    pieces = [envelopes[at : at + together] for at in range(0, len(envelopes), together)]
    given = ((memoryview(b"".join(piece)), np.cumsum([0, *map(len, piece)])) for piece in pieces)
    return {
        number: plain[low:high].tobytes()
        for plain, bounds, numbers in open_pieces(suite, place, chunks, held, given)
        for number, (low, high) in zip(numbers.tolist(), pairwise(bounds), strict=True)
    }


@SUITES
def test_what_is_sealed_opens_again(suite):
    envelopes = sealed(suite)
    assert [len(each) for each in envelopes] == [len(plain) + OVERHEAD for plain in PLAIN]
    assert opened(suite, envelopes) == dict(enumerate(PLAIN))


@given(st.lists(st.binary(max_size=80), min_size=1, max_size=12), st.sampled_from(list(Suite)))
def test_any_bytes_come_back(plain, suite):
    chunks = Chunks.of(
        np.arange(16 * len(plain), dtype=np.uint8).reshape(-1, 16), np.ones(len(plain), np.int64)
    )
    keys = [SubjectKey(1 + i, bytes([i]) * 32) for i in range(len(plain))]
    envelopes = sealed(suite, chunks=chunks, keys=keys, plain=plain)
    assert list(opened(suite, envelopes, chunks=chunks, keys=keys).values()) == plain


@pytest.mark.parametrize("together", [1, 2, 3, 7])
def test_chunks_come_back_however_many_are_opened_at_a_time(monkeypatch, together):
    monkeypatch.setattr(envelope, "_BATCH", 2)
    plain = [bytes([i]) * i for i in range(7)]
    chunks = Chunks.of(np.arange(112, dtype=np.uint8).reshape(7, 16), np.arange(1, 8))
    keys = [SubjectKey(1, bytes([i]) * 32) for i in range(7)]
    envelopes = sealed(Suite.AES_256_GCM, chunks=chunks, keys=keys, plain=plain)
    found = opened(Suite.AES_256_GCM, envelopes, chunks=chunks, keys=keys, together=together)
    assert list(found.values()) == plain
    held = [None if i % 2 else key for i, key in enumerate(keys)]
    found = opened(Suite.AES_256_GCM, envelopes, chunks=chunks, keys=held, together=together)
    assert found == {i: plain[i] for i in (0, 2, 4, 6)}


def test_chunks_that_are_missing_or_too_many_are_noticed():
    one, two = sealed(Suite.AES_256_GCM)
    for envelopes, count in (([one], 1), ([one, two, two], 3)):
        with pytest.raises(TruncatedError, match=f"{count} of 2 chunks are there"):
            opened(Suite.AES_256_GCM, envelopes, together=1)


GOLDEN = {
    Suite.AES_256_GCM: (
        "4c534502010000016af341b9aed307b9483de161364c875165c2cec5657b811a60028f56cd7e2b260001020304050607"
        "08090a0b1080dd412dff8a00cd223f936661348b99fd35f3f2333cf342fa1212f5fa5663255af9a6ca"
    ),
    Suite.AES_256_SIV: (
        "4c53450202000001406afde171bb21b1cafa4bcabb07d778c1c953bc9a78b944e5ef74355d19fbd90000000000000000"
        "0000000030c528d7c4760629257106ffc1d9c522609761ee553f4e4dbe1e9c8246210c186e860ba81f"
    ),
}


@SUITES
def test_envelopes_of_version_2_are_frozen(suite, monkeypatch):
    """If this fails, what is already on disks can no longer be opened: make a new version instead."""
    monkeypatch.setattr(os, "urandom", lambda count: bytes(range(count)))
    assert sealed(suite)[0].hex() == GOLDEN[suite]
    monkeypatch.undo()
    assert opened(suite, [bytes.fromhex(GOLDEN[suite]), sealed(suite)[1]])[0] == PLAIN[0]


VERSION_1 = (
    "4c53450101000001c5a9f938340b72d3decf0736b9ad41d96c71ef1052717e9b553f0be5923432fd0001020304050607"
    "08090a0b2b7773bf1f659cb170311dc609b32d4454fef7cd57cda095ba2483926b5b5de8994212d23b"
)


def test_an_envelope_of_version_1_is_refused_for_what_it_is():
    """It derived its key by HMAC, and was never part of a release."""
    with pytest.raises(EnvelopeError, match="not of version 2, the only one known") as caught:
        opened(Suite.AES_256_GCM, [bytes.fromhex(VERSION_1), sealed(Suite.AES_256_GCM)[1]])
    assert "open it with the release of lifecycle that wrote it" in caught.value.hint


@SUITES
def test_every_flipped_byte_is_rejected(suite):
    first, second = sealed(suite)
    for at in range(len(first)):
        for mask in (0x01, 0x80):
            broken = first[:at] + bytes([first[at] ^ mask]) + first[at + 1 :]
            with pytest.raises(LifecycleError) as caught:
                opened(suite, [broken, second])
            expected = {
                at < 6: EnvelopeError,
                6 <= at < 8: KeyMissingError,
                8 <= at < 40: CommitmentError,
                at >= 40: EnvelopeError if suite is Suite.AES_256_SIV and at < 52 else TamperedError,
            }[True]
            assert type(caught.value) is expected
            assert "blood" not in str(caught.value)


@SUITES
@pytest.mark.parametrize(
    "place",
    [
        replace(PLACE, segment=bytes(16)),
        replace(PLACE, fingerprint=bytes(32)),
        replace(PLACE, block=4),
    ],
)
def test_an_envelope_that_was_moved_is_rejected(suite, place):
    with pytest.raises(TamperedError):
        opened(suite, sealed(suite), place=place)


@SUITES
@pytest.mark.parametrize("place", [replace(PLACE, dataset="staff"), replace(PLACE, group="identifiers")])
def test_another_dataset_or_access_group_has_other_keys(suite, place):
    with pytest.raises(CommitmentError):
        opened(suite, sealed(suite), place=place)


@SUITES
def test_swapped_subjects_are_rejected_whether_with_their_keys_or_without(suite):
    one, two = sealed(suite)
    with pytest.raises(KeyMissingError):
        opened(suite, [two, one])
    chunks = Chunks.of(CHUNKS.refs[::-1], CHUNKS.counts)
    with pytest.raises(TamperedError):
        opened(suite, [one, two], chunks=chunks)
    with pytest.raises(TamperedError):  # a whole chunk, key and ref and count, in another's place
        opened(
            suite,
            [two, one],
            chunks=Chunks.of(chunks.refs, np.array([1, 3])),
            keys=KEYS[::-1],
        )


@SUITES
def test_another_number_of_rows_is_rejected(suite):
    with pytest.raises(TamperedError):
        opened(suite, sealed(suite), chunks=Chunks.of(CHUNKS.refs, np.array([2, 2])))


@SUITES
def test_a_wrong_key_is_told_from_a_changed_text_and_from_a_missing_generation(suite):
    wrong = [SubjectKey(1, bytes(32)), KEYS[1]]
    with pytest.raises(CommitmentError, match="chunk 0"):
        opened(suite, sealed(suite), keys=wrong)
    with pytest.raises(KeyMissingError, match="generation 1 "):
        opened(suite, sealed(suite), keys=[replace(KEYS[0], generation=2), KEYS[1]])


@SUITES
def test_a_cut_envelope_says_so(suite):
    one, two = sealed(suite)
    with pytest.raises(TruncatedError, match="chunk 1"):
        opened(suite, [one, two[:-1]])
    with pytest.raises(TamperedError, match="chunk 0"):
        opened(suite, [one[:-1], two])


def test_plaintext_is_never_taken_for_an_envelope():
    with pytest.raises(EnvelopeError, match="does not begin"):
        opened(Suite.AES_256_GCM, [b"p" * 200, b"q" * 200])


@SUITES
def test_every_subject_is_opened_with_the_generation_that_the_envelope_names(suite):
    newer = replace(KEYS[0], generation=2, secret=bytes(32))
    content, offsets = seal(suite, PLACE, CHUNKS, KEYS, PLAIN)
    held = [(KEYS[0], newer), (KEYS[1],)]
    opening = open_pieces(suite, PLACE, CHUNKS, held, [(memoryview(content), offsets)])
    assert [plain.tobytes() for plain, _, _ in opening] == [b"".join(PLAIN)]


def test_one_suite_is_not_opened_as_the_other():
    with pytest.raises(EnvelopeError, match="another suite"):
        opened(Suite.AES_256_SIV, sealed(Suite.AES_256_GCM))


@SUITES
def test_erased_subjects_are_passed_over_even_if_their_envelope_is_broken(suite):
    one, two = sealed(suite)
    assert opened(suite, [b"x" * 80, two], keys=[None, KEYS[1]]) == {1: PLAIN[1]}
    assert opened(suite, [one, two], keys=[None, None]) == {}


def test_nonces_differ_and_the_deterministic_suite_repeats_itself():
    one, two = (sealed(Suite.AES_256_GCM, plain=[b"a", b"a"]) for _ in range(2))
    assert len({each[40:52] for each in one + two}) == 4
    assert sealed(Suite.AES_256_SIV) == sealed(Suite.AES_256_SIV)


def test_memory_of_plaintext_is_overwritten_piece_by_piece_and_when_a_later_chunk_is_broken():
    one, two = sealed(Suite.AES_256_GCM, plain=[b"marker " * 9, b"short"])
    for last, error in ((two, None), (two[:-1] + bytes([two[-1] ^ 1]), TamperedError)):
        pieces = ((memoryview(each), np.array([0, len(each)])) for each in (one, last))
        opening = open_pieces(Suite.AES_256_GCM, PLACE, CHUNKS, [(key,) for key in KEYS], pieces)
        plain = next(opening)[0]
        assert plain.tobytes() == b"marker " * 9
        with pytest.raises(error or StopIteration):
            next(opening), next(opening)
        assert plain.tobytes() == bytes(9 * 7)


def test_memory_of_plaintext_is_overwritten_when_nobody_asks_for_the_rest():
    opening = open_pieces(
        Suite.AES_256_GCM,
        PLACE,
        CHUNKS,
        [(key,) for key in KEYS],
        ((memoryview(each), np.array([0, len(each)])) for each in sealed(Suite.AES_256_GCM)),
    )
    plain = next(opening)[0]
    assert plain.tobytes() == PLAIN[0]
    opening.close()
    assert not plain.any()


def test_a_ciphertext_that_is_valid_under_two_keys_is_refused():
    """GCM does not commit: two tags agree for one free block of ciphertext. The commitment does."""
    chunks, keys = CHUNKS[:1], [SubjectKey(1, bytes([n]) * 32) for n in (1, 2)]
    first = sealed(Suite.AES_256_GCM, chunks=chunks, keys=keys[:1], plain=[bytes(32)])[0]
    heads = [first, sealed(Suite.AES_256_GCM, chunks=chunks, keys=keys[1:], plain=[bytes(32)])[0]]
    ciphers = [
        derive(Suite.AES_256_GCM, envelope.VERSION, [key.secret], "patients", "clinical")[0][0]
        for key in keys
    ]
    header = first[:HEADER_BYTES]
    (associated,) = envelope._associated(PLACE, chunks, np.frombuffer(header, np.uint8)[None])
    body = _two_keys(ciphers, header[40:52], associated)
    texts = {AESGCM(key).decrypt(header[40:52], body, associated) for key in ciphers}
    assert len(texts) == 2  # it opens under both
    assert len(opened(Suite.AES_256_GCM, [header + body], chunks=chunks, keys=keys[:1])) == 1
    with pytest.raises(CommitmentError):
        opened(Suite.AES_256_GCM, [header + body], chunks=chunks, keys=keys[1:])
    assert heads[0][8:40] != heads[1][8:40]


def _two_keys(ciphers, nonce, associated):
    """Two blocks and a tag that GCM accepts under both keys: the second block is solved for."""

    def block(key, data):
        return int.from_bytes(Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(data), "big")

    padded = associated + bytes(-len(associated) % 16)
    lengths = int.from_bytes(struct.pack(">QQ", len(associated) * 8, 256), "big")
    first = int.from_bytes(b"any sixteen byte", "big")
    total, factor = 0, 0
    for key in ciphers:
        h, mask, state = block(key, bytes(16)), block(key, nonce + b"\0\0\0\1"), 0
        for at in range(0, len(padded), 16):
            state = _times(state ^ int.from_bytes(padded[at : at + 16], "big"), h)
        state = _times(state ^ first, h)
        square = _times(h, h)
        total ^= _times(state, square) ^ _times(lengths, h) ^ mask
        factor ^= square
    second = _times(total, _inverse(factor))
    key = ciphers[0]
    h, state = block(key, bytes(16)), 0
    for word in (padded, first.to_bytes(16, "big"), second.to_bytes(16, "big"), lengths.to_bytes(16, "big")):
        for at in range(0, len(word), 16):
            state = _times(state ^ int.from_bytes(word[at : at + 16], "big"), h)
    tag = state ^ block(key, nonce + b"\0\0\0\1")
    return b"".join(part.to_bytes(16, "big") for part in (first, second, tag))


def _times(x, y):
    """The product in GCM's field (NIST SP 800-38D, algorithm 1)."""
    z = 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            z ^= y
        y = y >> 1 ^ (0xE1 << 120 if y & 1 else 0)
    return z


def _inverse(x):
    """One over x: its power of 2^128 - 2."""
    result, power = 1 << 127, x
    for _ in range(127):
        power = _times(power, power)
        result = _times(result, power)
    return result


def test_parts_with_their_lengths_are_never_mistaken_for_others():
    assert prefixed(b"ab", b"c") != prefixed(b"a", b"bc") != prefixed(b"abc")


def test_a_key_shows_nothing_of_itself():
    assert "secret" not in repr(KEYS[0])
    assert repr(KEYS[0].secret) not in repr(KEYS[0])
