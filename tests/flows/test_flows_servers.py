"""The whole stack: servers, flows through Prefect, requests, a server that dies; nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from lifecycle.supervise.status import ServiceStatus, status
from tests.flows.conftest import Project, copied
from tests.supervise.small_servers import until

SYSTEM = "delivery-time"
RECORD = {"vehicle": "van", "distance": 12.5, "stops": 4, "rain": False}


def ask(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.load(response)


def of_project(root: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if str(root) in process.environ().get("LIFECYCLE_HOME", ""):
                found.append(process)
        except psutil.Error:
            continue
    return found


def standing(project: Project) -> dict[str, ServiceStatus]:
    """How each service of the stack is doing."""
    return {it.name: it for it in status(project.settings).services}


@pytest.fixture(scope="module")
def stack(fresh, tmp_path_factory) -> Iterator[tuple[Project, dict[str, str]]]:
    """A project with all its servers up; taken down whatever happens."""
    project = copied(fresh, tmp_path_factory.mktemp("stack"))
    try:
        yield project, project.json("up")
    finally:
        project.run("down")


@pytest.mark.slow
def test_flows_run_through_prefect_and_the_endpoint_follows(stack):
    project, addresses = stack
    api = f"{addresses['prefect']}/api"

    def through_prefect(flow: str, **parameters: str) -> str:
        words = [word for name, value in parameters.items() for word in ("--param", f"{name}={value}")]
        done = subprocess.run(
            [
                sys.executable,
                "-P",
                "-m",
                "prefect",
                "deployment",
                "run",
                f"{flow}/{SYSTEM}",
                *words,
                "--watch",
            ],
            cwd=project.root,
            env={
                **project.environment(),
                "PREFECT_API_URL": api,
                "PREFECT_HOME": str(project.settings.state / "cli"),
            },
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "Promoted" in through_prefect("first-deployment", as_of="2025-03-01")
    predict = f"{addresses['serving']}/v1/{SYSTEM}/predict"
    first = ask(predict, RECORD)
    # The command line finds the server by itself, and its flow shows there, too.
    assert project.json("update", SYSTEM, "--as-of", "2025-06-01")["status"] == "promoted"
    second = ask(predict, RECORD)
    assert second["release"] != first["release"]
    scores = {"inputs": '["source/*.csv"]', "output": "scores/{as_of}", "as_of": "2100-01-01"}
    assert "Published" in through_prefect("score-batch", **scores)
    button = ask(f"{api}/deployments/name/rollback/{SYSTEM}")["id"]  # as the UI starts it
    run = ask(f"{api}/deployments/{button}/create_flow_run", {"parameters": {"reason": "a test"}})
    until(lambda: ask(f"{api}/flow_runs/{run['id']}")["state"]["name"] == "Rolled Back", seconds=120)
    while (third := ask(predict, RECORD))["release"] == second["release"]:
        pass  # within the polling interval
    assert {**third, "prediction_id": first["prediction_id"]} == first

    runs = ask(f"{api}/flow_runs/filter", {"sort": "START_TIME_ASC"})
    assert [(run["state"]["name"], run["state"]["type"]) for run in runs] == [
        ("Promoted", "COMPLETED"),
        ("Promoted", "COMPLETED"),
        ("Published", "COMPLETED"),
        ("Rolled Back", "COMPLETED"),
    ]
    tasks = ask(f"{api}/task_runs/filter", {"flow_runs": {"id": {"any_": [runs[0]["id"]]}}})
    assert {task["name"].rsplit("-", 1)[0] for task in tasks} == {
        "ingest",
        "train",
        "evaluate",
        "register",
        "promote",
    }
    logs = ask(f"{api}/logs/filter", {"logs": {"flow_run_id": {"any_": [runs[0]["id"]]}}})
    assert any("gates kept" in log["message"] for log in logs)
    [artifact] = ask(f"{api}/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [runs[0]["id"]]}}})
    assert f"{addresses['mlflow']}/#/models/{SYSTEM}/versions/1" in artifact["data"]
    of_scores = {"artifacts": {"flow_run_id": {"any_": [runs[2]["id"]]}}}
    [artifact] = ask(f"{api}/artifacts/filter", of_scores)
    assert artifact["key"] == f"{SYSTEM}-scores"
    assert "3,000 rows scored" in artifact["data"]
    deployments = ask(f"{api}/deployments/filter", {})
    assert len(deployments) == 7
    assert {it["work_queue_name"] for it in deployments} == {SYSTEM}
    schedules = [it["schedules"][0] for it in deployments if it["schedules"]]
    assert {it["schedule"]["cron"]: it["active"] for it in schedules} == {
        "0 6 1 * *": True,
        "20 * * * *": True,
        "0 2 * * *": False,
        "0 3 15 * *": True,
    }
    assert {"trigger": "scheduled"} in [it["parameters"] for it in schedules]
    [queue] = [it for it in ask(f"{api}/work_queues/filter", {}) if it["name"] == SYSTEM]
    assert queue["concurrency_limit"] == 1

    assert project.json("log", "compact", SYSTEM)["system"] == SYSTEM
    compactions = {"flows": {"name": {"any_": ["compact-log"]}}}
    assert [run["state"]["type"] for run in ask(f"{api}/flow_runs/filter", compactions)] == ["COMPLETED"]

    assert (project.root / "scores" / "2100-01-01" / "manifest.json").is_file()
    shutil.rmtree(project.root / "scores")


@pytest.mark.slow
def test_a_server_that_dies_comes_back_and_all_of_them_leave_nothing(stack):
    project, addresses = stack
    known = ask(f"{addresses['prefect']}/api/deployments/filter", {})
    before = standing(project)["prefect"]
    os.kill(before.pid, signal.SIGKILL)
    until(lambda: status(project.settings).ok and standing(project)["prefect"].pid != before.pid, seconds=120)
    assert {name: it.restarts for name, it in standing(project).items() if it.restarts} == {"prefect": 1}
    names = [it["name"] for it in ask(f"{addresses['prefect']}/api/deployments/filter", {})]
    assert names == [it["name"] for it in known]

    project.run("down")
    assert of_project(project.root) == []
    assert project.git("status", "--porcelain") == ""
    kept = (project.settings.state / "mlflow").iterdir()
    assert {path.name.split(".")[0] for path in kept} <= {"mlflow", "artifacts"}
