"""What a sealed dataset is: who its rows are about, and who may see which column."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import pyarrow as pa

from lifecycle.core.errors import ConfigError, EnvelopeError
from lifecycle.records.columns import Cell, Column
from lifecycle.records.derivation import Suite

FORMAT = 1
UNCLASSIFIED = "unclassified"
"""The access group of every column that was given none."""

_GROUP = re.compile(r"[a-z][a-z0-9 -]{0,62}")


@dataclass(frozen=True)
class Plan:
    """How the tables of one dataset are sealed. There is no way to leave a column in clear.

    Attributes:
        dataset: Its name; keys and envelopes are bound to it.
        subject: Name of the column of subject refs, 16 bytes each.
        groups: Access group by column; a column that is not named is ``unclassified``, and sealed too.
        choices: All values of a column of text by its name, where the record declares them. They stand
            in the file in clear, so they must come from the declaration and never from the rows.
        suite: How chunks are encrypted.
    """

    dataset: str
    subject: str
    groups: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    suite: Suite = Suite.AES_256_GCM

    def __post_init__(self) -> None:
        for column, group in self.groups.items():
            if not _GROUP.fullmatch(group):
                raise ConfigError(
                    f"column {column!r} has access group {group!r}",
                    hint="name a group in lower-case letters, digits, spaces and hyphens, as in 'free text'",
                )


@dataclass(frozen=True)
class SealedSchema:
    """A plan applied to a table's schema; it stands in each segment, and each envelope is bound to it.

    Attributes:
        plan: How it is sealed.
        schema: The Arrow schema of the table, without metadata: pandas would write index values there.
    """

    plan: Plan
    schema: Any

    @classmethod
    def of(cls, plan: Plan, schema: Any) -> SealedSchema:
        """The sealed form of a table.

        Raises:
            ConfigError: The plan names columns that the table does not have, or two are named alike.
            DeclarationError: A column has a type that cannot be sealed.
        """
        names = schema.names
        if len(set(names)) != len(names):
            raise ConfigError("two columns have one name", hint="name each column once")
        if unknown := sorted(({plan.subject} | set(plan.groups) | set(plan.choices)) - set(names)):
            raise ConfigError(
                f"the table has no column {', '.join(map(repr, unknown))}",
                hint=f"it has: {', '.join(names)}",
            )
        plain = pa.schema([pa.field(field.name, field.type, field.nullable) for field in schema])
        sealed = cls(plan, plain)
        for group in sealed.groups:
            for column in sealed.columns(group):
                _ = column.kind  # raises for a type that cannot be sealed
        return sealed

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """All access groups, by name; at least one, so that the order of rows is kept somewhere."""
        names = {self._group(name) for name in self.schema.names if name != self.plan.subject}
        return tuple(sorted(names)) or (UNCLASSIFIED,)

    @cached_property
    def access_groups(self) -> Mapping[str, str]:
        """The access group of every sealed column, in the order of the table."""
        return {name: self._group(name) for name in self.schema.names if name != self.plan.subject}

    def columns(self, group: str) -> tuple[Column, ...]:
        """The columns of one access group, in the order of the table."""
        return self._columns.get(group, ())

    @cached_property
    def _columns(self) -> dict[str, tuple[Column, ...]]:
        """The columns by access group: a snapshot has hundreds of segments, each asked more than once."""
        found: dict[str, list[Column]] = {}
        for column in self.schema:
            if column.name != self.plan.subject:
                choices = self.plan.choices.get(column.name)
                found.setdefault(self._group(column.name), []).append(
                    Column(column.name, column.type, choices)
                )
        return {group: tuple(columns) for group, columns in found.items()}

    def _group(self, column: str) -> str:
        return self.plan.groups.get(column, UNCLASSIFIED)

    def content(self) -> bytes:
        """Canonical JSON, as a segment holds it."""
        return self._content

    @cached_property
    def _content(self) -> bytes:
        plan = self.plan
        told = {
            "format": FORMAT,
            "dataset": plan.dataset,
            "subject": plan.subject,
            "suite": int(plan.suite),
            "groups": dict(plan.groups),
            "choices": {name: list(choices) for name, choices in plan.choices.items()},
            "schema": base64.b64encode(self.schema.serialize().to_pybytes()).decode(),
        }
        return json.dumps(told, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    @lru_cache(maxsize=64)  # the segments of a snapshot, hundreds of them, hold the same
    def parse(cls, content: bytes) -> SealedSchema:
        """The schema that a segment holds.

        Raises:
            EnvelopeError: It is malformed, or of a format that this version does not know.
        """
        try:
            told = json.loads(content)
            if told["format"] != FORMAT:
                raise EnvelopeError(
                    f"the segment is of format {told['format']!r}; known: {FORMAT}",
                    hint="open it with the release of lifecycle that wrote it",
                )
            plan = Plan(
                dataset=told["dataset"],
                subject=told["subject"],
                groups=told["groups"],
                choices={name: tuple(choices) for name, choices in told["choices"].items()},
                suite=Suite(told["suite"]),
            )
            raw = base64.b64decode(told["schema"], validate=True)
            return cls(plan, pa.ipc.read_schema(pa.py_buffer(raw)))
        except (ValueError, KeyError, TypeError, AttributeError, OSError, pa.ArrowException):
            raise EnvelopeError(
                "what the segment says of its schema is malformed", hint="restore the segment from a backup"
            ) from None

    def fingerprint(self, group: str, rows: int, cells: tuple[Cell, ...]) -> bytes:
        """32 bytes that stand for the schema and for how one group of one block is laid out."""
        layout = [group, rows, [[cell.width, cell.nulls, cell.scale] for cell in cells]]
        content = self.content()
        told = len(content).to_bytes(8, "big") + content + json.dumps(layout).encode()
        return hashlib.sha256(told).digest()
