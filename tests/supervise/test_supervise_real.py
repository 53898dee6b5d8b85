"""The real servers."""

from __future__ import annotations

import os
import signal

import httpx
import pytest

from lifecycle.supervise.down import down
from lifecycle.supervise.services import default_services
from lifecycle.supervise.status import status
from lifecycle.supervise.up import up
from tests.supervise.small_servers import processes_of, until


@pytest.mark.slow
def test_prefect_and_mlflow_come_up_come_back_and_leave_nothing(settings, said):
    # On any free ports: another worker's servers start at the usual ones.
    usual = (it for it in default_services(settings) if it.name in ("prefect", "mlflow"))
    services = [it.model_copy(update={"port": 0}) for it in usual]
    listening = up(settings, services, detach=True, echo=said.append)

    assert httpx.get(listening["prefect"] + "/api/health").json() is True
    created = httpx.post(
        listening["mlflow"] + "/api/2.0/mlflow/experiments/create", json={"name": "house-prices"}
    )
    assert created.is_success

    before = next(it for it in status(settings).services if it.name == "prefect")
    os.kill(before.pid, signal.SIGKILL)
    until(lambda: status(settings).ok and status(settings).services[0].pid != before.pid, seconds=120)
    assert [it.restarts for it in status(settings).services] == [1, 0]

    down(settings)
    assert processes_of(str(settings.state)) == []
    artefacts = settings.state / "mlflow"
    assert {path.name.split(".")[0] for path in artefacts.iterdir()} <= {"mlflow", "artifacts"}
    assert {path.name for path in settings.project.iterdir()} == {".lifecycle"}
