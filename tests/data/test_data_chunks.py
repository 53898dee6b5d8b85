"""Where the input is cut follows from the numbers of its rows alone: every row is in one chunk, once."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.data.batch import ROW, Batch, BrokenRow
from lifecycle.data.scoring.chunks import Chunk, cut


@st.composite
def files(draw: st.DrawFn) -> list[list[bool]]:
    """Files as rows, each of them whole (True) or broken."""
    return draw(st.lists(st.lists(st.booleans(), max_size=40), max_size=4))


def blocks(rows: list[list[bool]], sizes: list[int]) -> list[Batch]:
    """The files as a reader hands them over, block by block."""
    found = []
    for number, file in enumerate(rows):
        start, turn = 0, 0
        while start < len(file):
            end = start + sizes[turn % len(sizes)]
            some = list(enumerate(file, 1))[start:end]
            frame = pl.DataFrame({ROW: [row for row, whole in some if whole]}, schema={ROW: pl.Int64})
            broken = tuple(BrokenRow(row, "2 values", "too few") for row, whole in some if not whole)
            found.append(Batch(f"file {number}", "user", {}, frame, broken))
            start, turn = end, turn + 1
    return found


def placed(chunk: Chunk) -> list[tuple[int, bool]]:
    """Position and wholeness of every row of a chunk."""
    whole = [(row + piece.offset, True) for piece in chunk.pieces for row in piece.batch.frame[ROW]]
    broken = [(row.row + piece.offset, False) for piece in chunk.pieces for row in piece.batch.broken]
    return sorted(whole + broken)


@given(files(), st.lists(st.integers(1, 17), min_size=1, max_size=4), st.integers(1, 25))
def test_every_row_is_in_one_chunk_once(rows, sizes, size):
    chunks = list(cut(blocks(rows, sizes), size))
    expected = list(enumerate((whole for file in rows for whole in file), 1))
    assert [row for chunk in chunks for row in placed(chunk)] == expected
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert [chunk.rows for chunk in chunks] == [len(placed(chunk)) for chunk in chunks]
    assert all(chunk.rows == size for chunk in chunks[:-1])


@given(files(), st.lists(st.integers(1, 17), min_size=1), st.lists(st.integers(1, 17), min_size=1))
def test_the_blocks_that_a_reader_hands_over_do_not_matter(rows, some, others):
    first, second = (list(cut(blocks(rows, sizes), 10)) for sizes in (some, others))
    assert [placed(chunk) for chunk in first] == [placed(chunk) for chunk in second]
