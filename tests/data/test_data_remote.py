"""A DVC remote behind any of DVC's filesystems: listed, and read in ranges."""

from __future__ import annotations

import pytest
from dvc_http import HTTPFileSystem
from dvc_objects.fs import MemoryFileSystem

from lifecycle.core.errors import StateError
from lifecycle.data.dvc_objects import folders_among, snapshots_with
from lifecycle.data.dvc_remote import RemoteObjects

DIGEST = "8a2f" + "0" * 28
ID = "77" + "1" * 30 + ".dir"
FILES = {
    f"files/md5/{DIGEST[:2]}/{DIGEST[2:]}": bytes(range(200)),
    f"files/md5/{ID[:2]}/{ID[2:]}": f'[{{"md5": "{DIGEST}", "relpath": "2026-01.parquet"}}]'.encode(),
    "else.dir": b"of somebody else",
}


@pytest.fixture
def files() -> MemoryFileSystem:
    files = MemoryFileSystem(global_store=False)
    for name, content in FILES.items():
        files.makedirs(f"/bucket/{name}".rpartition("/")[0], exist_ok=True)
        files.pipe_file(f"/bucket/{name}", content)
    return files


@pytest.fixture
def remote(files) -> RemoteObjects:
    return RemoteObjects(files, "/bucket/")


def test_objects_are_listed_by_name_and_read_in_ranges(remote):
    assert remote.sizes == {name: len(content) for name, content in FILES.items()}
    [name, *_] = FILES
    assert remote.read(name, 10, 20) == bytes(range(10, 20))
    assert remote.read(name, 190, 200) == bytes(range(190, 200))
    assert 1 <= remote.at_once <= 16


def test_snapshots_are_found_in_it(remote):
    assert snapshots_with([folders_among(remote, [])], [DIGEST]) == (ID,)
    assert snapshots_with([folders_among(remote, [])], ["0" * 32]) == ()
    assert folders_among(remote, [ID]) == {}


def test_a_folder_that_cannot_be_listed_is_no_empty_one(files, remote, monkeypatch):
    whole = files.fs.ls

    def forbidden(path, **words):
        if path.endswith("/77"):
            raise PermissionError(path)
        return whole(path, **words)

    monkeypatch.setattr(files.fs, "ls", forbidden)
    with pytest.raises(PermissionError):
        len(remote.sizes)


def test_a_remote_with_nothing_in_it_is_not_taken_for_one_that_was_looked_through(files):
    with pytest.raises(FileNotFoundError):
        len(RemoteObjects(files, "/another").sizes)


def test_a_remote_that_lists_nothing_by_its_kind_says_so():
    with pytest.raises(StateError, match="of kind http cannot be listed"):
        len(RemoteObjects(HTTPFileSystem(), "http://127.0.0.1:9/records").sizes)
