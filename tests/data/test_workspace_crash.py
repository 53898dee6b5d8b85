"""Killed at any point, started twice at once: the next run finds its way."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import psutil
import pytest

from lifecycle.core.errors import BusyError
from lifecycle.data.locks import SystemLock
from tests.data.workspace_fixtures import copy_project

pytest_plugins = ["tests.data.workspace_fixtures"]


def locks(repo):
    """Lock files of git anywhere in the repository, the worktrees' too."""
    return sorted(path.name for path in (repo.top / ".git").rglob("*.lock"))


def end(flow):
    """Kill a flow and collect it."""
    flow.kill()
    flow.wait()
    flow.stderr.close()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, trained_template):
    """The tree and the objects that a run ends with when nobody disturbs it."""
    repo = copy_project(trained_template, tmp_path_factory.mktemp("undisturbed") / "work")
    repo.write_rows(4)
    repo.run()
    return repo.git("rev-parse", "lifecycle/meter^{tree}"), repo.objects()


@pytest.mark.parametrize("dies_at", ["Dvc.add", "Dvc.push", "Branch.add", "Git.move"])
def test_killed_anywhere_the_next_run_ends_the_same(repo, undisturbed, dies_at):
    repo.write_rows(4)
    before = repo.traces()
    flow = repo.start_flow(dies_at=dies_at)
    _, said = flow.communicate()
    assert flow.returncode == -signal.SIGKILL, said

    repo.run()

    assert repo.git("rev-parse", "lifecycle/meter^{tree}") == undisturbed[0]
    assert repo.objects() == undisturbed[1]
    assert repo.git("rev-list", "--count", "main..lifecycle/meter") == "4"
    assert repo.traces() == before
    assert locks(repo) == []


def test_a_flow_killed_in_a_stage_takes_the_stage_with_it(repo, undisturbed, tmp_path):
    repo.write_rows(4)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    flow = repo.start_flow(HANG_IN="train", HANG_FIFO=str(fifo))
    stage = psutil.Process(int(fifo.read_text()))
    try:
        with pytest.raises(BusyError, match=rf"^meter: another flow holds the system \(process {flow.pid}, "):
            repo.workspace().prepare()
    finally:
        end(flow)

    repo.run()

    assert not stage.is_running() or stage.status() == psutil.STATUS_ZOMBIE
    assert repo.git("rev-parse", "lifecycle/meter^{tree}") == undisturbed[0]


def test_two_systems_at_once_both_succeed(repo):
    shutil.rmtree(repo.settings.state)
    shutil.rmtree(repo.root / ".dvc" / "cache")
    repo.git("branch", "-qD", "lifecycle/meter")
    flows = [repo.start_flow(system) for system in ("meter", "gauge")]
    said = [flow.communicate()[1] for flow in flows]
    assert [flow.returncode for flow in flows] == [0, 0], said

    meter, gauge = ({
        line for line in repo.git("ls-tree", "-r", "--name-only", f"lifecycle/{system}").splitlines()
        if line not in repo.git("ls-tree", "-r", "--name-only", "main").splitlines()
    } for system in ("meter", "gauge"))  # fmt: skip
    assert meter == {"data/meter.dvc", "dvc.lock"}
    assert gauge == {"data/gauge.dvc", "dvc.lock"}


def test_what_killed_processes_left_is_removed_and_the_users_own_is_not(repo):
    repo.run()
    common, root = repo.top / ".git", repo.workspace().root
    left = [
        common / "worktrees" / "meter" / "index.lock",
        common / "worktrees" / "meter" / "HEAD.lock",
        common / "refs" / "heads" / "lifecycle" / "meter.lock",
        root / ".dvc" / "tmp" / "lock",
    ]
    for path in left:
        path.write_text("0\n")
    blocked = f'"{root}/data/meter": {{"pid": {os.getpid()}, "cmd": "dvc add"}}'
    (root / ".dvc" / "tmp" / "rwlock").write_text(f'{{"read": {{}}, "write": {{{blocked}}}}}')
    (root / "stray.py").write_text("")
    (root / "params.yaml").write_text("systems: {}\n")
    (root / "artifacts" / "meter" / "model" / "model.onnx").write_text("half")
    (root / "data" / "meter" / "2020-01.parquet").write_text("half")
    users = common / "index.lock"
    users.touch()

    assert repo.run().training.ran == ()

    assert users.exists()
    assert locks(repo) == ["index.lock"]
    assert not (root / "stray.py").exists()
    assert (root / "artifacts" / "meter" / "model" / "model.onnx").read_text() != "half"


@pytest.mark.parametrize("half", ["unregistered", "folder gone", "initializing", "another repository's"])
def test_a_half_made_worktree_is_made_anew(repo, half):
    trained = repo.git("rev-parse", "lifecycle/meter")
    workspace = repo.workspace()
    if half != "another repository's":  # as the copied template is
        workspace.prepare()
    registered = repo.top / ".git" / "worktrees" / "meter"
    if half == "unregistered":
        shutil.rmtree(registered)
    elif half == "folder gone":
        shutil.rmtree(workspace.root)
    elif half == "initializing":
        (registered / "locked").write_text("initializing\n")

    workspace.prepare()

    assert (workspace.root / "pipeline.py").read_text() == (repo.root / "pipeline.py").read_text()
    assert Path(repo.git("-C", str(workspace.root), "rev-parse", "--git-common-dir")) == repo.top / ".git"
    assert repo.git("rev-parse", "lifecycle/meter") == trained


def test_a_lock_ends_with_its_holder(tmp_path):
    lock = SystemLock(tmp_path / "locks" / "meter.lock", "meter")
    with lock.held(), pytest.raises(BusyError, match=f"process {os.getpid()}, since 20"), lock.held():
        pass
    with lock.held():
        pass
