"""A tool call and who makes it, with the digest that binds a review to what runs."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import rfc8785

from broker.domain.canonical import canonical
from broker.errors import Malformed


class Caller(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who calls: the identity behind the credential, and the client's own words about itself.

    `agent` names the credential; `owner` is the person to whom the agent belongs, who counts as
    requester wherever self-approval is judged. `client` is what the software says of itself:
    shown, never trusted, and no part of `principal`. `servers` limits the credential; None is all.
    `surface` is the chat, IDE or bot that the call comes through, and `conversation` where in it: both as the credential
    vouches for them, never as the agent says. `hold` is how many seconds its calls are held for people, as the operator set it
    for the credential; 0 leaves it to what its client is known to wait.
    """

    agent: str = ""
    user: str = ""
    workload: str = ""
    groups: tuple[str, ...] = ()
    owner: str = ""
    client: str = ""
    client_version: str = ""
    servers: tuple[str, ...] | None = None
    surface: str = ""
    conversation: str = ""
    hold: float = 0.0

    @property
    def principal(self) -> str:
        """A stable key of the verified identity: sessions, joining and mailboxes are bound to it."""
        place = (self.surface, self.conversation) if self.surface or self.conversation else ()
        parts = (self.agent, self.user, self.workload, *place)
        joined = "|".join(parts)
        if "\\" not in joined and joined.count("|") == len(parts) - 1:
            return joined
        return "|".join(part.replace("\\", "\\\\").replace("|", "\\|") for part in parts)

    @property
    def people(self) -> frozenset[str]:
        """The persons who stand behind the call and may not approve it."""
        return frozenset(person for person in (self.user, self.owner) if person)

    def backed_by(self, person: str) -> bool:
        """Does this person stand behind the call? Their names are alike in small and capital letters."""
        return person.casefold() in map(str.casefold, self.people)

    def may_use(self, server: str) -> bool:
        return self.servers is None or server in self.servers


class ToolCall(msgspec.Struct, frozen=True):
    """One `tools/call`. `params` holds every member of MCP's `params` but `_meta`: all that can change the effect."""

    server: str
    tool: str
    params: dict[str, Any]
    caller: Caller
    idempotency_key: str = ""

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments as the policy sees them: absent is empty."""
        arguments: dict[str, Any] = self.params.get("arguments", {})
        return arguments

    def digest(self) -> str:
        """Return `sha256:…` of the canonical JSON (RFC 8785) of all that is reviewed and run.

        Raises `Malformed` for numbers or strings that have no canonical form.
        """
        rest = {name: value for name, value in self.params.items() if name not in ("name", "arguments")}
        return digest_of({"server": self.server, "tool": self.tool, "arguments": self.arguments, "rest": rest})


def join_of(call: ToolCall, digest: str) -> str:
    """Return what makes two calls the same request: principal, server, and the idempotency key or else the digest."""
    same = f"key:{call.idempotency_key}" if call.idempotency_key else digest
    return digest_of([call.caller.principal, call.server, same])


def repeat_of(call: ToolCall, digest: str) -> str:
    """Return what makes a call one that was made before, whatever idempotency key it brings: the agent chooses that."""
    return join_of(msgspec.structs.replace(call, idempotency_key=""), digest)


def digest_of(value: Any) -> str:
    """Return `sha256:` and the hex digest of the canonical JSON (RFC 8785) of `value`."""
    try:
        return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()
    except (rfc8785.CanonicalizationError, RecursionError, UnicodeError) as error:
        raise Malformed(f"the call has no canonical form: {error}") from None
