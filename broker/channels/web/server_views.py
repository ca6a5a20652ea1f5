"""Guarded servers as a page shows them: how they are, what they offer, and what a caller may do with it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit

import msgspec

from broker.channels.web.arguments import Piece, pieces
from broker.domain.calls import Caller, ToolCall
from broker.domain.servers import Server, ToolDefinition, effective_hints
from broker.domain.text import clipped, visible
from broker.errors import Malformed
from broker.policy.model import Facts, Policy
from broker.policy.reach import Reach, reach
from broker.registry.accepting import Refused
from broker.registry.drift import Difference
from broker.registry.pins import Pin
from broker.registry.ports import Listing
from broker.registry.standing import Stand, Standing, stands

DESCRIPTION, SCHEMA = 4_000, 8_000

STANDINGS = {
    Standing.PINNED: "Accepted",
    Standing.CHANGED: "Changed since it was accepted",
    Standing.GONE: "Accepted, and no longer offered",
    Standing.LISTED: "Listed in servers.yaml",
    Standing.NEW: "New: nobody has accepted it",
}


class Whose(msgspec.Struct, frozen=True):
    """The caller whose reach is shown. `groups` None: those that people.yaml gives the person."""

    user: str = ""
    groups: tuple[str, ...] | None = None


class ToolRow(msgspec.Struct, frozen=True):
    """One tool. `shown` is its name with the unseen made visible, `hints` the ones that rules see, `accepted` by whom and when;
    `changes` is what differs since, `digest` binds an answer to what is shown, `schema` is the arguments' own. `refused` is by
    whom the definition that is offered now was refused.
    """

    name: str
    shown: tuple[Piece, ...]
    title: tuple[Piece, ...]
    description: tuple[Piece, ...]
    standing: Standing
    stands: str
    hints: tuple[str, ...]
    reach: Reach
    accepted: Pin | None
    changes: tuple[Difference, ...]
    digest: str
    schema: tuple[Piece, ...]
    minutes: float
    refused: Refused | None

    @property
    def decidable(self) -> bool:
        """Is there something to accept or refuse?"""
        return bool(self.digest) and self.standing in (Standing.CHANGED, Standing.NEW)


class ServerView(msgspec.Struct, frozen=True):
    """One server. `ago` is seconds since it last answered, None where it never did; `problem` why it does not now."""

    name: str
    way: str
    server: Server
    listing: Listing | None
    ago: float | None
    problem: str
    says: tuple[Piece, ...]
    tools: tuple[ToolRow, ...]

    @property
    def drifted(self) -> tuple[ToolRow, ...]:
        return tuple(tool for tool in self.tools if tool.standing.drifted)

    @property
    def health(self) -> str:
        if self.problem:
            return "wrong"
        return "waiting" if self.listing is None else "fine"


class Known(msgspec.Struct, frozen=True):
    """What is known of a server: what it last offered and how long ago, why it does not answer, what people said of its tools."""

    last: tuple[Listing, float] | None = None
    problem: str = ""
    pins: Mapping[str, Pin] = {}
    refused: Mapping[str, Refused] = {}


def server_view(policy: Policy, server: Server, known: Known, whose: Whose, now: datetime) -> ServerView:
    """Put together what the page shows of one server. A refusal counts for the definition that it was said of."""
    listing, ago = known.last if known.last is not None else (None, None)
    offered = listing or Listing(server.name, tuple(ToolDefinition(server.name, name, {}) for name in server.tools))
    listed = () if server.enrolled else server.tools
    found = stands(offered, known.pins if listing else {}, listed)
    tools = tuple(_row(policy, server, stand, whose, now, known.refused.get(stand.tool)) for stand in found)
    info = " ".join(str(offered.info.get(key, "")) for key in ("name", "version")).strip()
    return ServerView(server.name, way_of(server), server, listing, ago, known.problem, pieces(clipped(info, 120)), tools)


def _row(
    policy: Policy, server: Server, stand: Stand, whose: Whose, now: datetime, refused: Refused | None
) -> ToolRow:  # fmt: skip
    definition, name = stand.definition, stand.tool
    raw = definition.raw if definition is not None else {}
    call = ToolCall(server.name, name, {"name": name}, Caller(user=whose.user))
    digest = _digest(definition)
    facts = Facts(now.astimezone(UTC), stand.standing.known, definition)
    return ToolRow(
        name=name,
        shown=pieces(clipped(name, 200)),
        title=pieces(clipped(str(raw.get("title") or ""), 200)),
        description=pieces(clipped(str(raw.get("description") or ""), DESCRIPTION)),
        standing=stand.standing,
        stands=STANDINGS[stand.standing],
        hints=_hints(server, name, definition),
        reach=reach(policy, call, facts, whose.groups),
        accepted=stand.pin,
        changes=stand.changes,
        digest=digest,
        schema=_schema(definition),
        minutes=server.tools[name].minutes_saved if name in server.tools else 0.0,
        refused=refused if refused is not None and refused.digest == digest else None,
    )


class Proposed(msgspec.Struct, frozen=True):
    """A tool that a review would accept. What is new is shown whole."""

    shown: tuple[Piece, ...]
    standing: Standing
    description: tuple[Piece, ...]
    schema: tuple[Piece, ...]
    claims: tuple[Piece, ...]
    changes: tuple[Difference, ...]


def proposed(found: Iterable[Stand]) -> tuple[Proposed, ...]:
    """Return what a reviewer reads of each tool that is offered."""
    return tuple(_proposed(stand, stand.definition) for stand in found if stand.definition is not None)


def _proposed(stand: Stand, definition: ToolDefinition) -> Proposed:
    claims = ", ".join(f"{name} {msgspec.json.encode(value).decode()}" for name, value in definition.annotations.items())
    says = clipped(str(definition.raw.get("description") or ""), DESCRIPTION)
    return Proposed(
        pieces(clipped(stand.tool, 200)), stand.standing, pieces(says), _schema(definition), pieces(clipped(claims, 400)),
        stand.changes,
    )  # fmt: skip


def _digest(definition: ToolDefinition | None) -> str:
    """Empty for what has no digest: nobody can accept it."""
    try:
        return definition.digest() if definition is not None else ""
    except Malformed:
        return ""


def _schema(definition: ToolDefinition | None) -> tuple[Piece, ...]:
    if definition is None or not definition.input_schema.get("properties"):
        return ()
    text = msgspec.json.format(msgspec.json.encode(definition.input_schema), indent=2).decode()
    return pieces(clipped(text, SCHEMA))


def _hints(server: Server, name: str, definition: ToolDefinition | None) -> tuple[str, ...]:
    """The hints that rules see, in words: what is not known is taken for the worst."""
    hints = effective_hints(server.tools.get(name), definition.annotations if definition is not None else {})
    words = [
        "read only" if hints.read_only else "destructive" if hints.destructive else "writes",
        "idempotent" if hints.idempotent and not hints.read_only else "",
        "open world" if hints.open_world else "closed world",
    ]
    return tuple(word for word in words if word)


def way_of(server: Server) -> str:
    """Return how a server is reached, without what may be a secret: no query, no name and password, no arguments."""
    if not server.url:
        return visible(server.command[0]) + (" …" if len(server.command) > 1 else "") if server.command else ""
    parts = urlsplit(server.url)
    return visible(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")
