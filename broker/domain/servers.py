"""Guarded servers as the catalogue knows them, their tools, and what counts as a change of a tool."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any

import msgspec

from broker.domain.calls import digest_of


class Trust(StrEnum):
    UNTRUSTED = "untrusted"
    REVIEWED = "reviewed"


class Owner(msgspec.Struct, frozen=True, omit_defaults=True):
    team: str = ""
    contact: str = ""


class Grant(StrEnum):
    """How the broker gets its own access token for a server (RFC 6749 section 4.4, RFC 8693)."""

    CLIENT_CREDENTIALS = "client_credentials"
    TOKEN_EXCHANGE = "token_exchange"


class Authorization(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the access token for a server comes from. `client_secret` is a reference.

    With a token exchange it is the access of the user for whom a call is made. `client_auth` is how the broker shows who it is
    to the token endpoint (OpenID Connect Core section 9).
    """

    token_url: str
    client_id: str
    client_secret: str = ""
    grant: Grant = Grant.CLIENT_CREDENTIALS
    scope: str = ""
    audience: str = ""
    resource: str = ""
    client_auth: str = "client_secret_basic"


class ToolFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the operator wrote about a tool in servers.yaml. None: nothing was said."""

    read_only: bool | None = None
    destructive: bool | None = None
    idempotent: bool | None = None
    open_world: bool | None = None
    minutes_saved: float = 0.0


# Between a server's name and that of its tool or prompt, where one address offers many servers.
JOINT = "__"


def joint_name(server: str, name: str) -> str:
    return f"{server}{JOINT}{name}"


def split_name(joint: str, servers: Iterable[str]) -> list[tuple[str, str]]:
    """Return every way to read a joint name as (server, name); more than one only where `mixed_up` says so."""
    heads = ((server, joint_name(server, "")) for server in servers)
    return [(server, joint.removeprefix(head)) for server, head in heads if joint.startswith(head) and joint != head]


def mixed_up(server: str, servers: Iterable[str]) -> str:
    """Return a server whose tools could get the same joint names as this one's, empty where there is none."""
    own = joint_name(server, "")
    alike = (other for other in servers if own.startswith(joint_name(other, "")) or joint_name(other, "").startswith(own))
    return next((other for other in alike if other != server), "")


# In `groups`: every caller whose credentials are good, and every tool that was accepted.
EVERY = "*"


class Server(msgspec.Struct, frozen=True, omit_defaults=True):
    """One guarded server: either `url` or `command`. Secrets in `headers` and `env` are references (`env:NAME`, `file:PATH`,
    `command:PROGRAM`).

    `networks` are those beside the public ones in which its address may lie. `enrolled`: it came by the page or the API and not
    out of an operator's file, so it reaches public addresses and those of `enrol_networks` only, and refers to no secret of the
    broker's machine.
    `per_session`: a stdio server gets one process for each session. `stateless`: the server keeps no state in its
    sessions, so a release may go through the broker's own when the caller's is gone. `tell_caller`: each message brings the
    broker's signed word about who calls. `asks_back`: during a release it may ask its caller what that said that it can be asked
    (2026-07-28); people review the answers. `methods` are requests and
    notifications outside the protocol's own that may pass.

    `groups` are those whose members may use it, each with its tools; None leaves it to the rules. `sign_in`: `person` means
    that a person stands behind each call. `discovery`: `public` lets anybody list its tools, without a credential.
    `experiment`: of its owners' groups alone, and not approved for anybody's work. No call goes there after `until`. `release`
    is the official name and version of an enrolled server.
    """

    name: str
    url: str = ""
    command: tuple[str, ...] = ()
    env: dict[str, str] = msgspec.field(default_factory=dict)
    cwd: str = ""
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    auth: Authorization | None = None
    networks: tuple[str, ...] = ()
    enrolled: bool = False
    owner: Owner = Owner()
    trust: Trust = Trust.UNTRUSTED
    per_session: bool = False
    stateless: bool = False
    tell_caller: bool = False
    asks_back: bool = False
    methods: tuple[str, ...] = ()
    tools: dict[str, ToolFacts] = msgspec.field(default_factory=dict)
    groups: dict[str, tuple[str, ...]] | None = None
    sign_in: str = ""
    discovery: str = ""
    experiment: bool = False
    until: datetime | None = None
    release: str = ""
    where: str = ""

    def admits(self, groups: Collection[str]) -> bool:
        """May somebody of these groups use the server at all?"""
        return self.groups is None or EVERY in self.groups or not self.groups.keys().isdisjoint(groups)

    def grants(self, tool: str, groups: Collection[str]) -> bool:
        """May somebody of these groups call this tool, as far as the server's groups say?"""
        if self.groups is None:
            return True
        granted = (tools for group, tools in self.groups.items() if group == EVERY or group in groups)
        return any(EVERY in tools or tool in tools for tools in granted)


class Hints(msgspec.Struct, frozen=True):
    """Effective hints. The defaults are MCP's worst case (ToolAnnotations, 2026-07-28)."""

    read_only: bool = False
    destructive: bool = True
    idempotent: bool = False
    open_world: bool = True


class ToolDefinition(msgspec.Struct, frozen=True, dict=True):
    """A tool as its server describes it. `raw` is the member of `tools/list`, unchanged."""

    server: str
    name: str
    raw: dict[str, Any]

    @property
    def input_schema(self) -> dict[str, Any]:
        """The schema of the arguments; one that is no object accepts nothing."""
        schema = self.raw.get("inputSchema", {})
        return schema if isinstance(schema, dict) else {"not": {}}

    @property
    def annotations(self) -> dict[str, Any]:
        """The server's own claims; what is no object claims nothing."""
        claims = self.raw.get("annotations")
        return claims if isinstance(claims, dict) else {}

    def digest(self) -> str:
        """Return the digest over everything that tells people or models what the tool does; it is made once.

        Raises `Malformed` for a definition without a canonical form.
        """
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return digest_of({key: value for key, value in self.raw.items() if key != "_meta"})


class SeenTool(msgspec.Struct, frozen=True):
    """What the catalogue knows about a tool. `known`: listed by the operator, or its definition was accepted as it is now.

    `reckoned` is the definition's digest where it was reckoned before: every call asks for it.
    """

    known: bool
    definition: ToolDefinition | None
    reckoned: str = ""

    @property
    def digest(self) -> str:
        return self.reckoned or (self.definition.digest() if self.definition else "")


def effective_hints(facts: ToolFacts | None, claims: dict[str, Any]) -> Hints:
    """Start from the worst case, let the operator's facts replace it, let the server's claims only tighten."""
    worst = Hints()
    facts = facts or ToolFacts()
    read_only = _settled(facts.read_only, worst.read_only) and claims.get("readOnlyHint") is not False
    destructive = _settled(facts.destructive, worst.destructive and not read_only) or claims.get("destructiveHint") is True
    idempotent = _settled(facts.idempotent, worst.idempotent) and claims.get("idempotentHint") is not False
    open_world = _settled(facts.open_world, worst.open_world) or claims.get("openWorldHint") is True
    return Hints(read_only=read_only and not destructive, destructive=destructive, idempotent=idempotent, open_world=open_world)


def _settled(fact: bool | None, otherwise: bool) -> bool:
    return otherwise if fact is None else fact
