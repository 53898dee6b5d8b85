"""The prediction log: every answer with its inputs, and every outcome, in append-only segments.

A segment belongs to one process and one system, and holds framed entries with checksums. `entries` says what
they are, `segment` how they stand in a file, `recovery` closes what a dead process left. `writer` is what a
server uses: it gives each system a `stream`, which writes an `open_segment` and, for power cuts, a `commit`.
`retention` says which days have expired. This package needs no more than msgspec, so that whoever compacts a
log need not load a server.
"""
