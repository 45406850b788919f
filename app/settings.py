"""Settings from `PODIUM_*` environment variables, read once and frozen."""

from functools import cached_property
from ipaddress import ip_address
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """Everything about a deployment that is not in the database."""

    model_config = SettingsConfigDict(env_prefix="PODIUM_", frozen=True, extra="ignore")

    data_dir: Path = Field(
        default=Path("data"), description="Folder of the SQLite file, models and run directories."
    )
    database_url: str | None = Field(
        default=None,
        description="SQLAlchemy URL of a PostgreSQL database; empty means SQLite in data_dir.",
    )
    host: str = Field(default="127.0.0.1", description="Address the web process listens on.")
    port: int = Field(default=8000, description="Port the web process listens on.")
    web_processes: int = Field(default=1, ge=1, description="uvicorn processes of `podium serve`.")
    public_url: str | None = Field(
        default=None,
        description="Address people open, when a proxy stands in front; used in printed links "
        "and by the same-origin guard.",
    )
    inference_url: str = Field(
        default="http://127.0.0.1:8001",
        description="OpenAI-compatible server for the registry's models, without /v1.",
    )
    inference_host: str = Field(default="127.0.0.1", description="Address inference listens on.")
    inference_port: int = Field(default=8001, description="Port inference listens on.")
    inference_threads: int = Field(
        default=2, ge=1, description="CPU threads of the inference process."
    )
    training_threads: int = Field(default=2, ge=1, description="CPU threads of a training job.")
    worker_slots: int = Field(default=1, ge=1, description="Jobs one worker runs at the same time.")
    lease_seconds: int = Field(
        default=1800, ge=10, description="How long a labeler keeps a task without a sign of life."
    )
    session_days: int = Field(default=30, ge=1, description="Days a browser stays signed in.")
    secure_cookies: bool = Field(
        default=False, description="Send the session cookie over HTTPS only."
    )
    generation_timeout_seconds: float = Field(
        default=300.0, gt=0, description="Longest wait for one request to an inference server."
    )
    endpoint_keys: dict[str, str] = Field(
        default_factory=dict,
        description="API keys of registered endpoints, as JSON: base URL (without /v1) to key.",
    )
    max_upload_bytes: int = Field(
        default=2_000_000_000, ge=1, description="Largest import body taken."
    )
    max_line_bytes: int = Field(
        default=10_000_000, ge=1000, description="Longest line of an import; longer ones are named."
    )
    log_level: str = Field(default="warning", description="debug, info, warning or error.")

    @cached_property
    def resolved_database_url(self) -> str:
        """The database in use: PostgreSQL through psycopg 3, or the SQLite file."""
        if self.database_url:
            url = self.database_url
            for prefix in ("postgres://", "postgresql://"):
                if url.startswith(prefix):
                    return "postgresql+psycopg://" + url.removeprefix(prefix)
            return url
        return f"sqlite:///{self.data_dir.absolute() / 'podium.sqlite3'}"

    @property
    def base_url(self) -> str:
        """The address people open: public_url, or localhost for a server on this machine."""
        if self.public_url:
            return self.public_url.rstrip("/")
        try:
            address = ip_address(self.host)
        except ValueError:
            return f"http://{self.host}:{self.port}"
        local = address.is_unspecified or address.is_loopback
        return f"http://{'localhost' if local else self.host}:{self.port}"

    @property
    def models_dir(self) -> Path:
        """Where the files of registry models are kept."""
        return self.data_dir.absolute() / "models"

    @property
    def runs_dir(self) -> Path:
        """Where jobs have their run directories."""
        return self.data_dir.absolute() / "runs"

    @property
    def uploads_dir(self) -> Path:
        """Where uploaded files wait between being looked at and being imported."""
        return self.data_dir.absolute() / "uploads"


def load_settings(**overrides: object) -> Settings:
    """Read the environment; keyword arguments win over it."""
    return Settings(**{key: value for key, value in overrides.items() if value is not None})  # type: ignore[arg-type]  # pydantic checks the values
