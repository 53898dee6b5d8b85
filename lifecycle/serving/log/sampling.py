"""Which requests are logged where not all are: decided by their key, alike in every process and version."""

from __future__ import annotations

from hashlib import blake2b


def sampled(key: bytes, share: float) -> bool:
    """Whether the request of a key is among the share that is logged.

    The first eight bytes of a keyed BLAKE2b, as a fraction of their range, lie below the share. So a
    larger share holds every key that a smaller one does, and another hash of the same key, such as
    that of the traffic router, says nothing about it.

    Args:
        key: Of the request, such as its record id.
        share: From 0 (none) to 1 (all).

    Example:
        >>> [sampled(b"h%d" % number, 0.5) for number in range(6)]
        [False, True, False, True, True, False]
    """
    digest = blake2b(key, digest_size=8, person=b"lifecycle-log").digest()
    return int.from_bytes(digest, "big") < share * 2**64
