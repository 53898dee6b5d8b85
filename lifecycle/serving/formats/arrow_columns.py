"""From an Arrow IPC body to columns: nothing in it is believed before it is checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifecycle.core.record import FieldSpec
from lifecycle.serving.formats.arrays import masked
from lifecycle.serving.formats.arrow_messages import check_file, check_stream, malformed
from lifecycle.serving.formats.columns import Column
from lifecycle.serving.limits import MAX_BODY
from lifecycle.serving.problems import MAX_FAULTS, Fault, ProblemError, unprocessable

MAX_DECODED = 4 * MAX_BODY
"""Characters in all texts of one request together, where words of a dictionary or views are shared."""

_TAKEN = "booleans, integers, floats, text, dictionaries of text, dates and timestamps are taken"


def columns_of(pa: Any, body: bytes, *, is_file: bool, fields: Mapping[str, FieldSpec]) -> dict[str, Column]:
    """Decode an IPC stream or file.

    Args:
        pa: pyarrow.
        body: The whole of it.
        is_file: Whether it is a file rather than a stream.
        fields: What the record has, to tell which column is meant.

    Returns:
        Columns of numpy arrays, masked where null, or lists.

    Raises:
        ProblemError: 400 for what is malformed or not taken, 413 for too many rows, 422 for a column of a
            type that no field has.
    """
    check_file(body) if is_file else check_stream(body)
    options = pa.ipc.IpcReadOptions(use_threads=False)
    try:
        # Aligned as Arrow wants it, whatever the bytes were.
        source = pa.py_buffer(bytearray(body))
        reader = (pa.ipc.open_file if is_file else pa.ipc.open_stream)(source, options=options)
        _check_types(pa, reader.schema, fields)
        batches = _batches(reader, is_file)
        for batch in batches:
            batch.validate(full=True)
        if not any(batch.num_rows for batch in batches):
            return {name: [] for name in reader.schema.names}
        table = pa.Table.from_batches(batches, schema=reader.schema)
        return {
            name: _column(pa, table.column(position).combine_chunks())
            for position, name in enumerate(table.column_names)
        }
    except ProblemError:
        raise
    except (pa.ArrowException, OSError, ValueError, MemoryError):  # their words may hold values
        raise malformed("it ends early, or its buffers do not fit its schema") from None


def _batches(reader: Any, is_file: bool) -> list[Any]:
    if is_file:
        return [reader.get_batch(i) for i in range(reader.num_record_batches)]
    return list(reader)


def _check_types(pa: Any, schema: Any, fields: Mapping[str, FieldSpec]) -> None:
    names = schema.names
    faults = [
        Fault(field=name[:64], instance=None, reason="is given twice")
        for name in fields
        if names.count(name) > 1
    ]
    faults += [
        Fault(field=field.name[:64], instance=None, reason=f"has an Arrow type that is not taken: {_TAKEN}")
        for field in schema
        if not _is_taken(pa.types, field.type)
    ]
    if faults:
        raise unprocessable(faults[:MAX_FAULTS], len(faults))


def _is_taken(types: Any, kind: Any) -> bool:
    plain: tuple[Callable[[Any], bool], ...] = (
        types.is_null,
        types.is_boolean,
        types.is_integer,
        types.is_floating,
        types.is_date,
        types.is_timestamp,
    )
    if types.is_dictionary(kind):
        return _is_text(types, kind.value_type)
    return _is_text(types, kind) or any(is_such(kind) for is_such in plain)


def _is_text(types: Any, kind: Any) -> bool:
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _column(pa: Any, array: Any) -> Column:
    types, kind = pa.types, array.type
    if types.is_dictionary(kind):
        return _words(pa, array)
    if _is_text(types, kind):
        return _text(types, array)
    if types.is_null(kind) or types.is_boolean(kind):
        listed: list[Any] = array.to_pylist()
        return listed
    return masked(_values(types, array), _missing(array))


def _words(pa: Any, array: Any) -> list[Any]:
    """A column of a dictionary's words."""
    words = [*_text(pa.types, array.dictionary), None]
    indices = array.indices
    places = np.where(_missing(indices), len(words) - 1, _buffer(indices, indices.type.to_pandas_dtype()))
    column = [words[place] for place in places.tolist()]
    _check_decoded(sum(len(word) for word in column if word is not None))
    return column


def _text(types: Any, array: Any) -> list[Any]:
    if types.is_string_view(array.type):  # many views may show one long text
        views = np.frombuffer(array.buffers()[1], dtype=np.int32).reshape(-1, 4)
        _check_decoded(int(views[array.offset : array.offset + len(array), 0].sum(dtype=np.int64)))
    listed: list[Any] = array.to_pylist()
    return listed


def _check_decoded(characters: int) -> None:
    if characters > MAX_DECODED:
        raise malformed(f"its texts have more than {MAX_DECODED} characters together: send several")


def _values(types: Any, array: Any) -> NDArray[Any]:
    kind = array.type
    if types.is_date32(kind):
        return _buffer(array, np.int32).astype("datetime64[D]")
    if types.is_date64(kind):
        return _buffer(array, "datetime64[ms]")
    if types.is_timestamp(kind):  # with a time zone or without, what is stored is UTC
        return _buffer(array, f"datetime64[{kind.unit}]")
    return _buffer(array, kind.to_pandas_dtype())


def _buffer(array: Any, dtype: Any) -> NDArray[Any]:
    """The values of a fixed-width column as they lie in memory."""
    return np.frombuffer(array.buffers()[1], dtype=dtype)[array.offset : array.offset + len(array)]


def _missing(array: Any) -> NDArray[np.bool_]:
    bitmap = array.buffers()[0]
    if bitmap is None:
        return np.zeros(len(array), dtype=np.bool_)
    known = np.unpackbits(np.frombuffer(bitmap, dtype=np.uint8), bitorder="little")
    missing: NDArray[np.bool_] = known[array.offset : array.offset + len(array)] == 0
    return missing
