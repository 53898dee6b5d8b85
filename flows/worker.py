"""The worker of ``lifecycle up``: registers the deployments of ``prefect.yaml``, then polls for their runs.

The imports are done while the server still starts; registration waits for it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress

import prefect.cli
import prefect.workers.process
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.workers.process import ProcessWorker
from tenacity import AsyncRetrying, stop_after_delay, wait_fixed

from lifecycle.core.errors import UnavailableError
from lifecycle.core.params import load_params
from lifecycle.core.settings import Settings

POOL = "lifecycle"
PATIENCE_S = 120


def main() -> None:
    """Register, then work until told to stop."""
    settings = Settings()
    os.chdir(settings.project)
    asyncio.run(_prepare(list(load_params(settings.project).systems)))
    _prefect("--no-prompt", "deploy", "--all")
    _prefect("worker", "start", "--pool", POOL, "--type", "process", "--with-healthcheck")


async def _prepare(systems: list[str]) -> None:
    """Make the work pool, and one queue per system that runs one flow at a time."""
    pool = WorkPoolCreate(
        name=POOL, type="process", base_job_template=ProcessWorker.get_default_base_job_template()
    )
    async with get_client() as client:
        await _until_healthy(client)
        with suppress(ObjectAlreadyExists):
            await client.create_work_pool(pool)
        for system in systems:
            with suppress(ObjectAlreadyExists):
                await client.create_work_queue(name=system, work_pool_name=POOL, concurrency_limit=1)


async def _until_healthy(client: PrefectClient) -> None:
    async for attempt in AsyncRetrying(stop=stop_after_delay(PATIENCE_S), wait=wait_fixed(0.2), reraise=True):
        with attempt:
            if problem := await client.api_healthcheck():
                raise UnavailableError(f"the Prefect server does not answer: {type(problem).__name__}")


def _prefect(*words: str) -> None:
    sys.argv = ["prefect", *words]
    try:
        prefect.cli.app()
    except SystemExit as ended:
        if ended.code:
            raise


if __name__ == "__main__":
    main()
