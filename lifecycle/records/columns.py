"""How the values of one Arrow column become bytes of a row, and back.

    kind      Arrow types                                        in a row
    bit       bool                                               one bit
    code      text with declared choices                         number of the choice, 1, 2 or 4 bytes
    integer   integers, dates, times, timestamps, durations      as few of 1, 2, 4, 8 bytes as hold the block
    decimal   float64                                            8 bytes, or fewer if all are n / 10^scale
    fixed     other floats, decimals, fixed-size binary          as they are
    text      text and binary of any length, in each chunk's     the length, 1, 2 or 4 bytes
              tail
    nothing   null                                               nothing

A dictionary is sealed value by value, or as codes where the choices are declared: a dictionary for the
whole segment would keep an erased person's words readable. What a null hides is written as zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lifecycle.core.errors import DeclarationError

Kind = Literal["bit", "code", "integer", "decimal", "fixed", "text", "nothing"]
Values = NDArray[Any]
Mask = NDArray[np.bool_]

_SCALES = (0, 1, 2, 3)
_SAMPLE = 512  # rows that are tried before all are
_LARGE = 1 << 17  # bytes from which glibc asks the system for each array


@dataclass(frozen=True)
class Cell:
    """How one column lies in the rows of one block.

    Attributes:
        width: Bytes in each row.
        nulls: Whether each row has a bit that says whether the value is null.
        scale: For a decimal of fewer than 8 bytes: its value is the stored integer / 10^scale.
    """

    width: int
    nulls: bool
    scale: int = 0


@dataclass(frozen=True)
class Column:
    """One column of a sealed table.

    Attributes:
        name: In the table.
        type: In the table.
        choices: All values it can have, where they are declared; they are no secret.
    """

    name: str
    type: Any
    choices: tuple[str, ...] | None = None

    @cached_property
    def stored(self) -> Any:
        """The Arrow type of the values, a dictionary undone."""
        return self.type.value_type if pa.types.is_dictionary(self.type) else self.type

    @cached_property
    def kind(self) -> Kind:
        """How its values are stored.

        Raises:
            DeclarationError: It is nested, or of an extension type.
        """
        stored, types = self.stored, pa.types
        if types.is_null(stored):
            return "nothing"
        if self._is_text:
            return "text" if self.choices is None else "code"
        if types.is_boolean(stored):
            return "bit"
        if types.is_integer(stored) or (types.is_temporal(stored) and not types.is_interval(stored)):
            return "integer"
        if types.is_float64(stored):
            return "decimal"
        if types.is_floating(stored) or types.is_decimal(stored) or types.is_fixed_size_binary(stored):
            return "fixed"
        raise DeclarationError(
            f"column {self.name!r} has type {self.type}, which cannot be sealed",
            hint="flatten it into columns of numbers, text or dates",
        )

    @property
    def _is_text(self) -> bool:
        tests = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")
        return any(getattr(pa.types, f"is_{test}")(self.stored) for test in tests)

    def decode(self, values: Values, nulls: Mask | None, cell: Cell) -> Any:
        """The Arrow array of values as a row holds them; not for text.

        Args:
            values: (rows,), as ``encode`` gave them.
            nulls: bool (rows,): where there is no value; None: nowhere.
            cell: How they were stored.
        """
        match self.kind:
            case "nothing":
                return pa.nulls(len(values), self.stored).cast(self.type)
            case "bit":
                return self.restore(pa.array(values.astype(np.bool_), mask=nulls))
            case "code":
                codes = pa.array(values.astype(np.int32), mask=nulls)
                choices = pa.array(self.choices, pa.string())
                if not pa.types.is_dictionary(self.type):
                    return cast(choices, self.type).take(codes)
                return self.restore(pa.DictionaryArray.from_arrays(codes, choices))
            case "decimal" if cell.width < 8:
                values = np.divide(values, 10.0**cell.scale, out=empty(len(values), np.dtype("<f8")))
            case "integer":
                whole = empty(len(values), _integer(self.stored))
                whole[:] = values
                values = whole
            case _:
                values = np.ascontiguousarray(values)
        valid = None if nulls is None else pa.py_buffer(np.packbits(~nulls, bitorder="little"))
        return self.restore(
            pa.Array.from_buffers(self.stored, len(values), [valid, pa.py_buffer(values.view(np.uint8))])
        )

    def restore(self, array: Any) -> Any:
        """The array in the type that the table had."""
        if not pa.types.is_dictionary(self.type):
            return cast(array, self.type)
        if not pa.types.is_dictionary(array.type):
            array = array.dictionary_encode()
        words = array.dictionary.cast(self.stored)
        codes = array.indices.cast(self.type.index_type)
        return pa.DictionaryArray.from_arrays(codes, words, ordered=self.type.ordered)


def cast(array: Any, kind: Any) -> Any:
    """The array as another Arrow type; to cast it to its own takes as long as to another."""
    return array if array.type.equals(kind) else array.cast(kind)


def empty(count: int, dtype: np.dtype[Any]) -> Values:
    """An array of values yet to come.

    A large one lies in Arrow's memory, where what an earlier table had is used again: memory that is new to
    the process costs more than to fill it. A small one is made sooner by numpy.
    """
    size = count * dtype.itemsize
    if size < _LARGE:
        return np.empty(count, dtype)
    return np.frombuffer(pa.allocate_buffer(size), dtype.base).reshape(count, *dtype.shape)


def wipe(values: Values) -> None:
    """Overwrite values with zeros; `del` would leave them in memory."""
    values.view(np.uint8).fill(0)


def encode(column: Column, array: Any) -> tuple[Cell, Values, Mask | None]:
    """The values of a column as the rows hold them: of text, the lengths.

    Args:
        column: Which it is.
        array: Its Arrow array, of type ``column.stored``.

    Returns:
        How they are stored; the values (rows,); bool (rows,) where there is none, or None.

    Raises:
        DeclarationError: A value is none of the declared choices.
    """
    nulls = pc.is_null(array).to_numpy(zero_copy_only=False) if array.null_count else None
    match column.kind:
        case "nothing":
            return Cell(0, False), np.zeros(len(array), "V0"), None
        case "bit":
            values = pc.fill_null(array, False).to_numpy(zero_copy_only=False)
            return Cell(0, nulls is not None), values, nulls
        case "code":
            values = _codes(column, array)
        case "text":
            lengths = pc.fill_null(pc.binary_length(array.cast(_bytes_type(array))), 0)
            values = _narrow(lengths.to_numpy(zero_copy_only=False))
        case _:
            values = _plain(array, column)
            if nulls is not None:
                values = np.where(nulls, np.zeros(1, values.dtype), values)
            if column.kind == "integer":
                values = _narrow(values)
            elif column.kind == "decimal":
                return _decimal(values, nulls)
    return Cell(values.dtype.itemsize, nulls is not None), values, nulls


def stored_dtype(column: Column, cell: Cell) -> np.dtype[Any]:
    """The numpy type of a column's values in a row."""
    if column.kind in ("code", "text"):
        return np.dtype(f"<u{cell.width}")
    if column.kind == "integer":
        return np.dtype(f"<{_integer(column.stored).kind}{cell.width}")
    if column.kind == "decimal":
        return np.dtype("<f8" if cell.width == 8 else f"<i{cell.width}")
    return np.dtype(f"V{cell.width}")


