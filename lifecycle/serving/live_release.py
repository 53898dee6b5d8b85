"""A release that is loaded, with all that answering from it needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from pydantic import BaseModel, TypeAdapter

from lifecycle.core.ports import Custody, Engine
from lifecycle.core.record import RecordSchema
from lifecycle.core.release import Manifest
from lifecycle.core.values import Deployment
from lifecycle.serving.formats.columns import ColumnReader
from lifecycle.serving.formats.reader import RecordReader

RELEASE_HEADER = "X-Lifecycle-Release"
"""The header that names the release by its digest."""


@dataclass(frozen=True)
class LiveRelease:
    """All that answering needs, of one release: a request that holds it is not touched by a swap.

    Attributes:
        deployment: The ledger's row that made it live.
        manifest: Of the verified release.
        schema: What a request must look like.
        engine: The loaded model.
        custody: Of whom its records are about; None where they are not sealed.
    """

    deployment: Deployment
    manifest: Manifest
    schema: RecordSchema
    engine: Engine
    custody: Custody | None = None

    @cached_property
    def request_model(self) -> type[BaseModel]:
        """The pydantic model of one record."""
        return self.schema.request_model()

    @cached_property
    def requests(self) -> TypeAdapter[list[BaseModel]]:
        """Validates a list of records."""
        return TypeAdapter(list[self.request_model])  # type: ignore[name-defined]

    @cached_property
    def reader(self) -> RecordReader:
        """Decodes JSON records at full speed."""
        return RecordReader(self.schema)

    @cached_property
    def header(self) -> tuple[bytes, bytes]:
        """The header that names the release."""
        return RELEASE_HEADER.lower().encode(), self.digest.encode()

    @cached_property
    def budget_s(self) -> float:
        """Longest wait before a request is turned away, seconds."""
        return self.manifest.serving.budget_ms / 1000

    @cached_property
    def columns(self) -> ColumnReader:
        """Checks requests that come as columns."""
        return ColumnReader(self.schema, self.requests)

    @property
    def digest(self) -> str:
        """What names the release."""
        return self.deployment.release.digest
