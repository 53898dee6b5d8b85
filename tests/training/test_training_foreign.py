"""What a foreign error may say: its type, its place, and nothing that came from a record."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.record import FieldSpec, RecordSchema
from lifecycle.core.rows import Tensors
from lifecycle.training.foreign import describe

SCHEMA = RecordSchema(
    name="r",
    fields=(
        FieldSpec(name="wall", kind="text", feature=True),
        FieldSpec(name="area", kind="number", feature=True),
    ),
)


def tensors(*walls: str) -> Tensors:
    return Tensors(
        np.zeros((len(walls), 1), dtype=np.float32), np.array([[wall] for wall in walls], dtype=object)
    )


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("could not convert string to float: 'brick'", "could not convert string to float: …"),
        (
            "Found unknown categories ['red brick', np.str_('x')] in column 0",
            "Found unknown categories […, np.str_(…)] in column …",
        ),
        ("bad wall red brick here", "bad wall … … here"),
        ("Red Brick!", "… …!"),
        ("area is 81.5 (or -1e-3)", "area is … (or …)"),
        ("column 'area' is float32, 'other' is not", "column 'area' is float32, … is not"),
        ("first line\nsecond line with brick", "first line"),
        ("", ""),
    ],
)
def test_messages_are_masked(message, told):
    assert describe(ValueError(message), SCHEMA, tensors("red brick", "")) == f"ValueError: {told}"


def test_a_missing_attribute_keeps_its_name():
    with pytest.raises(AttributeError) as caught:
        _ = SCHEMA.not_there
    assert "'not_there'" in describe(caught.value, SCHEMA, tensors("brick"))


def test_the_place_is_the_users_line_even_when_a_library_raised():
    with pytest.raises(ValueError, match="cannot reshape") as caught:
        np.array([1, 2]).reshape(3)
    assert "at training/test_training_foreign.py:" in describe(caught.value, SCHEMA, tensors("brick"))


def test_long_messages_are_cut():
    assert len(describe(ValueError("word " * 1000), SCHEMA, tensors("brick"))) < 350


words = st.text(st.characters(categories=["L"]), min_size=4, max_size=12)


@given(
    st.lists(words, min_size=1, max_size=4), st.sampled_from(["{}", "bad {} here", "'{}'", "[{}]", "x={},"])
)
def test_no_word_of_a_category_ever_survives(parts, frame):
    value = " ".join(parts)
    told = describe(ValueError(frame.format(value)), SCHEMA, tensors(value)).casefold()
    harmless = {"valueerror", "here", "wall", "area"}
    for part in parts:
        if part.casefold() not in harmless:
            assert part.casefold() not in told


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["{}", "got {} for area", "[{}]", "x={}"]),
)
def test_no_number_ever_survives(number, frame):
    told = describe(ValueError(frame.format(number)), SCHEMA, tensors("brick"))
    assert not any(character.isdigit() for character in told)
