"""The objects of a DVC remote, wherever it is: listed, and read in ranges through DVC's own filesystems."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING

from lifecycle.core.errors import StateError
from lifecycle.core.settings import Settings
from lifecycle.data.dvc import Dvc

if TYPE_CHECKING:
    from dvc_objects.fs.base import FileSystem

_AT_ONCE = 16


class RemoteObjects:
    """Objects below a path of a filesystem that DVC knows.

    It never writes. What the filesystem raises passes through: each kind of store has errors of its own.

    Args:
        files: The filesystem.
        path: The remote's, in it.
    """

    def __init__(self, files: FileSystem, path: str) -> None:
        self._files = files
        self._path = path.rstrip("/")
        self._below = f"{self._path}/" if self._path else ""

    @property
    def at_once(self) -> int:
        """How many objects may be read at a time."""
        return int(min(self._files.jobs, _AT_ONCE))

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of every object, by its path below the remote's, as they were listed first.

        Folder by folder: where one cannot be listed that is an error, while a search over all of them passes
        it over on some stores.

        Raises:
            StateError: Objects of this kind of remote cannot be listed.
        """
        if not self._files.CAN_TRAVERSE:
            raise StateError(
                f"a remote of kind {self._files.protocol} cannot be listed", hint="look through its server"
            )
        found: dict[str, int] = {}
        folders = [self._path]
        with ThreadPoolExecutor(self.at_once, "list") as pool:
            while folders:
                listed = list(pool.map(self._list, folders))
                folders = [path for there, _ in listed for path in there]
                found |= {path: size for _, there in listed for path, size in there.items()}
        return {path.removeprefix(self._below): found[path] for path in sorted(found)}

    def read(self, name: str, start: int, end: int) -> bytes:
        """Bytes ``start`` to ``end``, which is not among them, of an object."""
        return bytes(self._files.fs.cat_file(self._below + name, start=start, end=end))

    def _list(self, folder: str) -> tuple[list[str], dict[str, int]]:
        """The folders in a folder, and the objects in it with their sizes."""
        folders, objects = [], {}
        for told in self._files.fs.ls(folder, detail=True):
            path = str(told["name"]).rstrip("/")
            if told["type"] != "directory":
                objects[path] = int(told["size"])
            elif path != folder:
                folders.append(path)
        return folders, objects


def open_remote(settings: Settings) -> RemoteObjects:
    """The remote of a project, reached as DVC reaches it.

    Raises:
        ConfigError: DVC's configuration has faults, or the driver of this kind of remote is not installed.
    """
    from dvc_objects.fs import get_fs_cls  # not dvc itself, which changes logs and output of its process

    log = settings.state / "logs" / "dvc-remote.log"
    with Dvc(settings, settings.project, log) as dvc:
        told = dvc.remote()
    kind = get_fs_cls(told)  # type: ignore[no-untyped-call]
    return RemoteObjects(kind(**told["config"]), str(told["path"]))
