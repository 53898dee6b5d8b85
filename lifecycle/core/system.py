"""A system: the one frozen value a user writes to have a model managed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from lifecycle.core.card import ModelCard
from lifecycle.core.errors import ConfigError, DeclarationError
from lifecycle.core.record import Record, RecordSchema, schema_of
from lifecycle.core.suggest import nearest

Task = Literal["regression", "classification"]

METRICS: dict[Task, tuple[str, ...]] = {
    "regression": ("median_ape", "mae", "rmse", "bias"),
    "classification": (
        "average_precision",
        "auc",
        "log_loss",
        "brier",
        "calibration_error",
        "precision",
        "recall",
    ),
}
"""The metrics a system of each task may name."""


@dataclass(frozen=True)
class System:
    """What a machine-learning system is: its records, its model and how it is judged.

    Attributes:
        name: Lower-case words joined by dashes; the key in ``params.yaml`` and of the endpoint.
        record: The record type.
        task: ``regression``, or ``classification`` of a 0/1 label (the model answers its probability).
        build_model: Makes an unfitted scikit-learn estimator from a seed. It is fitted on a pandas
            DataFrame with one column per feature: float32 numbers and text categories.
        metrics: Names from ``METRICS`` for the task.
        primary: The metric that decides between champion and candidate.
        trusted_types: Full names of the user's own types inside the fitted model, for skops.
        card: Intended use, limits and duties, where there is more to say than numbers do.
    """

    name: str
    record: type[Record]
    task: Task
    build_model: Callable[[int], Any]
    metrics: tuple[str, ...]
    primary: str
    trusted_types: tuple[str, ...] = ()
    card: ModelCard | None = None

    def __post_init__(self) -> None:
        faults = []
        if not self.name or not all(part.isalnum() and part.islower() for part in self.name.split("-")):
            faults.append(f"name {self.name!r} must be lower-case words joined by dashes, as house-prices")
        if self.task not in get_args(Task):
            faults.append(f"task {self.task!r} is not one of {', '.join(get_args(Task))}")
        else:
            for metric in {*self.metrics, self.primary} - set(METRICS[self.task]):
                faults.append(
                    f"metric {metric!r} is not known for {self.task}{nearest(metric, METRICS[self.task])}"
                )
        if self.primary not in self.metrics:
            faults.append(f"primary metric {self.primary!r} is not among the metrics {self.metrics}")
        fields = self.record.model_fields if self.card else {}
        for name in self.card.identifiers if self.card else {}:
            if name not in fields:
                faults.append(f"card: the record has no field {name!r}{nearest(name, fields)}")
        if faults:
            raise DeclarationError(
                f"system {self.name!r} is declared wrongly:\n"
                + "\n".join(f"  - {fault}" for fault in faults),
                hint="see docs/your-own-system.md for a whole example",
            )

    @cached_property
    def schema(self) -> RecordSchema:
        """The record's schema."""
        return schema_of(self.record)


def load_system(entry: str, root: Path) -> System:
    """Import a system by its entry, ``package.module:NAME``, from a project folder.

    Args:
        entry: As written in ``params.yaml``.
        root: The project's folder; put first on the import path, so that a worktree's code wins.

    Raises:
        ConfigError: The module or name does not exist, or is not a System.
    """
    module_name, _, attribute = entry.partition(":")
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"entry {entry!r}: no module named {error.name!r}",
            hint=f"look for it below {root}, or mend the entry in params.yaml",
        ) from error
    system = getattr(module, attribute, None)
    if not isinstance(system, System):
        raise ConfigError(
            f"entry {entry!r} does not name a System{nearest(attribute, vars(module))}",
            hint="an entry is package.module:NAME, and NAME = System(...) stands in that module",
        )
    return system
