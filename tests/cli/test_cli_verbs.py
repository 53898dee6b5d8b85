"""Every verb explains itself, speaks JSON, and ends with an exit code that means something."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from lifecycle.cli import main
from lifecycle.core import errors

REPOSITORY = Path(__file__).parents[2]


def verbs(group: click.Group = main, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, command in group.commands.items():
        path = (*prefix, name)
        found += verbs(command, path) if isinstance(command, click.Group) else [path]
    return found


PUBLIC = [path for path in verbs() if path != ("stage",)]


@pytest.mark.parametrize("path", PUBLIC, ids=" ".join)
def test_help_has_an_example_that_starts_with_the_verb(path):
    result = CliRunner().invoke(main, [*path, "--help"])
    assert result.exit_code == 0
    assert f"lifecycle {' '.join(path)}" in result.output.split("Example")[1]


@pytest.mark.parametrize("path", [path for path in PUBLIC if path != ("serve",)], ids=" ".join)
def test_every_verb_that_ends_speaks_json(path):
    assert "--json" in CliRunner().invoke(main, [*path, "--help"]).output


def test_the_exit_codes_of_all_errors_are_listed():
    listed = CliRunner().invoke(main, ["--help"]).output
    for kind in vars(errors).values():
        if isinstance(kind, type) and kind.exit_code != 1:
            assert f" {kind.exit_code} " in listed


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The repository's own declarations, in a folder without git, DVC or state."""
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    shutil.copytree(REPOSITORY / "systems", tmp_path / "systems")
    shutil.copy(REPOSITORY / "requirements.lock", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_doctor_says_what_is_missing_and_what_to_run(project):
    result = CliRunner().invoke(main, ["doctor", "--json"])
    findings = {finding["name"]: finding for finding in json.loads(result.stdout)}
    assert result.exit_code == 12
    assert not findings["git"]["ok"]
    assert "git init" in findings["git"]["hint"]
    assert not findings["dvc"]["ok"]
    assert findings["house-prices: code"]["ok"]
    assert findings["house-prices: live"]["detail"] == "nothing yet"


def test_the_doctor_names_packages_that_differ_from_the_lock(project):
    (project / "requirements.lock").write_text("click==1.0\nno-such-package==2\n")
    text = CliRunner().invoke(main, ["doctor"]).output
    assert "instead of 1.0; no-such-package none instead of 2" in text
    assert "pip install -r requirements.lock" in text


def test_a_project_without_a_commit_is_told_what_to_run(project):
    subprocess.run(["git", "init", "-q"], check=True)
    result = CliRunner().invoke(main, ["history", "house-price"])
    assert result.exit_code == 2
    assert "did you mean 'house-prices'?" in result.stderr


def test_a_missing_library_is_told_with_the_extra_that_brings_it(project, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "lifecycle.core.sql.postgresql", raising=False)
    monkeypatch.setenv("LIFECYCLE_LEDGER_URL", "postgresql://ada@localhost/ledger")
    result = CliRunner().invoke(main, ["history", "house-prices"])
    assert result.exit_code == 2
    assert result.stderr == 'error: psycopg is not installed\n  → pip install "lifecycle[postgres]"\n'


def test_status_of_nothing_is_not_healthy(project):
    result = CliRunner().invoke(main, ["status", "--json"])
    assert (result.exit_code, json.loads(result.stdout)) == (12, {"services": []})
    assert CliRunner().invoke(main, ["down"]).output == "nothing was up\n"
