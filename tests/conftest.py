"""What every test shares: no telemetry, and a state folder of its own."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# A slow machine is not a failed test.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# Read by the libraries when they are imported, so set before any test module is.
os.environ.update(
    DO_NOT_TRACK="1",
    DVC_NO_ANALYTICS="1",
    MLFLOW_DISABLE_TELEMETRY="true",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    MPLBACKEND="Agg",
    OMP_NUM_THREADS="1",
)


@pytest.fixture(autouse=True)
def _own_project(tmp_path, monkeypatch):
    """No test sees the settings of the machine it runs on."""
    for name in [name for name in os.environ if name.startswith("LIFECYCLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LIFECYCLE_PROJECT", str(tmp_path))
