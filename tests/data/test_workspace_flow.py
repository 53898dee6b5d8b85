"""A system's data versions and commits, from the first snapshot to a correction, beside a working user."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from lifecycle.core.errors import ConfigError, QuarantineError, StageError, StateError
from tests.data.workspace_fixtures import AS_OF, make_project

pytest_plugins = ["tests.data.workspace_fixtures"]


def tip(repo):
    return repo.git("rev-parse", "lifecycle/meter")


def files(repo, commit):
    return set(repo.git("ls-tree", "-r", "--name-only", commit).splitlines())


def test_a_commit_is_the_users_head_plus_pointer_and_lock(repo):
    head = repo.git("rev-parse", "main")
    first, second = repo.git("rev-list", "--reverse", "main..lifecycle/meter").splitlines()

    assert files(repo, first) == files(repo, head) | {"data/meter.dvc"}
    assert files(repo, second) == files(repo, head) | {"data/meter.dvc", "dvc.lock"}
    assert repo.git("rev-parse", f"{first}^") == head
    assert "Ann" not in repo.git("log", "--format=%an %cn", "main..lifecycle/meter")


def test_nothing_new_makes_no_commit_and_runs_no_stage(repo):
    before, objects = tip(repo), repo.objects()

    workspace = repo.workspace()
    with workspace.locked():
        _, snapshot, training = repo.run(workspace)
        _, again, retraining = repo.run(workspace, AS_OF + timedelta(days=1))

    assert tip(repo) == before
    assert training.ran == retraining.ran == ()
    assert training.commit == retraining.commit == before
    assert snapshot.commit == again.commit == repo.git("rev-parse", f"{before}^")
    assert snapshot.id == again.id
    assert snapshot.id in repo.git("show", "lifecycle/meter:data/meter.dvc")
    assert repo.objects() == objects


def test_a_correction_stores_one_month_again(repo, capfd):
    objects, before = repo.objects(), tip(repo)
    repo.write_rows(3, reading_3=99.0)
    workspace = repo.workspace()
    with workspace.locked():
        snapshot = repo.snapshot(workspace)
        february = Path(workspace.root, "data/meter/2020-02.parquet")
        added = repo.objects() - objects
        training = workspace.train(snapshot)

    assert capfd.readouterr() == ("", ""), "stages speak to the log alone"
    log = (repo.settings.state / "logs" / "dvc-meter.log").read_text()
    assert f"split in {workspace.root} with {repo.settings.state}\n" in log
    assert sorted(name.endswith(".dir") for name in added) == [False, True]
    (month,) = (name for name in added if not name.endswith(".dir"))
    assert Path(repo.remote, month).read_bytes() == february.read_bytes()
    assert training.ran[0] == "split"
    assert repo.git("rev-parse", f"{snapshot.commit}^") == before
    assert repo.git("rev-parse", f"{training.commit}^") == snapshot.commit


def test_the_users_checkout_stays_as_it_is(repo, monkeypatch):
    """Dirty, with a stash, hooks and no user name, and called from inside a hook of another repository."""
    (repo.root / "pipeline.py").write_text("raise SystemExit('never')\n")
    repo.git("stash")
    for name in ("pipeline.py", *(f"note {n}.txt" for n in range(6))):
        (repo.root / name).write_text("raise SystemExit('unfinished')\n")
    repo.git("add", "note 0.txt")
    hooks = repo.top / ".git" / "hooks"
    for hook in ("post-checkout", "pre-commit", "post-commit", "reference-transaction", "post-index-change"):
        (hooks / hook).write_text(f"#!/bin/sh\necho {hook} >> '{repo.top}/hooked'\n")
        (hooks / hook).chmod(0o755)
    config = repo.top / ".git" / "config"
    config.write_text(config.read_text().replace("Ann", "").replace("ann@example.org", ""))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere/index")
    repo.write_rows(4)
    with monkeypatch.context() as clean:
        clean.delenv("GIT_DIR")
        clean.delenv("GIT_INDEX_FILE")
        before = repo.traces()

    (warning,), snapshot, training = repo.run()

    monkeypatch.delenv("GIT_DIR")
    monkeypatch.delenv("GIT_INDEX_FILE")
    assert repo.traces() == before
    assert not (repo.top / "hooked").exists()
    assert training.ran == ("split", "train", "evaluate")
    assert snapshot.months[-1] == "2020-04"
    assert "unfinished" not in repo.git("show", "lifecycle/meter:pipeline.py")
    assert warning == (
        "8 files with uncommitted changes are left out of this run's commit: "
        "note 0.txt, pipeline.py, rows.csv, note 1.txt, note 2.txt and 3 more"
    )


def test_the_users_later_commits_are_taken_in_without_a_conflict(repo):
    trained = tip(repo)
    (repo.root / "README.md").write_text("About meters\n")
    (repo.root / "data").mkdir()
    (repo.root / "data" / "meter.dvc").write_text("outs:\n- md5: mine.dir\n  path: meter\n")
    (repo.root / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    head = repo.commit("A readme, and a pointer and lock of my own")

    _, snapshot, training = repo.run()

    assert training.ran == ()
    assert training.commit == trained, "nothing was learned from a readme"
    assert repo.git("rev-parse", f"{tip(repo)}^1", f"{tip(repo)}^2").split() == [trained, head]
    assert repo.git("show", "lifecycle/meter:README.md") == "About meters"
    assert snapshot.id in repo.git("show", "lifecycle/meter:data/meter.dvc")

    repo.git("commit", "-q", "--amend", "-m", "Rewritten")
    (repo.root / "pipeline.py").write_text((repo.root / "pipeline.py").read_text() + "# better\n")
    repo.commit("Better code")
    _, same, retraining = repo.run()

    assert same.id == snapshot.id
    assert retraining.ran[:2] == ("split", "train")
    assert retraining.commit == tip(repo) != trained
    assert files(repo, "lifecycle/meter") == files(repo, "main")


def test_a_bad_model_is_never_trained(repo):
    repo.write_rows(1)
    workspace = repo.workspace()
    with workspace.locked():
        _, snapshot, training = repo.run(workspace)
        again = repo.run(workspace).training

    assert (training.ran, again.ran) == (("split",), ())
    assert again.commit == training.commit
    assert not training.split.ok
    assert training.split.reason == "1 month, 2 needed"
    assert snapshot.months == ("2020-01",)


def test_too_many_bad_rows_stop_before_anything_is_committed(repo):
    before = tip(repo)
    (repo.root / "rows.csv").write_text("reading_id,taken_on,degrees,load\na,2020-01-01,cold,1\n")
    with pytest.raises(QuarantineError):
        repo.snapshot()
    assert tip(repo) == before


def test_a_failed_stage_shows_its_last_lines_and_commits_nothing(repo):
    repo.write_rows(4)
    (repo.root / "fail").write_text("\n".join(f"line {n}" for n in range(40)))
    repo.commit()
    workspace = repo.workspace()
    with workspace.locked():
        snapshot = repo.snapshot(workspace)
        with pytest.raises(StageError, match=r"stage split@meter failed \(exit code 4\)") as failure:
            workspace.train(snapshot)
        (repo.root / "fail").write_text("Traceback\nerror: 3 rows are bad\n  → mend them")
        repo.commit()
        with pytest.raises(StageError) as own:
            repo.run(workspace)
    assert failure.value.message.splitlines()[1:] == [f"line {n}" for n in range(25, 40)]
    assert str(repo.settings.state / "logs") in failure.value.hint
    assert repo.git("rev-parse", "lifecycle/meter^") == snapshot.commit, "only the user's commit was taken in"
    assert (own.value.message, own.value.hint) == ("3 rows are bad", "mend them")


def test_a_snapshot_that_is_not_the_newest_is_not_trained_on(repo):
    workspace = repo.workspace()
    with workspace.locked():
        stale = repo.snapshot(workspace)
        repo.write_rows(4)
        newer = repo.snapshot(workspace)
        with pytest.raises(StateError, match=rf"{stale.id[:12]} is not the newest, {newer.id[:12]} is"):
            workspace.train(stale)


@pytest.mark.usefixtures("bytecode")
def test_a_project_in_a_subfolder(tmp_path):
    repo = make_project(tmp_path / "mono", inside="teams/ours")
    before = repo.traces()
    _, snapshot, training = repo.run()

    assert repo.traces() == before
    assert training.ran == ("split", "train", "evaluate")
    assert files(repo, "lifecycle/meter") - files(repo, "main") == {"data/meter.dvc", "dvc.lock"}
    assert snapshot.id in repo.git("show", "lifecycle/meter:teams/ours/data/meter.dvc")


@pytest.mark.parametrize(
    ("spoil", "message", "hint"),
    [
        ("rm -r .git", "not in a git repository", "git init && dvc init"),
        ("rm -r .git && git init -q", "nothing is committed yet", "git commit"),
        ("git rm -rq .dvc && git commit -qm x", "no DVC project", "run: dvc init && git add .dvc"),
        ("git rm -rq --cached .dvc && git commit -qm x", "no DVC project", "run: git add .dvc"),
        ("git switch -q lifecycle/meter", "is checked out", "git switch -"),
        ("git branch -qD lifecycle/meter && git branch lifecycle", "in the way", "git branch -m"),
    ],
)
def test_what_is_missing_is_told_with_the_command_to_run(repo, spoil, message, hint):
    subprocess.run(["sh", "-c", spoil], cwd=repo.root, check=True)
    with pytest.raises(ConfigError) as error:
        repo.workspace().prepare()
    assert message in error.value.message
    assert hint in error.value.hint
