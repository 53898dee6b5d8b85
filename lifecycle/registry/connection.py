"""A quiet client for MLflow, opened at first use, and what its errors mean."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lifecycle.core.errors import LifecycleError, StateError, StorageError, UnavailableError
from lifecycle.core.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Flows retry a server that does not answer; MLflow's own seven retries would hold them for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}
_SQLITE = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_READONLY": "it is read-only",
    "SQLITE_CANTOPEN": "the file cannot be opened",
    "SQLITE_PERM": "its permissions forbid it",
    "SQLITE_IOERR": "the disk reports an error",
    "SQLITE_CORRUPT": "the file is damaged",
    "SQLITE_NOTADB": "the file is not a SQLite database",
}


def open_client(settings: Settings) -> MlflowClient:
    """A client of the tracking server or database; importing MLflow takes seconds, so only here.

    MLflow's global tracking URI is left alone. A new SQLite file gets its tables now (4 s).

    Raises:
        StorageError: The SQLite file cannot be opened or made.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    scheme, _, path = settings.tracking.partition(":///")
    if scheme == "sqlite" and not path.startswith("file:"):
        _try_file(Path(path.partition("?")[0]))
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # the import has set it to INFO
    # Built here, in the warnings' silence, and kept by MLflow for this address.
    client = MlflowClient(tracking_uri=settings.tracking, registry_uri=settings.tracking)
    client.search_registered_models(max_results=1)
    return client


def _try_file(path: Path) -> None:
    """Open the file as MLflow will, which would itself try ten times in 100 s before it tells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA schema_version")


@contextmanager
def speaking(settings: Settings) -> Iterator[None]:
    """Talk to MLflow: its chatter and warnings stay off stderr, its errors become ours.

    Raises:
        StorageError: A disk, database or artifact store refuses to store.
        UnavailableError: The server or database does not answer, or is locked.
        StateError: MLflow refuses the request.
    """
    logger = logging.getLogger("mlflow")
    level = logger.level
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.getLogger("mlflow").setLevel(logging.CRITICAL)
            yield
    except LifecycleError:
        raise
    except Exception as error:
        translated = _translate(error, settings)
        if translated is None:
            raise
        # Not chained: MLflow's and SQLAlchemy's messages may hold the address with its password.
        raise translated from None
    finally:
        logger.setLevel(level)


def _translate(error: Exception, settings: Settings) -> LifecycleError | None:
    chain = list(_chain(error))
    for link in chain:
        if (refusal := _storage_refusal(link)) is not None:
            return StorageError(
                f"MLflow cannot store ({_described(settings)}): {refusal}",
                hint="mend that, then run the command again: it finds what is there and makes the rest",
            )
    names = {f"{type(link).__module__}.{type(link).__name__}" for link in chain}
    code = getattr(error, "error_code", "")
    if code in _TRANSIENT or names & _UNREACHABLE or _http_status(error) >= 500:
        return UnavailableError(
            f"MLflow does not answer at {_described(settings)}",
            hint="see that it runs: lifecycle status; then try again",
        )
    if code:
        words = str(error).splitlines()[0].replace(settings.tracking, _described(settings))[:500]
        return StateError(f"MLflow refuses ({code}): {words}", hint="look at the run and version in its UI")
    return None


_TRANSIENT = {"TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
_UNREACHABLE = {
    "requests.exceptions.ConnectionError",
    "requests.exceptions.ConnectTimeout",
    "requests.exceptions.ReadTimeout",
    "requests.exceptions.Timeout",
    "requests.exceptions.RetryError",
    "sqlalchemy.exc.OperationalError",
    "sqlalchemy.exc.InterfaceError",
    "sqlalchemy.exc.TimeoutError",
}


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and everything it was raised from."""
    found: BaseException | None = error
    while found is not None:
        yield found
        original = getattr(found, "orig", None)
        if isinstance(original, BaseException):
            yield original
        found = found.__cause__ or found.__context__


def _storage_refusal(error: BaseException) -> str | None:
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorname", "")
        return next((words for name, words in _SQLITE.items() if code.startswith(name)), None)
    if isinstance(error, OSError):
        if error.errno in _NO_SPACE:
            return "the disk is full"
        if error.errno in _FORBIDDEN:
            return f"{error.strerror}: {error.filename}"
    return None


def _http_status(error: Exception) -> int:
    get = getattr(error, "get_http_status_code", None)
    # Without a response from a server, MLflow's own INTERNAL_ERROR counts as 500 too.
    return int(get()) if get and type(error).__name__ == "RestException" else 0


def _described(settings: Settings) -> str:
    """The tracking address without user, password and options."""
    parts = urlsplit(settings.tracking)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
