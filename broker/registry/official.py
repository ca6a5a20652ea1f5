"""What the official registry's API (`/v0.1`, 2025-12-01) tells of the registry here: who sees which versions, and how. Pure.

Every address is the broker's: where a server really is, no client is told, since it could go around the approvals.
`updatedAt` is the moment at which anything that is told of a server last changed, so whoever follows it misses nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from broker.domain.calls import Caller
from broker.domain.enrolment import Enrolment, Lifecycle
from broker.domain.servers import Server
from broker.domain.terms import Slot, Terms, Version
from broker.policy.access import refusal
from broker.registry.pulses import Live
from broker.registry.roster import Declaration

OFFICIAL = "io.modelcontextprotocol.registry/official"
GOVERNANCE = "approval-broker/governance"
SCHEMA = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
_SLOTS = {Slot.SECURITY: "security", Slot.LEGAL_PRIVACY: "legalPrivacy", Slot.GENAI: "genai"}


class Reader(msgspec.Struct, frozen=True):
    """Who reads. `caller` None: nobody is known. `everything`: a reviewer. `filtered`: only what they may use is told."""

    caller: Caller | None = None
    groups: tuple[str, ...] = ()
    everything: bool = False
    filtered: bool = False

    def inside(self, group: str) -> bool:
        """Is it somebody who answers for the server, or reviews it?"""
        return self.everything or group in self.groups

    def may_use(self, server: Server) -> bool:
        return self.caller is not None and refusal(server, self.caller, self.groups) is None


class Item(msgspec.Struct, frozen=True):
    """One version of one server as it is told. `number` orders a server's versions as they were published."""

    name: str
    version: str
    number: int
    updated_at: datetime
    status: str
    latest: bool
    body: Mapping[str, Any]

    @property
    def texts(self) -> tuple[str, ...]:
        server = self.body["server"]
        return (self.name, str(server.get("title", "")), str(server.get("description", "")))


def items_of(enrolment: Enrolment, reader: Reader, base: str, live: Live | None) -> list[Item]:
    """Return what this reader is told of an enrolled server. Its own people and reviewers see every version."""
    inside = reader.inside(enrolment.keeper.group)
    told = [(version, *_status(version, enrolment, reader, inside=inside)) for version in enrolment.versions]
    seen = [(version, status, message) for version, status, message in told if status]
    top = latest([(version.version, status) for version, status, _ in seen])
    found = []
    for version, status, message in seen:
        official: dict[str, Any] = {"status": status, **({"statusMessage": message} if message else {})}
        official["statusChangedAt"] = version.status_at or version.published_at
        governance = _governance(enrolment, version, reader, live, inside=inside)
        found.append(
            Item(
                enrolment.name, version.version, enrolment.versions.index(version), enrolment.changed_at, status,
                version.version == top,
                _body(
                    _document(version.document, enrolment.local, base), official, governance, version.published_at,
                    enrolment.changed_at, latest=version.version == top,
                ),
            )
        )  # fmt: skip
    return found


def declared_item(
    local: str, held: Declaration, server: Server | None, namespace: str, reader: Reader, base: str, live: Live | None
) -> Item | None:  # fmt: skip
    """Return what this reader is told of a server of files, None where they may not use it. `server` None: it is gone."""
    if reader.filtered and server is not None and not reader.may_use(server):
        return None
    status = "deleted" if held.gone or server is None else "active"
    about = held.about
    document = {"name": f"{namespace}/{local}", "description": about["description"], "version": held.version, "title": local}
    governance: dict[str, Any] = {
        "lifecycle": "experiment" if about.get("experiment") else "declared",
        "owner": {"team": about.get("team", "")},
        "inForce": status == "active",
    }
    if about.get("contact"):
        governance["support"] = [about["contact"]]
    governance |= {"signIn": about.get("sign_in") or "any", "discovery": about.get("discovery") or "authenticated"}
    governance |= {"live": _live(live, inside=reader.everything)}
    if reader.caller is not None:
        governance |= {"allowedGroups": about.get("groups"), "tools": _tools(about.get("tools", {}))}
    official = {"status": status, "statusChangedAt": held.at}
    body = _body(_document(document, local, base), official, governance, held.at, held.at, latest=True)
    return Item(document["name"], held.version, 0, held.at, status, True, body)


def _status(version: Version, enrolment: Enrolment, reader: Reader, *, inside: bool) -> tuple[str, str]:
    """The status to tell, and why; empty where the version is not told of. What gets no call any more reads as deleted."""
    if inside:
        return version.status, version.message
    server = enrolment.server()
    if enrolment.lifecycle is Lifecycle.EXPERIMENT:
        return (version.status, version.message) if server is not None and reader.may_use(server) else ("", "")
    granted = [grant for grant in enrolment.grants if grant.version == version.version]
    if not granted or (reader.filtered and not _admitted(enrolment, reader)):
        return "", ""
    if enrolment.lifecycle is not Lifecycle.APPROVED:
        return "deleted", f"the server is {enrolment.lifecycle}"
    return version.status, version.message


