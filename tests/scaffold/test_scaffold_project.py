"""`lifecycle init`: a project that runs at once, or nothing."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lifecycle.cli import main
from lifecycle.core.errors import ConfigError, StorageError
from lifecycle.core.params import load_params
from lifecycle.scaffold.deployments import render_deployments
from lifecycle.scaffold.example import example_rows
from lifecycle.scaffold.project import init

REPOSITORY = Path(__file__).parents[2]
TEMPLATES = REPOSITORY / "lifecycle" / "scaffold" / "template"


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_everything_is_committed_on_one_branch(project, said):
    assert git(project, "status", "--porcelain") == ""
    assert git(project, "log", "--format=%s").splitlines() == ["A project with an example system"]
    assert git(project, "branch", "--show-current").strip() == "main"
    assert set(git(project, "ls-files").splitlines()) >= {
        ".dvc/config",
        ".gitignore",
        "README.md",
        "access.yaml",
        "dvc.yaml",
        "params.yaml",
        "parcel_times.py",
        "prefect.yaml",
        "requirements.lock",
        "source/parcel-times.csv",
        "tests/test_parcel_times.py",
    }
    assert f"  cd {project}" in said


def test_nothing_of_the_flows_and_no_state_is_in_it(project):
    assert not (project / "flows").exists()
    assert not (project / ".lifecycle").exists()
    assert list(project.parent.iterdir()) == [project]


def test_its_parameters_are_valid(project):
    params = load_params(project).system("parcel-times")
    assert params.entry == "parcel_times:SYSTEM"
    assert (project / params.code).is_file()
    assert (project / params.lock).is_file()
    assert (project / params.sources[0].path).is_file()


def test_its_policy_is_one_and_allows_nothing(project):
    from lifecycle.records.access import load_policy

    policy = load_policy(project / "access.yaml")
    assert (policy.actors, policy.administration) == ({}, {})


def test_its_own_tests_pass(project, tmp_path):
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-W",
            "error",
            f"--basetemp={tmp_path}/t",
        ],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert "1 passed" in run.stdout


def test_dvc_knows_its_stages(project):
    listed = subprocess.run(
        [sys.executable, "-m", "dvc", "stage", "list", "--name-only"],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    )
    stages = ["split@parcel-times", "train@parcel-times", "evaluate@parcel-times"]
    assert sorted(listed.stdout.split()) == sorted(stages)
    assert "analytics = false" in (project / ".dvc" / "config").read_text()


def test_the_lock_holds_versions_and_no_address(project):
    lines = (project / "requirements.lock").read_text().splitlines()
    assert all(re.fullmatch(r"[a-z0-9-]+==[A-Za-z0-9.+!_-]+", line) for line in lines)
    names = [line.split("==")[0] for line in lines]
    assert names == sorted(set(names))
    assert any(line.startswith("scikit-learn==") for line in lines)


def test_the_stages_are_those_of_this_repository():
    assert (TEMPLATES / "dvc.yaml.tmpl").read_text() == (REPOSITORY / "dvc.yaml").read_text()
    assert (TEMPLATES / "prefect.toml.tmpl").read_text() == (REPOSITORY / "prefect.toml").read_text()
    assert (TEMPLATES / "dvcignore.tmpl").read_text() == (REPOSITORY / ".dvcignore").read_text()


def test_every_system_of_this_repository_has_the_deployments_of_the_template():
    systems = load_params(REPOSITORY).systems
    rendered = render_deployments({name: params.requirements.mode for name, params in systems.items()})
    assert rendered == (REPOSITORY / "prefect.yaml").read_text()
    active = [
        (it["name"], schedule["slug"])
        for it in yaml.safe_load(rendered)["deployments"]
        for schedule in it.get("schedules", [])
        if schedule.get("active", True)
    ]
    assert active == [
        ("house-prices", "monthly"),
        ("house-prices", "hourly"),
        ("house-prices", "monthly"),
        ("patient-outcome", "monthly"),
        ("patient-outcome", "hourly"),
        ("patient-outcome", "nightly"),
        ("patient-outcome", "monthly"),
    ]


def test_a_new_project_has_the_deployments_of_its_one_system(project):
    assert (project / "prefect.yaml").read_text() == render_deployments({"parcel-times": "real-time"})


def test_the_readme_names_verbs_that_exist(project):
    verbs = re.findall(r"^lifecycle ([a-z-]+)", (project / "README.md").read_text(), flags=re.MULTILINE)
    assert "first-deployment" in verbs
    assert set(verbs) <= set(main.commands)


def test_the_example_is_the_same_everywhere():
    digest = hashlib.sha256(example_rows().encode()).hexdigest()
    assert digest == "3d1a8e21fceba5910c5511b9344074298b856462f12372c87167b6dad8fb812e"


def test_git_need_not_know_who_you_are(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "of-a-hook"))
    made = init(tmp_path / "mine", echo=str)
    monkeypatch.delenv("GIT_DIR")
    assert git(made, "log", "--format=%an <%ae>").strip() == "lifecycle <lifecycle@localhost>"
    assert not (tmp_path / "of-a-hook").exists()


def test_an_empty_folder_stays_the_same_one(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    before = folder.stat().st_ino
    init(folder, echo=str)
    assert folder.stat().st_ino == before
    assert (folder / ".git").is_dir()
    assert list(tmp_path.iterdir()) == [folder]


def test_what_is_there_is_never_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="is not empty"):
        init(tmp_path, echo=str)
    with pytest.raises(ConfigError, match="is a file"):
        init(tmp_path / "thesis.txt", echo=str)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("name", ["Deliveries", "a--b", "", "1st", "json", "numpy", "class", "größe", "a_b"])
def test_a_name_that_will_not_do_is_refused(tmp_path, name):
    with pytest.raises(ConfigError):
        init(tmp_path / "new", name, echo=str)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "git").write_text("#!/bin/sh\necho 'fatal: no space left' >&2\nexit 128\n")
    (tools / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(ConfigError, match="no space left"):
        init(tmp_path / "new", echo=str)
    assert list(tmp_path.iterdir()) == [tools]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot make .*file/new"):
        init(tmp_path / "file" / "new", echo=str)
