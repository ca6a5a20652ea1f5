"""Settings: `broker.yaml`, overruled by `BROKER_*` variables. Read once, by the wiring."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from importlib.resources.abc import Traversable
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    YamlConfigSettingsSource,
)

from broker.domain.addresses import confidential
from broker.errors import ConfigInvalid


def _duration(value: object) -> object:
    """`30s`, `15m`, `2h`, `7d`, as in policy files; anything else is left to pydantic."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h|d)", value.strip()) if isinstance(value, str) else None
    return timedelta(seconds=float(match[1]) * _UNITS[match[2]]) if match else value


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
Duration = Annotated[timedelta, BeforeValidator(_duration), Field(ge=timedelta(0))]
# For what would undo itself at once.
Lasting = Annotated[timedelta, BeforeValidator(_duration), Field(gt=timedelta(0))]


def _network(value: str) -> str:
    """A network in CIDR notation; a single address is one of its own."""
    network = ip_network(value)
    if network.prefixlen == 0:
        raise ValueError("this is everybody: name the proxy's own network")
    return str(network)


def _reachable(value: str) -> str:
    """A network in CIDR notation, or the word for all private ones."""
    return value if value == "private" else str(ip_network(value))


def _address(value: str) -> str:
    """An address of our own: with scheme and host, and nothing behind its path."""
    if not re.fullmatch(r"(https?://[^\s/@?#]+(/[^\s?#]*)?)?", value):
        raise ValueError("write it as https://approvals.example.com")
    return value


Address = Annotated[str, AfterValidator(_address)]
Network = Annotated[str, AfterValidator(_network)]
Reachable = Annotated[str, AfterValidator(_reachable)]
Level = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(lambda value: str(value).lower())]


class TokenIssuer(BaseModel):
    """One outside issuer of access tokens for agents, as `oauth_issuers` lists it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: str
    jwks_url: str = ""
    audiences: tuple[str, ...] = ()
    user_claim: str = "sub"
    groups_claim: str = "groups"
    workloads: bool = False
    surface_claim: str = ""
    conversation_claim: str = ""
    trust_domain: str = Field("", pattern=r"^[a-z0-9._-]{0,255}$")
    jwks_file: Path | None = None

    @model_validator(mode="after")
    def _keys_as_they_are(self) -> TokenIssuer:
        if self.jwks_file is None and not confidential(self.jwks_url or self.issuer):
            raise ValueError(f"the keys of {self.issuer} have to come from an https address, or a jwks_file")
        return self


class SignInProvider(BaseModel):
    """One identity provider for people (OpenID Connect), as `sign_in` lists it. `name` stands in addresses."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9-]{1,40}$")
    issuer: str
    client_id: str
    client_secret: SecretStr | None = None
    label: str = ""
    scopes: str = "openid email profile"
    person_claim: str = "email"
    groups_claim: str = "groups"

    @model_validator(mode="after")
    def _signs_in_unseen(self) -> SignInProvider:
        if not confidential(self.issuer):
            raise ValueError(f"people sign in over https alone: write the https address of {self.name}")
        return self


