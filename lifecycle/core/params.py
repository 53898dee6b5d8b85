"""What each system is, as written in ``params.yaml``, with every fault reported at once."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lifecycle.core.errors import ConfigError
from lifecycle.core.requirements import Requirements
from lifecycle.core.suggest import nearest


class Section(BaseModel):
    """Base of every section: frozen, and a key it does not know is a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceParams(Section):
    """Where rows come from.

    Sources are read in the order they are listed; of two rows with one record id the later one wins.
    """

    origin: Literal["licensed", "user"]
    kind: Literal["csv", "parquet", "arrow", "sql", "predictions"] = Field(
        description="A file, a query, or the system's own logged predictions with their outcomes"
    )
    path: str | None = Field(None, description="File or glob, relative to the project; files only")
    url: str | None = Field(
        None, description="SQLAlchemy URL, or the name of an environment variable as $NAME; sql only"
    )
    query: str | None = Field(None, description="The SELECT to run; sql only")
    columns: dict[str, str] = Field(default_factory=dict, description="Record field -> column of the source")
    formats: dict[str, str] = Field(
        default_factory=dict, description="Date field -> strptime format, where it is not ISO 8601"
    )
    number_rows_as: str | None = Field(
        None, description="Field filled with the row's number: for append-only files that carry no id"
    )

    @model_validator(mode="after")
    def _complete(self) -> SourceParams:
        if self.kind == "predictions":
            return self._logged()
        needed = ("url", "query") if self.kind == "sql" else ("path",)
        missing = [name for name in needed if getattr(self, name) is None]
        if missing:
            raise ValueError(f"a {self.kind} source needs {' and '.join(missing)}")
        return self

    def _logged(self) -> SourceParams:
        if self.origin != "user":
            raise ValueError("a predictions source holds the user's own rows: origin: user")
        if given := sorted(self.model_fields_set - {"origin", "kind"}):
            raise ValueError(
                f"a predictions source takes no {' and no '.join(given)}: the log is typed already"
            )
        return self


class QuarantineParams(Section):
    """How many bad rows are tolerated."""

    max_share: float = Field(0.01, ge=0, le=1, description="Share of refused rows above which a flow stops")


class SplitParams(Section):
    """How recent data is split: train | purge | embargo | validation | test."""

    validation_days: int = Field(gt=0, description="Length of the validation window, days")
    test_days: int = Field(gt=0, description="Length of the test window, days")
    embargo_days: int = Field(0, ge=0, description="Extra gap after training, days, beyond the label delay")
    window_days: int | None = Field(None, gt=0, description="Sliding training window, days; null: everything")
    half_life_days: float | None = Field(None, gt=0, description="Age at which a row's weight halves, days")
    min_train_rows: int = Field(1000, gt=0)
    min_validation_rows: int = Field(50, gt=0)
    min_test_rows: int = Field(100, gt=0)


class EvaluationParams(Section):
    """How a candidate is judged."""

    margin: float = Field(
        0.02, ge=0, description="Relative loss of the primary metric that still counts as not worse"
    )
    confidence: float = Field(0.95, gt=0.5, lt=1)
    resamples: int = Field(2000, ge=200)
    threshold: float = Field(0.5, gt=0, lt=1, description="Decision threshold; classification only")
    slices: tuple[str, ...] = Field((), description="Category features to report separately")


class GateParams(Section):
    """A bound that a metric of the test window must keep."""

    metric: str
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> GateParams:
        if self.min is None and self.max is None:
            raise ValueError("a gate needs min, max or both")
        return self


class ServingParams(Section):
    """How a release is served; it travels inside the release."""

    durability: Literal["process", "power", "relaxed"] = Field(
        "process",
        description="What a logged prediction survives once it is answered: the death of the process, a "
        "power cut (fdatasync), or neither (written within 50 ms)",
    )
    on_log_failure: Literal["refuse", "serve-unlogged"] = Field(
        "refuse",
        description="When the log cannot be written: answer 503, or answer and count what is not logged",
    )
    retention_days: int | None = Field(None, gt=0, description="Days of the prediction log kept; null: all")
    budget_ms: float = Field(1000.0, gt=0, description="Longest wait before a request is turned away, ms")