def as_bytes(array: Any) -> Any:
    """Text or binary of any Arrow type as large binary, nulls as empty."""
    return pc.fill_null(array.cast(_bytes_type(array)).cast(pa.large_binary()), b"")


def _bytes_type(array: Any) -> Any:
    # Views convert to their own kind of contiguous array first.
    texts = pa.types.is_string(array.type) or pa.types.is_large_string(array.type)
    return pa.large_string() if texts or pa.types.is_string_view(array.type) else pa.large_binary()


def _integer(stored: Any) -> np.dtype[Any]:
    kind = "u" if pa.types.is_unsigned_integer(stored) else "i"
    return np.dtype(f"<{kind}{stored.bit_width // 8}")


def _plain(array: Any, column: Column) -> Values:
    """The values of a fixed-width array, whatever lies behind its nulls included."""
    width = array.type.bit_width // 8
    if column.kind == "integer":
        dtype = _integer(array.type)
    else:
        dtype = np.dtype("<f8") if column.kind == "decimal" else np.dtype(f"V{width}")
    if len(array) == 0 or width == 0:
        return np.zeros(len(array), dtype)
    return np.frombuffer(array.buffers()[1], dtype, count=len(array), offset=array.offset * width)


def _codes(column: Column, array: Any) -> Values:
    choices = column.choices or ()
    found = pc.index_in(array.cast(pa.string()), value_set=pa.array(choices, pa.string()))
    if found.null_count > array.null_count:
        raise DeclarationError(
            f"column {column.name!r} has {found.null_count - array.null_count:,} values that are none of its "
            f"{len(choices)} declared choices",
            hint="validate the rows before they are sealed, or declare what is missing",
        )
    width = next(width for width in (1, 2, 4) if len(choices) <= 1 << 8 * width)
    return np.asarray(pc.fill_null(found, 0).to_numpy(zero_copy_only=False)).astype(f"<u{width}")


def _narrow(values: Values) -> Values:
    """The same integers in as few bytes as hold them all."""
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    kind = "u" if low >= 0 and values.dtype.kind == "u" else "i"
    for width in (1, 2, 4):
        limits = np.iinfo(f"{kind}{width}")
        if limits.min <= low and high <= limits.max:
            return values.astype(f"<{kind}{width}")
    return values


def _decimal(values: Values, nulls: Mask | None) -> tuple[Cell, Values, Mask | None]:
    """Float64 as small integers, where every value is n / 10^scale to the last bit."""
    for scale in _SCALES:
        for part in (values[:_SAMPLE], values):
            if (whole := _whole(part, scale)) is None:
                break
        else:
            narrow = _narrow(np.asarray(whole, "<i8"))
            if narrow.dtype.itemsize < 8:
                return Cell(narrow.dtype.itemsize, nulls is not None, scale), narrow, nulls
    return Cell(8, nulls is not None), values, nulls


def _whole(values: Values, scale: int) -> Values | None:
    with np.errstate(all="ignore"):
        whole = np.rint(values * 10.0**scale)
        # Bits are compared, so that -0.0 and each NaN stay what they are.
        same = (whole / 10.0**scale).view(np.int64) == values.view(np.int64)
    return whole if same.all() and (np.abs(whole) < 2**31).all() else None
