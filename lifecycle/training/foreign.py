"""Errors that a user's model or a library raises, told without telling any record's values.

Such a message may hold anything: scikit-learn quotes the text it could not convert, and a user's own check
may print a whole row. Hiding the message would hide the cause, so it is shown with every part masked that
could come from a record: quoted text, numbers, and every word that occurs in a category of the rows. Names of
features stay, as the record type declares them.
"""

from __future__ import annotations

import re
import sysconfig
import traceback
from pathlib import Path

from lifecycle.core.record import RecordSchema
from lifecycle.core.rows import Tensors

_MASK = "…"
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|‘[^’]*’|`[^`]*`")
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"[-+]?\w*\d\w*(?:[.,:+-]+\w+)*")
_DTYPE = re.compile(r"(?:u?int|float)(?:8|16|32|64)")
_LENGTH = 300
_LIBRARIES = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib"))
_OURS = Path(__file__).resolve().parents[1]


def describe(error: BaseException, schema: RecordSchema, tensors: Tensors) -> str:
    """Type, place and masked first line of an error raised by a user's code or a library.

    Args:
        error: With its traceback.
        schema: Names of features are not masked.
        tensors: The rows the foreign code was given; their categories are masked.

    Returns:
        One line such as ``ValueError at systems/prices.py:31: could not convert string to float: …``.
    """
    return f"{type(error).__name__}{_place(error)}: {_masked(error, schema, tensors)}"


def _place(error: BaseException) -> str:
    """The innermost line of the user's own code, or else the innermost line of all."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    own = [frame for frame in frames if not _is_foreign(Path(frame.filename).resolve())]
    frame = (own or frames)[-1]
    return f" at {'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno}"


def _is_foreign(path: Path) -> bool:
    return path.is_relative_to(_OURS) or any(path.is_relative_to(folder) for folder in _LIBRARIES)


def _masked(error: BaseException, schema: RecordSchema, tensors: Tensors) -> str:
    known = {*schema.numbers, *schema.categories}
    # The name that code asked for and did not find stands in its source.
    asked = {error.name} if isinstance(error, AttributeError | NameError | ImportError) else set()
    values = {word.casefold() for value in set(tensors.categories.ravel()) for word in _WORD.findall(value)}
    message = str(error).strip().split("\n", 1)[0]
    message = _QUOTED.sub(lambda match: match[0] if match[0][1:-1] in known | asked else _MASK, message)
    message = _WORD.sub(
        lambda match: _MASK if match[0].casefold() in values and match[0] not in known else match[0], message
    )
    message = _NUMBER.sub(
        lambda match: match[0] if match[0] in known or _DTYPE.fullmatch(match[0]) else _MASK, message
    )
    return message if len(message) <= _LENGTH else message[:_LENGTH] + _MASK
