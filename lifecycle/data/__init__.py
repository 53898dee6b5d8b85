"""Data: sources, table validation, quarantine, monthly partitions, snapshots and splits.

What turns rows from anywhere into an immutable snapshot, and a snapshot into train, validation and test,
belongs here; nothing here knows a model. This room is the only door to Polars, PyArrow, DVC and git. A new
kind of source is a module like ``source_csv`` that yields frames with row numbers, and one line in
``sources``; a new constraint of a field is one ``Check`` in ``checks``.
"""
