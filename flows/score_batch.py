"""The flow ``score-batch``: files in, one published folder of scores out, or nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows import order
from flows.tasks import scored
from lifecycle.core.scoring import CHUNK_ROWS, ScoreRequest


@flow(name="score-batch", persist_result=False)
def score_batch(
    system: str,
    inputs: list[str],
    output: str,
    as_of: datetime | None = None,
    version: str | None = None,
    release: str | None = None,
    like_source: int | None = None,
    columns: dict[str, str] | None = None,
    formats: dict[str, str] | None = None,
    chunk_rows: int = CHUNK_ROWS,
    max_bad_share: float | None = None,
    accept: str = "",
    restart: bool = False,
    threads: int = 1,
) -> State[Any]:
    """Score files with the live release, check the whole batch, and publish all of it or nothing.

    Args:
        system: A key of `params.yaml`.
        inputs: Files and globs, relative to the project: CSV, Parquet and Arrow IPC.
        output: The folder to publish; `{as_of}`, here as in the inputs, stands for the date.
        as_of: The moment it stands for: the release that was live then answers; now, if not given.
        version: The registered version that answers, instead of the live one.
        release: Or its digest.
        like_source: Number, from 1, of the source in `params.yaml` whose columns and formats hold here.
        columns: Record field -> column of the files.
        formats: Date field -> strptime format.
        chunk_rows: Rows per chunk; a chunk that is finished survives a crash.
        max_bad_share: Share of refused rows above which nothing is published.
        accept: Why the output is to be published whatever the checks say.
        restart: Drop what an unfinished other job left for the same output.
        threads: Chunks answered at the same time.
    """
    request = ScoreRequest.of(
        inputs=inputs,
        output=output,
        version=version,
        release=release,
        like_source=like_source,
        columns=columns or {},
        formats=formats or {},
        chunk_rows=chunk_rows,
        max_bad_share=max_bad_share,
        accept=accept,
        restart=restart,
        threads=threads,
    )
    return scored(order.score_batch, system, request, as_of)
