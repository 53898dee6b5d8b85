"""Rows on their way from a source to validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

ROW = "#row"
"""Column with a row's number in its source; ``#`` keeps it apart from the fields of any record."""

ORIGIN = "origin"
"""Column of a partition that says whether a row was licensed or is the user's own."""


class BrokenRow(NamedTuple):
    """A row that has no columns to validate.

    Attributes:
        row: Its number in the source, from 1.
        value: What was found, as a class and never as a value: ``25 values``.
        reason: What is wrong with it.
    """

    row: int
    value: str
    reason: str


class Chunk(NamedTuple):
    """Some rows as a source holds them: ``#row`` and the source's own columns, and the rows it lost."""

    frame: pl.DataFrame
    broken: tuple[BrokenRow, ...] = ()


@dataclass(frozen=True)
class Batch:
    """Some rows of one file or query, one column per field of the record, not validated yet.

    Attributes:
        source: How messages and the quarantine file call the source: ``data/sales.csv``.
        origin: ``licensed`` or ``user``.
        formats: Date field -> strptime format.
        frame: ``#row`` and the record's fields, of whatever types the source has.
        broken: Rows that could not be split into columns.
    """

    source: str
    origin: str
    formats: dict[str, str]
    frame: pl.DataFrame
    broken: tuple[BrokenRow, ...] = ()
