"""Disks and remotes that refuse to store: a clear error, nothing committed, and a re-run once mended."""

from __future__ import annotations

import resource
import shutil

import pytest

from lifecycle.core.errors import ConfigError, StorageError
from lifecycle.core.settings import Settings
from lifecycle.data.dvc import Dvc
from lifecycle.data.workspace import GitDvcWorkspace
from tests.data.workspace_fixtures import AS_OF, declare

pytest_plugins = ["tests.data.workspace_fixtures"]


def snapshot(repo, remote):
    workspace = GitDvcWorkspace(Settings(project=repo.root, dvc_remote=remote), "meter")
    return workspace.snapshot(declare("meter"), repo.params(), AS_OF)


def test_a_remote_that_cannot_be_written_to_is_named(repo, tmp_path):
    blocked = tmp_path / "not-a-folder"
    blocked.write_text("")
    repo.write_rows(4)
    before = repo.git("rev-parse", "lifecycle/meter")

    with pytest.raises(StorageError) as error:
        snapshot(repo, str(blocked))

    assert str(blocked) in error.value.message
    assert "run the same command again" in error.value.hint
    assert repo.git("rev-parse", "lifecycle/meter") == before

    blocked.unlink()
    made = snapshot(repo, str(blocked))
    assert repo.git("rev-parse", "lifecycle/meter") == made.commit
    assert any(blocked.rglob(made.id[2:]))


def test_a_remote_of_an_unknown_kind_is_a_fault_of_the_configuration(repo):
    with pytest.raises(ConfigError, match="nosuch") as error:
        snapshot(repo, "nosuch://ann:pw@secret/place")
    assert "pw" not in str(error.value)


@pytest.mark.parametrize(
    ("step", "limit", "where"),
    [("add", 65_536, ".lifecycle/dvc/site"), ("push", 1_000_000, "remote")],
)
def test_a_disk_that_is_full_is_named(repo, monkeypatch, step, limit, where):
    """The kernel refuses DVC's process larger files, as it refuses them on a disk that is full."""
    repo.write_many_rows(100_000)
    before = repo.git("rev-parse", "lifecycle/meter")
    real = getattr(Dvc, step)

    def limited(self, *arguments):
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        return real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Dvc, step, limited)
        with pytest.raises(StorageError) as error:
            repo.snapshot()

    assert f"{repo.root}" in error.value.message
    assert where in error.value.message
    assert "free space" in error.value.hint
    assert repo.git("rev-parse", "lifecycle/meter") == before
    assert repo.snapshot().counts.kept == 100_000


def test_a_lost_cache_and_worktree_come_back_from_the_remote(repo):
    shutil.rmtree(repo.root / ".dvc" / "cache")
    shutil.rmtree(repo.settings.state / "worktrees")
    assert repo.run().training.ran == ()


def test_a_lost_remote_is_filled_again(repo):
    objects = repo.objects()
    shutil.rmtree(repo.remote)
    repo.run()
    assert repo.objects() == objects
