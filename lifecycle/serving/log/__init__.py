"""The prediction log: every answer with its inputs, and every outcome, in append-only segments.

A segment belongs to one process and one system, and holds framed entries with checksums. `entries` says what
they are. This package needs no more than msgspec, so that whoever compacts a log need not load a server.
"""
