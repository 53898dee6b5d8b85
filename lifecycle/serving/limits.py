"""What one request may ask for at most."""

from lifecycle.core.record import MAX_TEXT

MAX_BODY = 8_000_000
"""Largest request body, bytes."""

MAX_HEAD = 65_536
"""Largest request line and headers, bytes."""

MAX_INSTANCES = 10_000
"""Records in one request."""

INLINE_BODY = 16_384
"""Bodies up to this many bytes (some 40 records) are answered on the event loop; larger ones in a thread."""

MAX_IN_THREADS = 32
"""Large bodies that may wait for a thread; more are turned away."""

BODY_SECONDS = 10.0
"""How long a client may take to send one whole request."""

__all__ = [
    "BODY_SECONDS",
    "INLINE_BODY",
    "MAX_BODY",
    "MAX_HEAD",
    "MAX_INSTANCES",
    "MAX_IN_THREADS",
    "MAX_TEXT",
]
