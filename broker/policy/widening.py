"""What other terms of a server, or another policy, change: who gains or loses which tools, by the rules that are enforced. Pure.

People are those that people.yaml names. A group stands for whoever brings it in a token as well, so groups are judged apart.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime

import msgspec

from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import Effect
from broker.domain.servers import EVERY, Server, ToolDefinition
from broker.policy.model import Facts, Policy
from broker.policy.outlook import outlook
from broker.policy.ruleset import ruleset

_LOOSE = (Effect.DENY, Effect.REQUIRE_APPROVAL, Effect.ALLOW)
_NOBODY = "a member of the group"


class Change(msgspec.Struct, frozen=True):
    """The best that a call to `tool` can come to, before and after."""

    tool: str
    before: Effect
    after: Effect


class Widening(msgspec.Struct, frozen=True):
    """Who gains and who loses anything, each with the tools that change for them."""

    groups: Mapping[str, tuple[Change, ...]] = {}
    people: Mapping[str, tuple[Change, ...]] = {}
    lost_groups: Mapping[str, tuple[Change, ...]] = {}
    lost_people: Mapping[str, tuple[Change, ...]] = {}
    everyone: bool = False

    @property
    def widens(self) -> bool:
        return bool(self.groups or self.people or self.everyone)

    @property
    def narrows(self) -> bool:
        return bool(self.lost_groups or self.lost_people)

    @property
    def told(self) -> str:
        """One sentence for whoever is about to confirm it."""
        if not self.widens:
            return "this widens nobody's access" + (f" and narrows that of {_count(self.lost_people)}" if self.narrows else "")
        whom = "everybody with good credentials" if self.everyone else f"by {', '.join(self.groups)}" if self.groups else ""
        who = f"{whom} and " if whom else "by "
        start = "this opens the server to " if self.everyone else "this widens access "
        return f"{start}{who}{_count(self.people)}" + (f"; it narrows that of {_count(self.lost_people)}" if self.narrows else "")


class Offered(msgspec.Struct, frozen=True):
    """One tool as it is offered. `before`, `after`: was and will its definition be an accepted one?"""

    definition: ToolDefinition
    before: bool
    after: bool = True


def widening(
    policy: Policy, before: Server | None, after: Server, tools: Collection[Offered], now: datetime
) -> Widening:  # fmt: skip
    """Return the effective difference between two states of one server, `before` being what is in force (None: no call)."""
    return between(_with(policy, after.name, before), _with(policy, after.name, after), after.name, tools, now)


def between(old: Policy, new: Policy, server: str, tools: Collection[Offered], now: datetime) -> Widening:
    """Return the effective difference between two policies for those who call one server."""
    before, after = old.servers.get(server), new.servers.get(server)
    people = dict(_differences(old, new, server, tools, now, {**_people(old), **_people(new)}))
    written = {*old.people.groups, *new.people.groups, *((after and after.groups) or ()), *((before and before.groups) or ())}
    named = {name: Caller(user=_NOBODY, groups=(name,)) for name in written - {EVERY}}
    groups = dict(_differences(old, new, server, tools, now, named))
    return Widening(
        {name: changes for name, changes in sorted(groups.items()) if _gains(changes)},
        {name: changes for name, changes in sorted(people.items()) if _gains(changes)},
        {name: changes for name, changes in sorted(groups.items()) if _loses(changes)},
        {name: changes for name, changes in sorted(people.items()) if _loses(changes)},
        everyone=_open(after) and not _open(before),
    )


def _open(server: Server | None) -> bool:
    return server is not None and (server.groups is None or EVERY in server.groups)


def _with(policy: Policy, name: str, server: Server | None) -> Policy:
    servers = {other: one for other, one in policy.servers.items() if other != name}
    return msgspec.structs.replace(policy, servers={**servers, name: server} if server else servers)


def _people(policy: Policy) -> Mapping[str, Caller]:
    members = (member for group in policy.people.groups.values() for member in group.members)
    return {person: Caller(user=person) for person in {*policy.people.persons, *members}}


def _differences(
    old: Policy, new: Policy, server: str, tools: Collection[Offered], now: datetime, callers: Mapping[str, Caller]
) -> Iterator[tuple[str, tuple[Change, ...]]]:
    """Callers of the same groups fare alike, but for those whom rules name: each kind of them is judged once."""
    named = [rule.match.users for policy in (old, new) for rule in ruleset(policy).rules if rule.match.users]
    judged: dict[tuple[object, ...], tuple[Change, ...]] = {}
    own, was = _groups_of(new), _groups_of(old)
    for name, caller in callers.items():
        key = (caller.groups or (own.get(name, ()), was.get(name, ())), tuple(users.has(name) for users in named))
        if key not in judged:
            judged[key] = tuple(_changes(old, new, server, tools, now, caller))
        yield name, judged[key]


def _groups_of(policy: Policy) -> Mapping[str, tuple[str, ...]]:
    """The groups of everybody, read once: asking for each person would look through all groups each time."""
    found: dict[str, tuple[str, ...]] = {}
    for name, group in sorted(policy.people.groups.items()):
        for member in dict.fromkeys(group.members):
            found[member] = (*found.get(member, ()), name)
    return found


def _changes(
    old: Policy, new: Policy, server: str, tools: Collection[Offered], now: datetime, caller: Caller
) -> Iterator[Change]:  # fmt: skip
    for tool in tools:
        name = tool.definition.name
        call = ToolCall(server, name, {"name": name}, caller)
        before = _best(old, call, Facts(now, tool.before, tool.definition))
        after = _best(new, call, Facts(now, tool.after, tool.definition))
        if before is not after:
            yield Change(name, before, after)


def _best(policy: Policy, call: ToolCall, facts: Facts) -> Effect:
    """The loosest of what may come of it: what widens must not hide behind a condition."""
    return max(outlook(policy, call, facts).effects, key=_LOOSE.index)


def _gains(changes: Collection[Change]) -> bool:
    return any(_LOOSE.index(change.after) > _LOOSE.index(change.before) for change in changes)


def _loses(changes: Collection[Change]) -> bool:
    return any(_LOOSE.index(change.after) < _LOOSE.index(change.before) for change in changes)


def _count(people: Collection[str]) -> str:
    return f"{len(people)} {'person' if len(people) == 1 else 'people'} of people.yaml"
