"""Snapshots in an ordinary checkout, where a developer works with DVC, and in a clean clone."""

from __future__ import annotations

import json
import shutil

import pytest

from lifecycle.core.errors import ConfigError, StateError, StorageError
from lifecycle.data.checkout import checkout_data, reproduce

pytest_plugins = ["tests.data.workspace_fixtures"]


def test_a_developer_reproduces_and_experiments(repo):
    head = repo.git("rev-parse", "HEAD")
    assert checkout_data(repo.settings, "meter") in (repo.root / "data" / "meter.dvc").read_text()

    assert "Running" not in repo.dvc("repro", "evaluate@meter"), "the branch's lock and the cache suffice"
    assert repo.git("status", "--porcelain").split() == ["??", "data/", "??", "dvc.lock"]
    assert repo.git("rev-parse", "HEAD") == head

    repo.git("add", "-A")
    repo.git("commit", "-qm", "Work on this snapshot")
    repo.dvc("exp", "run", "-S", "systems.meter.seed=2", "-n", "tried", "evaluate@meter")
    shown = json.loads(repo.dvc("metrics", "show", "--json"))
    assert shown[""]["data"]["artifacts/meter/evaluation/metrics.json"]["data"]["mae"] > 0
    assert "tried" in repo.dvc("exp", "list", "--name-only")


def test_any_snapshot_by_the_start_of_its_id_or_by_commit(repo):
    workspace = repo.workspace()
    with workspace.locked():
        first = repo.snapshot(workspace)
        repo.write_rows(4)
        second = repo.snapshot(workspace)

    assert checkout_data(repo.settings, "meter") == second.id
    assert checkout_data(repo.settings, "meter", first.id[:6]) == first.id
    assert len(list((repo.root / "data" / "meter").iterdir())) == 3
    assert checkout_data(repo.settings, "meter", second.commit) == second.id
    assert len(list((repo.root / "data" / "meter").iterdir())) == 4
    for at in ("0000", "main", "--all"):
        with pytest.raises(ConfigError, match="neither a snapshot nor a commit"):
            checkout_data(repo.settings, "meter", at)
    with pytest.raises(ConfigError, match="gauge has no snapshot yet"):
        checkout_data(repo.settings, "gauge")


def test_what_is_saved_nowhere_is_not_overwritten(repo):
    file = repo.root / "data" / "meter.dvc"
    file.parent.mkdir()
    file.write_text("outs:\n- md5: mine.dir\n  path: meter\n")
    with pytest.raises(StateError, match="committed nowhere"):
        checkout_data(repo.settings, "meter")
    assert "mine" in file.read_text()
    file.unlink()

    (repo.root / "data" / "meter").mkdir()
    (repo.root / "data" / "meter" / "2020-01.parquet").write_text("my own work")
    with pytest.raises(StateError, match="unsaved"):
        checkout_data(repo.settings, "meter")
    assert not file.exists()
    assert (repo.root / "data" / "meter" / "2020-01.parquet").read_text() == "my own work"


def test_data_that_is_nowhere_is_an_error(repo):
    shutil.rmtree(repo.root / ".dvc" / "cache")
    shutil.rmtree(repo.remote)
    with pytest.raises(StorageError, match="remote"):
        checkout_data(repo.settings, "meter")
    assert not (repo.root / "data" / "meter.dvc").exists()


def test_a_commit_gives_the_model_back(repo, tmp_path):
    trained = repo.git("rev-parse", "lifecycle/meter")
    (repo.root / "pipeline.py").write_text("raise SystemExit('changed since')\n")
    repo.commit()
    shutil.rmtree(repo.root / ".dvc" / "cache")

    root = reproduce(repo.settings, "meter", trained, tmp_path / "again")

    size = sum(path.stat().st_size for path in (root / "data" / "meter").iterdir())
    assert json.loads((root / "artifacts" / "meter" / "model" / "model.onnx").read_text()) == size
    with pytest.raises(ConfigError, match="not empty"):
        reproduce(repo.settings, "meter", trained, root)
    with pytest.raises(ConfigError, match="not a commit with data of meter"):
        reproduce(repo.settings, "meter", "main", tmp_path / "other")
