"""Settings: `broker.yaml`, overruled by `BROKER_*` variables. Read once, by the wiring."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, YamlConfigSettingsSource


class Settings(BaseSettings):
    """Everything that an operator can set. Each field's description is the README's table."""

    model_config = SettingsConfigDict(env_prefix="BROKER_", yaml_file="broker.yaml", extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8450, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    public_url: str = Field("", description="address that people and agents use, e.g. https://approvals.example.com")
    data: Path = Field(Path("~/.approval-broker"), description="folder of the embedded store, spool and seals")
    policies: Path | None = Field(None, description="folder of policy files; the shipped ones if unset")
    redis_url: SecretStr | None = Field(None, description="Redis >= 6.2 or Valkey server; embedded if unset")
    redis_bin: str = Field("", description="server binary for the embedded store, if not the bundled one")
    hold: timedelta = Field(timedelta(seconds=45), description="how long a parked call is held open before PENDING")
    release_window: timedelta = Field(timedelta(minutes=10), description="how long an approval may wait for its release")
    lease: timedelta = Field(timedelta(seconds=30), description="how long a claim lasts without renewal")
    keep_answers: timedelta = Field(timedelta(minutes=15), description="how long a finished answer waits for its caller")
    keep_requests: timedelta = Field(timedelta(days=30), description="how long ended requests are kept")
    upstream_timeout: timedelta = Field(timedelta(minutes=5), description="how long an upstream may be silent")
    connect_timeout: timedelta = Field(timedelta(seconds=5), description="how long connecting to an upstream may take")
    body_limit: int = Field(1 << 20, description="largest request body, bytes")
    header_limit: int = Field(32 << 10, description="largest request head, bytes")
    on_store_down: Literal["refuse", "allow"] = Field("refuse", description="allowed calls while the store is away")
    environment: str = Field("", description="the `env` that policies see, e.g. prod")
    log_level: str = Field("info", description="debug, info, warning or error")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then `broker.yaml`."""
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls)
