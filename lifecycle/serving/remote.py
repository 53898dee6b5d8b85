"""A release's folder elsewhere: a disk, an object store, whatever fsspec has a driver for."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

import fsspec
from fsspec.registry import known_implementations

from lifecycle.core.errors import ConfigError, IntegrityError, LifecycleError, UnavailableError

CHUNK = 1 << 20
"""Bytes read at a time."""


class RemoteFolder:
    """A folder named by a URI.

    Args:
        uri: Such as ``file:///...`` or ``s3://bucket/...``.

    Raises:
        ConfigError: No driver for this kind of URI is installed.
        UnavailableError: The driver cannot reach it.
    """

    def __init__(self, uri: str) -> None:
        self._shown = without_secrets(uri)
        protocol = uri.partition("://")[0]
        try:
            # A file's URI writes a space as %20, which fsspec takes as it stands.
            self._files, self._path = fsspec.core.url_to_fs(unquote(uri) if protocol == "file" else uri)
        except ImportError:
            raise ConfigError(
                f"reading {self._shown} needs a driver that is not installed",
                hint=_install(protocol),
            ) from None
        except ValueError:
            raise ConfigError(
                f"{self._shown}: there is no protocol {protocol!r}",
                hint="store releases on a disk (file://) or an object store (s3://, gs://, abfs://)",
            ) from None
        except Exception as error:
            raise self._failure(error) from error

    def read(self, name: str) -> Iterator[bytes]:
        """The content of a file of this folder, piece by piece.

        Raises:
            IntegrityError: The folder is there, the file is not.
            UnavailableError: The folder cannot be reached.
            ConfigError: It may not be read.
        """
        try:
            with self._files.open(f"{self._path.rstrip('/')}/{name}", "rb") as reader:
                while chunk := reader.read(CHUNK):
                    yield chunk
        except Exception as error:
            raise self._failure(error, name) from error

    def _failure(self, error: Exception, name: str = "") -> LifecycleError:
        """What a driver's failure means here; its own words may hold a signed address, so they stay out."""
        if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
            if name and self._files.isdir(self._path):
                return IntegrityError(
                    f"{self._shown}: {name} is missing", hint="roll back, or register the release again"
                )
            return UnavailableError(f"nothing lies at {self._shown}", hint="is its disk or share mounted?")
        if isinstance(error, PermissionError):
            return ConfigError(
                f"{self._shown} may not be read", hint="check the owner of the files, or the credentials"
            )
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        return UnavailableError(f"{self._shown} cannot be reached: {reason}", hint="look at the network")


def _install(protocol: str) -> str:
    """The command that brings a driver: a package of its own, or an extra of fsspec."""
    package = known_implementations[protocol]["class"].partition(".")[0].replace("_", "-")
    return f'pip install "fsspec[{protocol}]"' if package == "fsspec" else f"pip install {package}"


def without_secrets(uri: str) -> str:
    """A URI as it may be shown: no user, password or query (object stores sign addresses there).

    Example:
        >>> without_secrets("https://me:secret@store.example/a/b?sig=123")
        'https://store.example/a/b'
    """
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
