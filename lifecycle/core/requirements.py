"""The deployment checklist, declared per system and measured before every promotion."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MEASURED = ("latency_p99_ms", "throughput_per_s", "memory_mb", "records_per_hour")
"""The requirements that are measured on this machine: another run may find another value."""


class Requirements(BaseModel):
    """What the deployed system must keep; None means nothing is asked.

    Real-time bounds are measured on a real server process with the candidate loaded, on this machine; the
    pace of a batch on a sample that goes through the steps of a real job.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["real-time", "batch"] = "real-time"
    target: Literal["cloud", "edge", "browser"] = "cloud"
    latency_p99_ms: float | None = Field(
        None, gt=0, description="99th percentile of one request at the required throughput, ms"
    )
    throughput_per_s: float | None = Field(
        None, gt=0, description="Single-record requests a second of one process, within that latency"
    )
    memory_mb: float | None = Field(None, gt=0, description="Resident memory of one serving process, MB")
    records_per_hour: int | None = Field(
        None,
        gt=0,
        description="Records scored in an hour, from files to files, sealed if the record is; batch",
    )
    cores: int | None = Field(
        None, gt=0, description="Processor cores that this must be kept on; null: those of this machine"
    )
    size_mb: float | None = Field(None, gt=0, description="Size of the release folder, MB")
    parity_rtol: float = Field(1e-4, gt=0, description="Largest relative difference of ONNX and scikit-learn")
    engine: Literal["auto", "onnx"] = Field(
        "auto",
        description="auto: scikit-learn serves a model that ONNX does not answer alike; onnx: refuse it",
    )
    logging: Literal["all", "sampled", "none"] = Field("all", description="Which predictions are logged")
    logging_share: float = Field(0.1, gt=0, lt=1, description="Share of requests logged where sampled")
    privacy: Literal["none", "personal", "health"] = Field(
        "none", description="Of the data; health: nothing is promoted unless the record is sealed"
    )
    notes: str = Field("", description="Regulation and other duties, shown to reviewers")

    @model_validator(mode="after")
    def _measurable(self) -> Requirements:
        if self.mode != "batch" and self.records_per_hour is not None:
            raise ValueError("records_per_hour is asked of a batch system: mode: batch")
        if self.cores is not None and self.records_per_hour is None:
            raise ValueError("cores says where records_per_hour is to be kept, and that is not asked for")
        return self
