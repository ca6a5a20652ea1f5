"""Who may use a server at all: its groups, its sign-in mode, its time. Asked before any rule, at every request. Pure."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from broker.domain.calls import Caller
from broker.domain.decisions import Reason
from broker.domain.servers import Server
from broker.policy.model import Policy


def refusal(
    server: Server, caller: Caller, groups: Collection[str], *, tool: str = "", now: datetime | None = None
) -> Reason | None:  # fmt: skip
    """Return why this caller may not use the server, or the tool if one is named; None where rules go on.

    `groups` are the caller's, as rules see them. Without `now` the server's time is not looked at.
    """
    if server.until is not None and now is not None and now >= server.until:
        return Reason("unknown_server", "the experiment's time is over", server.where)
    if server.sign_in == "person" and not caller.user:
        return Reason("not_signed_in", "a person has to stand behind every call of this server", server.where)
    if not server.admits(groups):
        named = ", ".join(server.groups or ()) or "no group yet"
        return Reason("not_admitted", f"the server is for members of {named}", server.where)
    if tool and not server.grants(tool, groups):
        return Reason("not_granted", "the review of this server did not grant this tool to the caller's groups", server.where)
    return None


def standing_of(policy: Policy, caller: Caller) -> tuple[str, ...]:
    """The caller's groups: those that its credentials name, else those of the directory."""
    return caller.groups or (policy.people.groups_of(caller.user) if caller.user else ())
