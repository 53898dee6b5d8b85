"""Releases on this machine: fetched once into a folder named by their digest, verified at every use."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from pydantic import ValidationError

from lifecycle.core.errors import IntegrityError, StorageError
from lifecycle.core.ports import Signer
from lifecycle.core.release import MANIFEST, SIGNATURE, Manifest, publish, verify_release
from lifecycle.core.values import Release
from lifecycle.serving.remote import RemoteFolder

_DRAFT = ".fetch-"
logger = logging.getLogger(__name__)


class VerifiedReleaseStore:
    """The cache ``<cache>/<digest>/``, shared by any number of processes.

    A fetch downloads into a private draft, verifies it and renames it into place, so a folder named by a
    digest is whole. It is still verified, signature and every digest, each time it is asked for: disks rot
    and people edit.

    Args:
        cache: The folder of the releases; made at the first fetch.
        signer: Knows the trusted keys.
    """

    def __init__(self, cache: Path, signer: Signer) -> None:
        self._cache = cache.absolute()
        self._signer = signer

    def fetch(self, release: Release) -> Path:
        """The verified local folder of a release, fetched if it is not here or does not verify.

        Raises:
            IntegrityError: What was fetched is not what was promised; nothing of it is kept.
            StorageError: The cache cannot be written.
            UnavailableError: Where the release lies cannot be reached.
            ConfigError: The driver or the permission to read from there is missing.
        """
        if not re.fullmatch(r"[0-9a-f]{64}", release.digest):
            raise IntegrityError("the ledger names a release by something that is not a SHA-256 digest")
        target = self._cache / release.digest
        if target.exists():
            if self._is_sound(target, release):
                return target
            self._discard(target, release)
        with self._draft(release.digest) as draft:
            self._download(release, draft)
            self._verify(draft, release)
            with _storing(self._cache):
                publish(draft, target)
        return target

    def _verify(self, folder: Path, release: Release) -> None:
        try:
            manifest = verify_release(folder, release.digest, self._signer)
        except OSError as error:  # such as a folder where a file belongs
            raise IntegrityError(
                f"release {release.digest[:12]} cannot be read: {error.strerror}",
                hint="look at the disk, and at who owns the folder of releases",
            ) from error
        if manifest.system != release.system:
            raise IntegrityError(
                f"release {release.digest[:12]} is of {manifest.system}, not of {release.system}",
                hint="the ledger's row is wrong: roll back",
            )

    def _is_sound(self, folder: Path, release: Release) -> bool:
        try:
            self._verify(folder, release)
        except IntegrityError as error:
            logger.warning("%s", error.message)
            return False
        return True

    def _discard(self, target: Path, release: Release) -> None:
        """Remove a copy that does not verify, unless the cache is itself where the release is stored."""
        if release.uri in (target.as_uri(), str(target)):
            return
        with _storing(self._cache), _lock(self._cache, fcntl.LOCK_EX):
            # Looked at again, alone: another process may have put a sound copy in its place.
            if target.exists() and not self._is_sound(target, release):
                grave = Path(mkdtemp(prefix=f"{_DRAFT}corrupt-", dir=self._cache))
                target.rename(grave / target.name)
                shutil.rmtree(grave, ignore_errors=True)

    def _download(self, release: Release, draft: Path) -> None:
        """Copy the manifest, its signature and the files it names; anything else there is not touched."""
        remote = RemoteFolder(release.uri)
        for name in (MANIFEST, SIGNATURE):
            self._copy(remote, name, draft)
        for name in _promised(draft, release.digest):
            self._copy(remote, name, draft)

    def _copy(self, remote: RemoteFolder, name: str, draft: Path) -> None:
        with _storing(self._cache), (draft / name).open("xb") as file:
            for chunk in remote.read(name):
                file.write(chunk)

    @contextmanager
    def _draft(self, digest: str) -> Iterator[Path]:
        """A private folder, locked while its fetch lives; those that killed fetches left are removed."""
        with _storing(self._cache):
            self._cache.mkdir(parents=True, exist_ok=True)
            with _lock(self._cache, fcntl.LOCK_EX):
                self._sweep()
                draft = Path(mkdtemp(prefix=f"{_DRAFT}{digest[:12]}-", dir=self._cache))
                descriptor = os.open(draft, os.O_RDONLY)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)
            os.close(descriptor)

    def _sweep(self) -> None:
        for draft in self._cache.glob(f"{_DRAFT}*"):
            try:
                with _lock(draft, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    shutil.rmtree(draft, ignore_errors=True)
            except (BlockingIOError, FileNotFoundError):
                continue  # its fetch lives, or has just ended


def _promised(draft: Path, digest: str) -> list[str]:
    """The files a manifest names, once it is the manifest that the ledger promised."""
    content = (draft / MANIFEST).read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise IntegrityError(
            f"release {digest[:12]}: the manifest's digest is {found[:12]}",
            hint="what lies there was replaced: roll back, or register the release again",
        )
    try:
        names = list(Manifest.model_validate_json(content).files)
    except ValidationError:
        raise IntegrityError(f"release {digest[:12]}: the manifest is of another format") from None
    if odd := [name for name in names if Path(name).name != name or name in (MANIFEST, SIGNATURE)]:
        raise IntegrityError(
            f"release {digest[:12]}: the manifest names {odd[0]!r}, which is not a file name"
        )
    return names


@contextmanager
def _lock(folder: Path, how: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _storing(cache: Path) -> Iterator[None]:
    """Tell a full or read-only disk from a remote that does not answer."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot store a release in {cache}: {error.strerror or type(error).__name__}",
            hint="make room or make the folder writable, or set LIFECYCLE_HOME to one that is",
        ) from error