class ExplainParams(Section):
    """What a batch says about each answer beside it."""

    reasons: int = Field(0, ge=0, le=10, description="How many features are named that move the answer most")
    doubt: float = Field(
        0.0, ge=0, lt=1, description="No decision for a probability nearer than this to the threshold"
    )
    max_outside: int | None = Field(
        None, ge=0, description="No decision for a row with more fields than this beyond what training saw"
    )


class BatchParams(Section):
    """What a batch of scores must keep to before it is published."""

    max_bad_share: float = Field(
        0.01, ge=0, le=1, description="Share of refused rows above which nothing is published"
    )
    max_null_share: float = Field(0.0, ge=0, le=1, description="Share of scored rows without a finite answer")
    max_shift: float = Field(
        0.25, gt=0, description="Population stability index of the answers against the release's reference"
    )
    on_inconclusive: Literal["publish", "hold"] = Field(
        "publish", description="When too few rows are there to tell a shift: publish with a warning, or hold"
    )
    explain: ExplainParams | None = Field(None, description="What is said beside each answer; null: nothing")


class SystemParams(Section):
    """One system."""

    entry: str = Field(pattern=r"^[\w.]+:\w+$", description="package.module:NAME of the System")
    code: str = Field(description="The system's code: a file or folder whose change retrains")
    lock: str = Field("requirements.lock", description="The environment's lock file; its change retrains")
    seed: int = 0
    sources: tuple[SourceParams, ...] = Field(min_length=1)
    quarantine: QuarantineParams = QuarantineParams()
    split: SplitParams
    evaluation: EvaluationParams = EvaluationParams()
    gates: tuple[GateParams, ...] = ()
    requirements: Requirements = Requirements()
    serving: ServingParams = ServingParams()
    batch: BatchParams = BatchParams()


class Params(Section):
    """The whole of ``params.yaml``."""

    systems: dict[str, SystemParams] = Field(min_length=1)

    def system(self, name: str) -> SystemParams:
        """The parameters of one system.

        Raises:
            ConfigError: No system of that name; the nearest is offered.
        """
        if name not in self.systems:
            raise ConfigError(
                f"no system {name!r} in params.yaml{nearest(name, self.systems)}",
                hint=f"it has: {', '.join(self.systems)}",
            )
        return self.systems[name]


def load_params(root: Path) -> Params:
    """Read ``params.yaml`` of a project.

    Raises:
        ConfigError: The file is missing, is not YAML, or has faults; all are listed with file and key.
    """
    import yaml  # not with the module: servers know its sections, and read no file of them

    path = root / "params.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"no params.yaml in {root}", hint="run this inside a project, or make one: lifecycle init DIR"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}", hint="mend the line it names") from error
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        faults = "\n".join(f"  - {_fault(content, fault)}" for fault in error.errors())
        count = error.error_count()
        raise ConfigError(
            f"{path} has {count} fault{'s' if count > 1 else ''}:\n{faults}",
            hint="docs/your-own-system.md describes every key",
        ) from None


def _fault(content: Any, fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        key = str(fault["loc"][-1])
        return f"{where}: no such key{nearest(key, _known_keys(fault['loc']))}"
    if fault["type"] == "missing":
        given = _given_keys(content, fault["loc"][:-1])
        typo = get_close_matches(str(fault["loc"][-1]), given, n=1)
        return f"{where}: missing" + (f"; did you write {typo[0]!r} for it?" if typo else "")
    message = fault["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(fault["input"], dict | list) else f" (found {fault['input']!r})"
    return f"{where}: {message}{shown}"


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """The keys allowed at a location such as ``("systems", "house-prices", "split", "tets_days")``."""
    if len(location) == 1:
        return list(Params.model_fields)
    sections: dict[str, type[BaseModel]] = {
        "sources": SourceParams,
        "quarantine": QuarantineParams,
        "split": SplitParams,
        "evaluation": EvaluationParams,
        "gates": GateParams,
        "requirements": Requirements,
        "serving": ServingParams,
        "batch": BatchParams,
    }
    section = sections.get(str(location[2])) if len(location) > 3 else None
    section = ExplainParams if location[2:4] == ("batch", "explain") and len(location) > 4 else section
    return list((section or SystemParams).model_fields)


def _given_keys(content: Any, location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        content = content[part]
    return [str(key) for key in content] if isinstance(content, dict) else []
