"""Queries through SQLAlchemy: streamed in blocks, and with no password in any message."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from lifecycle.core.errors import ConfigError, LifecycleError, SourceError, UnavailableError
from lifecycle.data.batch import ROW, Chunk

_ROWS = 65_536


def address(given: str, root: Path) -> URL:
    """The database a source names.

    Args:
        given: A SQLAlchemy URL, or ``$NAME`` for the one in an environment variable.
        root: What the path of an SQLite file is relative to.

    Raises:
        ConfigError: The variable is not set, or the URL is none; neither message shows the URL.
        SourceError: The SQLite file does not exist.
    """
    if given.startswith("$"):
        found = os.environ.get(given[1:])
        if not found:
            raise ConfigError(
                f"the environment variable {given[1:]} is not set, and a sql source reads its URL from it",
                hint=f"export {given[1:]}=postgresql+psycopg://USER:PASSWORD@HOST/DATABASE",
            )
        given = found
    try:
        url = make_url(given)
    except ArgumentError:
        raise ConfigError(
            "the url of a sql source is not a SQLAlchemy URL",
            hint="write it as postgresql+psycopg://USER:PASSWORD@HOST/DATABASE or sqlite:///FILE",
        ) from None
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return url
    path = root / url.database
    if not path.is_file():  # SQLite itself would make an empty database there
        raise SourceError(f"there is no SQLite file {url.database}", hint="mend the url in params.yaml")
    return url.set(database=str(path))


def chunks(
    url: URL, query: str, name: str, choose: Callable[[Sequence[str]], Sequence[str]]
) -> Iterator[Chunk]:
    """The rows a query answers, block by block; they are numbered from 1.

    Args:
        url: The database.
        query: The SELECT; end it with ORDER BY where one record may come more than once.
        name: How messages call it.
        choose: Given the columns the query answers, says which are wanted, or raises.

    Raises:
        SourceError: The query fails; the database's own words are shown, its secrets are not.
        UnavailableError: The database does not answer.
    """
    number = 1
    with _connect(url, name) as connection:
        try:
            result = connection.execute(text(query))
            names = list(result.keys())
            for rows in result.partitions(_ROWS):
                values = dict(zip(names, zip(*rows, strict=True), strict=True))
                numbers = pl.Series(ROW, np.arange(number, number + len(rows)))
                number += len(rows)
                yield Chunk(pl.DataFrame([numbers, *(_series(n, values[n]) for n in set(choose(names)))]))
            choose(names)
        except SQLAlchemyError as error:
            raise _failed(error, url, name) from None


def _connect(url: URL, name: str) -> Connection:
    try:
        engine = create_engine(url, poolclass=NullPool, hide_parameters=True)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise SourceError(
            f"{name}: no driver for {url.drivername} is installed ({error})",
            hint="install the driver's package, such as psycopg, or name another in the url",
        ) from None
    try:
        return engine.connect().execution_options(stream_results=True, max_row_buffer=_ROWS)
    except SQLAlchemyError as error:
        raise UnavailableError(
            f"{name}: the database does not answer: {_words(error, url)}",
            hint="see that it runs and that the url's user may log in",
        ) from None


def _failed(error: SQLAlchemyError, url: URL, name: str) -> LifecycleError:
    if getattr(error, "connection_invalidated", False):
        return UnavailableError(
            f"{name}: the connection was lost: {_words(error, url)}", hint="run it again once it answers"
        )
    return SourceError(
        f"{name}: the query failed: {_words(error, url)}", hint="mend the query or the url in params.yaml"
    )


def _words(error: SQLAlchemyError, url: URL) -> str:
    """What the database said, if that can hold neither a secret nor a record's value."""
    if type(error).__name__ not in ("OperationalError", "ProgrammingError", "InterfaceError"):
        return type(error).__name__
    words = str(getattr(error, "orig", error)).strip()
    secrets = [str(url.password or ""), *(str(value) for value in url.query.values())]
    for secret in filter(None, secrets):
        words = words.replace(secret, "***")
    return words


def _series(name: str, values: Sequence[Any]) -> pl.Series:
    """A column of whatever the driver answers; as text, for validation to parse, if types are mixed."""
    try:
        return pl.Series(name, values, strict=True)
    except (TypeError, OverflowError):
        return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)
