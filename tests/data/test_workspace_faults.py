"""What is wrong in a project's DVC files is told in words, and as a fault of the configuration."""

from __future__ import annotations

import pytest

from lifecycle.core.errors import ConfigError

pytest_plugins = ["tests.data.workspace_fixtures"]


def test_faults_of_dvc_yaml_name_what_is_missing(repo):
    stages = (repo.root / "dvc.yaml").read_text()
    workspace = repo.workspace()
    with workspace.locked():
        for spoiled, message in {
            stages.replace("  train:", "  fit:"): "train@meter",
            stages.replace(".seed", ".sed"): "systems.meter.sed",
            stages.replace("${item.lock}", "${item.lok}"): "item.lok",
            stages.replace("foreach", "for each"): "dvc.yaml",
        }.items():
            (repo.root / "dvc.yaml").write_text(spoiled)
            repo.commit()
            with pytest.raises(ConfigError, match=message):
                repo.run(workspace)
        (repo.root / "dvc.yaml").write_text(stages)
        repo.commit()
        assert repo.run(workspace).training.split.ok