def _admitted(enrolment: Enrolment, reader: Reader) -> bool:
    assert enrolment.grant is not None, "asked of what was granted"
    terms = enrolment.grant.terms
    return reader.may_use(Server(enrolment.local, groups=terms.groups, sign_in=terms.sign_in))


def _document(document: Mapping[str, Any], local: str, base: str) -> dict[str, Any]:
    """The server.json as clients get it: the publisher's own extras are for the registry, and the address is the broker's."""
    kept = {name: value for name, value in document.items() if name not in ("_meta", "$schema", "remotes")}
    return {"$schema": SCHEMA, **kept, "remotes": [{"type": "streamable-http", "url": f"{base.rstrip('/')}/mcp/{local}"}]}


def _body(
    document: dict[str, Any], official: dict[str, Any], governance: dict[str, Any], published: datetime, updated: datetime, *,
    latest: bool,
) -> dict[str, Any]:  # fmt: skip
    told = {**official, "publishedAt": published, "updatedAt": updated, "isLatest": latest}
    return {"server": document, "_meta": {OFFICIAL: told, GOVERNANCE: governance}}


def _governance(
    enrolment: Enrolment, version: Version, reader: Reader, live: Live | None, *, inside: bool
) -> dict[str, Any]:  # fmt: skip
    """People and groups are told to those who are known, what is only proposed to the server's people and reviewers."""
    keeper, grant = enrolment.keeper, enrolment.grant
    told: dict[str, Any] = {
        "lifecycle": enrolment.lifecycle.value, "owner": {"team": keeper.team or keeper.group}, "support": list(keeper.support),
        "inForce": enrolment.live is version, "live": _live(live, inside=inside),
    }  # fmt: skip
    if grant is not None:
        told["signIn"] = grant.terms.sign_in or "any"
    if reader.caller is None:
        return told
    told["owner"]["group"] = keeper.group
    given = next((one for one in reversed(enrolment.grants) if one.version == version.version), None)
    if given is not None:
        told |= {"reviews": _slots(given.slots), **_terms(given.terms), "grant": given.number}
    if inside and enrolment.proposal is not None and enrolment.proposal.version == version.version:
        proposal = enrolment.proposal
        told["proposed"] = {"by": proposal.by, "at": proposal.at, "reviews": _slots(proposal.slots), **_terms(proposal.terms)}
    if enrolment.until is not None:
        told["until"] = enrolment.until
    return told


def _terms(terms: Terms) -> dict[str, Any]:
    tools = {name: msgspec.to_builtins(facts) for name, facts in sorted(terms.tools.items())}
    return {"allowedGroups": terms.groups, "tools": _tools(tools), "signIn": terms.sign_in or "any"}


def _tools(facts: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    words = {"read_only": "readOnly", "open_world": "openWorld", "minutes_saved": "minutesSaved"}
    return [{"name": name, **{words.get(key, key): value for key, value in known.items()}} for name, known in facts.items()]


def _slots(slots: Mapping[Slot, Any]) -> dict[str, Any]:
    return {word: _slot(slots[slot]) for slot, word in _SLOTS.items()}


def _slot(review: Any) -> dict[str, Any]:
    told = {"by": review.by, "at": review.at, "reason": review.reason, "ticket": review.ticket}
    return {"state": review.state.value, **{name: value for name, value in told.items() if value}}


def _live(live: Live | None, *, inside: bool) -> dict[str, Any]:
    """An error may name where the server is: it is for those who may know."""
    if live is None:
        return {"state": "unknown"}
    told: dict[str, Any] = {"state": live.state, "checkedAt": live.checked_at}
    if live.latency_ms is not None:
        told["latencyMs"] = live.latency_ms
    if live.error and inside:
        told["error"] = live.error
    return told


def latest(versions: Collection[tuple[str, str]]) -> str:
    """The version that `latest` means among (version, status): the highest of those that are not deleted, else of all."""
    alive = [version for version, status in versions if status != "deleted"] or [version for version, _ in versions]
    return max(alive, key=precedence, default="")


def precedence(version: str) -> tuple[Any, ...]:
    """A key that orders semantic versions (semver 2.0.0, section 11); what is after `+` does not count."""
    core, _, before = version.partition("+")[0].partition("-")
    return (*_numbers(core), (0, *_identifiers(before)) if before else (1,))


def _numbers(core: str) -> Iterator[int]:
    for part in core.split("."):
        yield int(part) if part.isdigit() else 0


def _identifiers(text: str) -> Iterator[tuple[int, int, str]]:
    for part in text.split("."):
        yield (0, int(part), "") if part.isdigit() and part.isascii() else (1, 0, part)