class Settings(BaseSettings):
    """Everything that an operator can set. Each field's description is the README's table."""

    model_config = SettingsConfigDict(env_prefix="BROKER_", yaml_file="broker.yaml", extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8450, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    public_url: Address = Field("", description="address that people and agents use, e.g. https://approvals.example.com")
    data: Path = Field(Path("~/.approval-broker"), description="folder of the embedded store, spool and seals")
    policies: Path | None = Field(None, description="folder of policy files; the shipped ones if unset")
    redis_url: SecretStr | None = Field(None, description="Redis >= 6.2 or Valkey server; embedded if unset")
    redis_bin: str = Field("", description="server binary for the embedded store, if not the bundled one")
    oauth_issuers: tuple[TokenIssuer, ...] = Field((), description="issuers of access tokens for agents, beside our own")
    trusted_proxies: tuple[Network, ...] = Field(
        (), description="networks of proxies whose X-Forwarded-User, -Groups and -Client-Cert say who calls, e.g. 10.1.2.0/28"
    )
    sign_in_header: str = Field(
        "", description="header in which `trusted_proxies` name who is signed in on the web, e.g. X-Forwarded-Email; unset: none"
    )
    open_loopback: bool = Field(
        False, description="let programs on this machine call without a token; only on the loopback, without a public_url"
    )
    sign_in: tuple[SignInProvider, ...] = Field((), description="identity providers (OpenID Connect) that sign people in")
    private_networks: tuple[Reachable, ...] = Field(
        (), description="networks beside the public ones where identity providers may lie, e.g. 10.0.0.0/8 or private"
    )
    observers: tuple[str, ...] = Field((), description="groups whose members see every request")
    encryption_keys: SecretStr | None = Field(None, description="keys for data at rest, 64 hex digits each; the first writes")
    encryption_key_file: Path | None = Field(None, description="file with these keys, instead of the setting")
    signing_key_file: Path | None = Field(
        None, description="file of Ed25519 keys (PEM) for seals and receipts: the first signs, all are published; made if unset"
    )
    receipts_name_people: bool = Field(False, description="receipts name who approved, beside the groups")
    hold: Duration = Field(timedelta(seconds=45), description="how long calls of clients that are not known are held")
    release_window: Lasting = Field(timedelta(minutes=10), description="how long an approval may wait for its release")
    lease: Lasting = Field(timedelta(seconds=30), description="how long a claim lasts without renewal")
    keep_answers: Duration = Field(timedelta(minutes=15), description="how long a finished answer waits for its caller")
    keep_requests: Duration = Field(
        timedelta(days=30), description="how long ended requests, and calls kept for replays, are kept"
    )
    keep_events: Duration = Field(
        timedelta(days=90), description="how long sealed audit events are kept in the store; the segment files keep them all"
    )
    upstream_timeout: Lasting = Field(timedelta(minutes=5), description="how long an upstream may be silent")
    connect_timeout: Lasting = Field(timedelta(seconds=5), description="how long connecting to an upstream may take")
    body_limit: int = Field(1 << 20, gt=0, description="largest request body, bytes")
    header_limit: int = Field(32 << 10, gt=0, description="largest request head, bytes")
    record: Literal["all", "asked", "none"] = Field(
        "asked", description="calls kept for policy replays: all, only asked ones, or none"
    )
    on_store_down: Literal["refuse", "allow"] = Field("refuse", description="allowed calls while the store is away")
    calls_per_minute: int = Field(0, ge=0, description="calls one agent may make in a minute at each broker; 0 is no limit")
    pending_per_agent: int = Field(200, ge=0, description="requests of one agent that may wait for people; 0 is no limit")
    remember_rejections: Duration = Field(
        timedelta(minutes=5), description="how long the same call is refused after a rejection, without asking; 0s forgets"
    )
    slack_bot_token: SecretStr | None = Field(None, description="Slack's Bot User OAuth Token, xoxb-…; unset turns Slack off")
    slack_app_token: SecretStr | None = Field(None, description="Slack's app-level token, xapp-…: Socket Mode")
    slack_signing_secret: SecretStr | None = Field(None, description="Slack's signing secret: HTTP instead of, or beside, it")
    slack_conversation: str = Field("", description="conversation of requests whose rules name no channel, e.g. #approvals")
    slack_fallback: str = Field("", description="conversation of cards that reach no other")
    slack_by_email: bool = Field(False, description="know people in Slack by their e-mail address as well")
    feedback_every: Duration = Field(
        timedelta(days=1), description="how often one person is asked in Slack what a tool's result saved them; 0s is never"
    )
    slack_url: str = Field("https://slack.com/api/", description="address of Slack's Web API; another one is for tests")
    slack_answers: str = Field("hooks.slack.com", description="host that answers to clicks go to; another one is for tests")
    review_groups: dict[Literal["security", "legal_privacy", "genai"], tuple[str, ...]] = Field(
        {}, description="groups that review enrolled servers, by slot; a slot without a group can't be passed"
    )
    review_webhook: str = Field("", description="address that is told of moves of enrolled servers, signed (Standard Webhooks)")
    review_webhook_secret: SecretStr | None = Field(
        None, description="signs what the webhook sends, and a tracker's answers to /api/hooks/reviews; at least 24 characters"
    )
    enrol_networks: tuple[Reachable, ...] = Field(
        (), description="private networks where enrolled servers may be, e.g. 10.0.0.0/8"
    )
    experiments_last: Duration = Field(timedelta(days=14), description="how long an enrolled experiment gets calls")
    registry_read: Literal["anonymous", "signed_in", "filtered"] = Field(
        "signed_in", description="who reads the registry's API: anybody, or a credential; filtered tells only what it may use"
    )
    registry_namespace: str = Field(
        "",
        pattern=r"^[a-zA-Z0-9.-]{0,100}$",
        description="first part of official names of servers.yaml's servers: com.example",
    )
    probe_every: Lasting = Field(timedelta(minutes=1), description="how often each server is asked what it offers")
    environment: str = Field("", description="the `env` that policies see, e.g. prod")
    log_level: Level = Field("info", description="debug, info, warning or error")

    @model_validator(mode="after")
    def _loopback_only(self) -> Settings:
        if self.open_loopback and (self.public_url or self.host not in ("127.0.0.1", "::1", "localhost")):
            raise ValueError("open_loopback is for a broker that listens on the loopback and has no public_url")
        return self

    @model_validator(mode="after")
    def _proxies_for_people(self) -> Settings:
        if self.sign_in_header and not self.trusted_proxies:
            raise ValueError("sign_in_header counts from trusted_proxies alone, and none is named")
        return self

    @model_validator(mode="after")
    def _issuers_that_differ(self) -> Settings:
        """Of two entries of one name, one would be passed over."""
        names = [issuer.rstrip("/") for issuer in self.issuers]
        names += [issuer.trust_domain for issuer in self.oauth_issuers if issuer.trust_domain]
        for setting, told in (("oauth_issuers", names), ("sign_in", [provider.name for provider in self.sign_in])):
            twice = next((name for name in told if told.count(name) > 1), "")
            if twice:
                raise ValueError(f"{setting} names {twice} twice: write one entry for it")
        return self

    @model_validator(mode="after")
    def _tokens_for_us(self) -> Settings:
        aimless = next((issuer.issuer for issuer in self.oauth_issuers if not (issuer.audiences or self.public_url)), "")
        if aimless:
            raise ValueError(f"no token of {aimless} can be meant for this broker: set public_url, or the issuer's audiences")
        return self

    @model_validator(mode="after")
    def _one_place_for_keys(self) -> Settings:
        if self.encryption_keys is not None and self.encryption_key_file is not None:
            raise ValueError("encryption_keys and encryption_key_file are both set: one of them would be passed over")
        return self

    @property
    def key_file(self) -> Path:
        """Where the keys for seals and receipts lie; replicas that share them name one file."""
        return (self.signing_key_file or self.data / "keys" / "signing-key.pem").expanduser()

    @property
    def data_key_file(self) -> Path:
        """Where the keys for data at rest lie, unless they stand in a setting."""
        return (self.encryption_key_file or self.data / "keys" / "data-key").expanduser()

    @property
    def issuers(self) -> tuple[str, ...]:
        return tuple(issuer.issuer for issuer in self.oauth_issuers)

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
        return init_settings, env_settings, _File(settings_cls)


class _File(YamlConfigSettingsSource):
    """`broker.yaml`. What it holds is never shown: it may be a secret."""

    def _read_file(self, file_path: Path | Traversable) -> dict[str, Any]:
        try:
            found = super()._read_file(file_path)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise ConfigInvalid(f"{file_path}:{line}: this is no YAML") from None
        except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
            raise ConfigInvalid(f"{file_path} can't be read: {type(error).__name__}") from None
        if not isinstance(found, dict):
            raise ConfigInvalid(f"{file_path}:1: settings are written as `name: value`")
        return found


def load_settings(**named: Any) -> Settings:
    """Return the settings; `named` ones win. Raises `ConfigInvalid`, which names each wrong setting and never its value."""
    try:
        return Settings(**named)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors())
        raise ConfigInvalid(f"settings can't be used: {wrong}") from None
    except SettingsError as error:  # it names the setting, and no value
        raise ConfigInvalid(f'settings can\'t be read: {error}; write JSON there, e.g. ["one", "two"]') from None


def unknown_variables(environment: Iterable[str]) -> list[str]:
    """Return the names of an environment that look like settings and are none: who wrote them believes that they count."""
    known = {f"BROKER_{name.upper()}" for name in Settings.model_fields} | _CLIENTS
    return sorted(name for name in environment if name.upper().startswith("BROKER_") and name.upper() not in known)


# Read by commands that speak to a broker.
_CLIENTS = {"BROKER_URL", "BROKER_TOKEN"}
