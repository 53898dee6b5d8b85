"""A release is fetched once, verified every time, and never half there."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import fsspec
import pytest

from lifecycle.core.errors import ConfigError, IntegrityError, StorageError, UnavailableError
from lifecycle.core.release import verify_release
from lifecycle.records.signing import Ed25519Signer
from lifecycle.serving.store import VerifiedReleaseStore
from tests.serving.conftest import Releases, eventually


def folder_of(release) -> Path:
    return Path(urlsplit(release.uri).path)


def kept(tmp_path) -> list[str]:
    """What lies in the cache."""
    return sorted(path.name for path in (tmp_path / "cache").iterdir())


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_fetches_into_a_folder_named_by_the_digest(tmp_path, store, releases, signer):
    release = releases.write()
    folder = store.fetch(release)
    assert folder == tmp_path / "cache" / release.digest
    assert verify_release(folder, release.digest, signer).system == "homes"
    assert kept(tmp_path) == [release.digest]


def test_fetches_once(store, releases):
    release = releases.write()
    store.fetch(release)
    shutil.rmtree(folder_of(release))
    assert store.fetch(release).is_dir()


def test_fetches_from_wherever_fsspec_reaches(store, releases, signer):
    release = releases.write()
    memory = fsspec.filesystem("memory")
    memory.put(str(folder_of(release)), "/store/release", recursive=True)
    folder = store.fetch(release.model_copy(update={"uri": "memory://store/release"}))
    verify_release(folder, release.digest, signer)


def test_what_else_lies_in_the_remote_folder_is_left_there(store, releases):
    release = releases.write()
    (folder_of(release) / "malware.py").write_text("import os")
    assert not (store.fetch(release) / "malware.py").exists()


@pytest.mark.parametrize("name", ["model.onnx", "schema.json", "manifest.json", "manifest.sig"])
@pytest.mark.parametrize("change", ["flipped", "missing", "longer"])
def test_a_release_that_is_not_what_was_promised_is_refused_and_not_kept(
    tmp_path, store, releases, name, change
):
    release = releases.write()
    file = folder_of(release) / name
    match change:
        case "flipped":
            flip(file)
        case "missing":
            file.unlink()
        case "longer":
            file.write_bytes(file.read_bytes() + b"\n")
    with pytest.raises(IntegrityError):
        store.fetch(release)
    assert kept(tmp_path) == []


def test_a_release_signed_by_a_stranger_is_refused(tmp_path, releases):
    release = releases.write()
    store = VerifiedReleaseStore(tmp_path / "cache", Ed25519Signer(tmp_path / "other keys"))
    with pytest.raises(IntegrityError, match="not trusted"):
        store.fetch(release)
    assert kept(tmp_path) == []


def test_a_release_of_another_system_is_refused(tmp_path, store, releases):
    release = releases.write().model_copy(update={"system": "patients"})
    with pytest.raises(IntegrityError, match="is of homes, not of patients"):
        store.fetch(release)
    assert kept(tmp_path) == []


def test_a_digest_that_is_a_path_is_refused(store, releases):
    release = releases.write().model_copy(update={"digest": "../../etc"})
    with pytest.raises(IntegrityError, match="not a SHA-256 digest"):
        store.fetch(release)


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "manifest.sig"])
def test_a_cached_copy_that_rots_is_fetched_anew(tmp_path, store, releases, signer, name):
    release = releases.write()
    flip(store.fetch(release) / name)
    verify_release(store.fetch(release), release.digest, signer)
    assert kept(tmp_path) == [release.digest]


def test_a_file_where_the_folder_should_be_is_replaced(tmp_path, store, releases, signer):
    release = releases.write()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / release.digest).write_text("not a folder")
    verify_release(store.fetch(release), release.digest, signer)


def test_a_cached_copy_that_rots_is_removed_even_if_there_is_no_other(tmp_path, store, releases):
    release = releases.write()
    flip(store.fetch(release) / "model.onnx")
    shutil.rmtree(folder_of(release))
    with pytest.raises(UnavailableError, match="nothing lies at"):
        store.fetch(release)
    assert kept(tmp_path) == []


def test_the_only_copy_is_refused_but_not_destroyed(releases, signer):
    release = releases.write()
    cache_is_source = VerifiedReleaseStore(releases.folder / "releases", signer)
    assert cache_is_source.fetch(release) == folder_of(release)
    flip(folder_of(release) / "model.onnx")
    with pytest.raises(IntegrityError, match=r"model\.onnx was changed"):
        cache_is_source.fetch(release)
    assert folder_of(release).is_dir()


def test_a_missing_driver_names_the_command_that_installs_it(store, releases):
    release = releases.write().model_copy(update={"uri": "lakefs://me:secret@repository/main"})
    with pytest.raises(ConfigError, match="needs a driver") as caught:
        store.fetch(release)
    assert caught.value.hint == "pip install lakefs-spec"
    assert "secret" not in str(caught.value)


def test_an_unknown_protocol_is_a_fault_of_configuration(store, releases):
    with pytest.raises(ConfigError, match="no protocol 'carrier-pigeon'"):
        store.fetch(releases.write().model_copy(update={"uri": "carrier-pigeon://roof"}))


def test_a_server_that_does_not_answer_may_answer_later(store, releases):
    with pytest.raises(UnavailableError, match="cannot be reached: Connection refused"):
        store.fetch(releases.write().model_copy(update={"uri": "ftp://127.0.0.1:1/release"}))


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, store, releases):
    release = releases.write()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # every larger write fails, as on a full disk
    try:
        with pytest.raises(StorageError, match=r"cannot store a release in .*: File too large"):
            store.fetch(release)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert kept(tmp_path) == []


def test_a_cache_that_cannot_be_made_is_told(tmp_path, releases, signer):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Not a directory"):
        VerifiedReleaseStore(tmp_path / "file" / "cache", signer).fetch(releases.write())


FETCH = """
import sys
from pathlib import Path
from lifecycle.core.values import Release
from lifecycle.records.signing import Ed25519Signer
from lifecycle.serving.store import VerifiedReleaseStore
store = VerifiedReleaseStore(Path(sys.argv[1]), Ed25519Signer(Path(sys.argv[2])))
print("started", flush=True)
sys.stdin.readline()
store.fetch(Release.model_validate_json(sys.argv[3]))
"""


def start_fetch(tmp_path, release) -> subprocess.Popen[str]:
    """A process that fetches when it is told a line."""
    arguments = [str(tmp_path / "cache"), str(tmp_path / "keys"), release.model_dump_json()]
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", FETCH, *arguments], stdin=pipe, stdout=pipe, text=True)


def test_many_processes_fetch_the_same_release_at_once(tmp_path, releases, signer):
    release = releases.write()
    processes = [start_fetch(tmp_path, release) for _ in range(3)]
    for process in processes:
        assert process.stdout.readline() == "started\n"
    for process in processes:
        process.communicate("go\n")
    assert [process.returncode for process in processes] == [0, 0, 0]
    verify_release(tmp_path / "cache" / release.digest, release.digest, signer)
    assert kept(tmp_path) == [release.digest]


def test_threads_that_find_a_rotten_copy_at_once_all_get_a_sound_one(store, releases, signer):
    release = releases.write()
    flip(store.fetch(release) / "model.onnx")
    faults: list[Exception] = []

    def fetch() -> None:
        try:
            verify_release(store.fetch(release), release.digest, signer)
        except IntegrityError as error:
            faults.append(error)

    threads = [threading.Thread(target=fetch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_what_a_killed_fetch_left_is_swept_and_what_a_living_one_holds_is_not(tmp_path, store, releases):
    stuck, other = releases.write(1.0), releases.write(2.0)
    model = folder_of(stuck) / "model.onnx"
    model.unlink()
    os.mkfifo(model)  # reading it waits until somebody writes

    def drafts() -> list[Path]:
        return list((tmp_path / "cache").glob(".fetch-*/manifest.sig"))

    with start_fetch(tmp_path, stuck) as process:
        process.stdin.write("go\n")
        process.stdin.flush()
        eventually(drafts)
        store.fetch(other)
        assert drafts(), "the fetch lives, so its draft stays"
        process.kill()
    shutil.rmtree(tmp_path / "cache" / other.digest)
    store.fetch(other)
    assert kept(tmp_path) == [other.digest]


def test_a_release_is_fetched_from_a_folder_with_a_space_in_its_name(tmp_path, signer):
    release = Releases(tmp_path / "my registry", signer).write()
    assert "%20" in release.uri
    assert (VerifiedReleaseStore(tmp_path / "cache", signer).fetch(release) / "model.onnx").is_file()
