"""Where things are on this machine: ``LIFECYCLE_*`` variables over defaults below the project's folder."""

from __future__ import annotations

import getpass
import os
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Every place and port, each overridden by an environment variable of its name.

    ``LIFECYCLE_LEDGER_URL=postgresql://...`` sets ``ledger_url``, and so on.
    """

    model_config = SettingsConfigDict(env_prefix="LIFECYCLE_", frozen=True, extra="ignore")

    project: Path = Field(default_factory=Path.cwd, description="The user's project: params.yaml stands here")
    home: Path = Field(Path(".lifecycle"), description="All state, relative to the project")
    actor: str = Field(default_factory=getpass.getuser, description="Who is acting; written to the ledger")
    actor_key: str = Field(
        "",
        exclude=True,
        repr=False,
        description="API key (scope records) of who is acting: sealed records are opened in its owner's name",
    )
    ledger_url: str = Field("", description="URL of the deployment ledger: sqlite:/// or postgresql://")
    mlflow_uri: str = Field("", description="MLflow tracking and registry URI")
    mlflow_artifacts: str = Field("", description="URI below which MLflow stores artefacts")
    dvc_remote: str = Field("", description="URL of the DVC remote that snapshots are pushed to")
    host: str = Field("127.0.0.1", description="Address the servers listen on")
    serving_port: int = Field(8000, description="Prediction service")
    serving_workers: int = Field(1, ge=1, le=64, description="Processes that answer predictions")
    tls_certificate: Path | None = Field(None, description="PEM file: the prediction service speaks HTTPS")
    tls_key: Path | None = Field(None, description="PEM file of the certificate's private key")
    drain_seconds: float = Field(
        0.5, ge=0, description="How long a service that ends still takes new connections, seconds"
    )
    mlflow_port: int = Field(5000, description="MLflow UI")
    mlflow_pages: str = Field("", description="Where MLflow's pages are, for links; `lifecycle up` says it")
    prefect_port: int = Field(4200, description="Prefect UI and API")
    keys_url: str = Field("", description="URL of the table of subject keys: sqlite:/// or postgresql://")
    key_provider: str = Field(
        "", description="Who wraps the table keys: file:///PATH, env:VARIABLE or vault+https://HOST/MOUNT/KEY"
    )
    access_policy: Path | None = Field(
        None, description="File that says who may open what (default: access.yaml in the project)"
    )
    wipe_memory: bool | None = Field(
        None,
        description="Whether the prediction service overwrites memory that it frees, on Linux; unset: "
        "where the access policy names somebody",
    )
    api_keys: Path | None = Field(None, description="File of API keys (default: below the state folder)")
    cors_origins: str = Field("", description="Origins of other sites whose pages may ask, by commas")
    counters: Path | None = Field(
        None,
        description="Folder in which the workers of one service share their counters; the parent makes it",
    )
    log_segment_seconds: float = Field(
        600,
        gt=0,
        description="Age at which a segment of the prediction log is closed, so that it can be compacted",
    )
    poll_seconds: float = Field(0.5, gt=0, description="How often serving looks for a switch, seconds")
    log_format: Literal["text", "json"] | None = Field(
        None, description="How the servers log; unset: text on a terminal, JSON elsewhere"
    )

    estimator_workers: int | None = Field(
        None, gt=0, description="Processes per release that scikit-learn itself serves (default: one a core)"
    )

    @field_validator("project", mode="after")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.resolve()

    @cached_property
    def state(self) -> Path:
        """The folder that holds all state."""
        return self.project / self.home

    @property
    def ledger(self) -> str:
        """URL of the ledger."""
        return self.ledger_url or f"sqlite:///{self.state / 'ledger.db'}"

    @property
    def key_table(self) -> str:
        """URL of the table of subject keys, consent and the audit trail; back it up apart from all else."""
        return self.keys_url or f"sqlite:///{self.state / 'records' / 'keys.db'}"

    @property
    def provider(self) -> str:
        """Address of the key provider."""
        return self.key_provider or f"file://{self.keys / 'kek.json'}"

    @property
    def policy(self) -> Path:
        """The access policy."""
        return self.project / (self.access_policy or "access.yaml")

    @property
    def wipes(self) -> bool:
        """Whether the prediction service overwrites memory that it frees."""
        return _names_somebody(self.policy) if self.wipe_memory is None else self.wipe_memory

    @property
    def receipts(self) -> Path:
        """Receipts of erasures, one folder per system."""
        return self.state / "receipts"

    @property
    def tracking(self) -> str:
        """MLflow's tracking and registry URI."""
        return self.mlflow_uri or f"sqlite:///{self.state / 'mlflow' / 'mlflow.db'}"

    @property
    def artifacts(self) -> str:
        """URI below which MLflow stores artefacts."""
        return self.mlflow_artifacts or (self.state / "mlflow" / "artifacts").as_uri()

    @property
    def remote(self) -> str:
        """The DVC remote: a folder, or the URL of another kind."""
        # DVC would make a folder named "file:".
        return self.dvc_remote.removeprefix("file://") or str(self.state / "remote")

    @property
    def releases(self) -> Path:
        """The digest-keyed cache of verified releases."""
        return self.state / "releases"

    @property
    def log(self) -> Path:
        """The prediction log, one folder per system."""
        return self.state / "log"

    @property
    def key_file(self) -> Path:
        """The file of API keys; only hashes are in it."""
        return self.api_keys or self.keys / "api-keys.json"

    @property
    def origins(self) -> tuple[str, ...]:
        """Origins of other sites whose pages may ask the endpoint."""
        return tuple(origin.strip().rstrip("/") for origin in self.cors_origins.split(",") if origin.strip())

    @property
    def keys(self) -> Path:
        """The folder of the signing key and the trusted public keys."""
        return self.state / "keys"


def _names_somebody(policy: Path) -> bool:
    """Whether a policy lets anybody open anything: then there are records about people, or will be."""
    try:
        text = policy.read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True  # whoever reads it tells what is wrong with it
    import yaml  # not before: a server of a project without one loads none

    try:
        told = yaml.safe_load(text)
    except yaml.YAMLError:
        return True
    return not isinstance(told, dict) or bool(told.get("actors"))


def environment_of(settings: Settings) -> dict[str, str]:
    """The variables by which a child process has the same settings.

    Example:
        >>> environment_of(Settings(project=Path("/shop"), serving_port=0))["LIFECYCLE_SERVING_PORT"]
        '0'
    """
    given = settings.model_dump(mode="json", exclude_none=True)
    return {f"LIFECYCLE_{name.upper()}": str(value) for name, value in given.items()}


def quiet_environment(settings: Settings) -> dict[str, str]:
    """The environment for every child process: no telemetry, and nothing written outside the project."""
    state = settings.state
    return {
        **os.environ,
        "LIFECYCLE_PROJECT": str(settings.project),
        "LIFECYCLE_HOME": str(state),
        "DO_NOT_TRACK": "1",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(state / "dvc" / "site"),
        "DVC_GLOBAL_CONFIG_DIR": str(state / "dvc" / "config"),
        "DVC_SYSTEM_CONFIG_DIR": str(state / "dvc" / "config"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_TRACKING_URI": settings.tracking,
        "PREFECT_HOME": str(state / "prefect"),
        "PREFECT_LOGGING_EXTRA_LOGGERS": "lifecycle",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "MPLCONFIGDIR": str(state / "matplotlib"),
    }
