"""Servers of the registry as pages show them: who answers for them, who looked at them, how they are. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import msgspec

from broker.channels.web.arguments import Piece, pieces
from broker.domain.enrolment import Enrolment, Lifecycle
from broker.domain.servers import Server
from broker.domain.terms import Keeper, Slot, SlotReview
from broker.domain.text import clipped, visible
from broker.registry.pulses import KEPT, Live

SLOTS = {Slot.SECURITY: "Security", Slot.LEGAL_PRIVACY: "Legal and privacy", Slot.GENAI: "GenAI"}
STATES = {
    "declared": ("Declared in files", ""), "experiment": ("Experiment", "expired"), "in_review": ("In review", "pending"),
    "approved": ("Approved", "approved"), "suspended": ("Suspended", "rejected"), "retired": ("Retired", "rejected"),
}  # fmt: skip
"""Words for each lifecycle, and the colour that stands beside them."""


class Support(msgspec.Struct, frozen=True):
    """Where users ask. `link` is empty for what is no address."""

    text: str
    link: str = ""


class Beat(msgspec.Struct, frozen=True):
    """One bar of the strip, in its units."""

    x: int
    up: bool
    told: str


class Strip(msgspec.Struct, frozen=True):
    """How a server answered lately. `share` is the percentage of the answers."""

    beats: tuple[Beat, ...]
    state: str
    share: int
    at: datetime
    latency_ms: int | None
    last_up: datetime | None

    @property
    def width(self) -> int:
        return KEPT * 6


class Review(msgspec.Struct, frozen=True):
    """One slot. `link` is where it is worked on, empty unless it is a web address."""

    slot: str
    label: str
    state: str
    by: str
    at: datetime | None
    reason: tuple[Piece, ...]
    link: str


class Entry(msgspec.Struct, frozen=True):
    """One server in the list and at the head of its page. `name` is the official one, empty for servers of files."""

    local: str
    name: str
    title: tuple[Piece, ...]
    description: tuple[Piece, ...]
    lifecycle: str
    team: str
    support: tuple[Support, ...]
    strip: Strip | None
    problem: str
    tools: int
    drifted: int
    missing: tuple[str, ...]
    until: datetime | None

    @property
    def state(self) -> tuple[str, str]:
        return STATES[self.lifecycle]

    @property
    def health(self) -> str:
        if self.strip is None:
            return "wrong" if self.problem else "waiting"
        return "fine" if self.strip.state == "up" else "wrong"

    def matches(self, sought: str, lifecycle: str, health: str) -> bool:
        texts = (self.local, self.name, self.team, *(piece.text for piece in (*self.title, *self.description)))
        found = not sought or any(sought.casefold() in text.casefold() for text in texts)
        return found and lifecycle in ("", self.lifecycle) and health in ("", self.health)


class Counts(msgspec.Struct, frozen=True):
    """What is known of a server's tools: how many, and how many of them are no longer as accepted."""

    tools: int = 0
    drifted: int = 0


def declared_entry(server: Server, live: Live | None, problem: str, counts: Counts) -> Entry:
    support = (support_of(server.owner.contact),) if server.owner.contact else ()
    team = visible(server.owner.team)
    return Entry(
        server.name, "", (), (), "experiment" if server.experiment else "declared", team, support, strip_of(live), problem,
        counts.tools, counts.drifted,
        (), None,
    )  # fmt: skip


def enrolled_entry(enrolment: Enrolment, live: Live | None, problem: str, counts: Counts, *, inside: bool) -> Entry:
    """`inside`: for its own people and reviewers, who read why it does not answer and what its reviews lack."""
    version = enrolment.live or enrolment.versions[-1]
    document, keeper = version.document, enrolment.keeper
    missing = enrolment.proposal.missing if enrolment.proposal and inside else ()
    called = enrolment.lifecycle in (Lifecycle.APPROVED, Lifecycle.EXPERIMENT)
    return Entry(
        enrolment.local, enrolment.name, pieces(clipped(str(document.get("title", "")), 100)),
        pieces(clipped(str(document["description"]), 100)), enrolment.lifecycle.value, visible(keeper.team or keeper.group),
        _support(keeper), strip_of(live) if called else None, problem if called and inside else "", counts.tools, counts.drifted,
        missing, enrolment.until,
    )  # fmt: skip


def reviews_of(slots: Mapping[Slot, SlotReview]) -> tuple[Review, ...]:
    """Every slot, in their order."""
    return tuple(_review(slot, slots.get(slot, SlotReview())) for slot in Slot)


def strip_of(live: Live | None) -> Strip | None:
    """The newest bar stands at the right."""
    if live is None:
        return None
    start = KEPT - len(live.history)
    beats = tuple(
        Beat((start + index) * 6, pulse.up, f"{pulse.seconds * 1000:.0f} ms" if pulse.up else "no answer")
        for index, pulse in enumerate(live.history)
    )
    share = round(100 * sum(beat.up for beat in beats) / len(beats))
    return Strip(beats, live.state, share, live.checked_at, live.latency_ms, live.last_up)


def chosen(entries: Collection[Entry], sought: str, lifecycle: str, health: str) -> Sequence[Entry]:
    """The entries that fit a search, by name."""
    return sorted((one for one in entries if one.matches(sought, lifecycle, health)), key=lambda one: one.local.casefold())


def support_of(text: str) -> Support:
    """Only a web or mail address becomes a link."""
    if text.startswith("https://"):
        return Support(text.removeprefix("https://"), text)
    name, at, host = text.removeprefix("mailto:").partition("@")
    if at and name and "." in host and text.isascii() and not set(text) & set(" <>\"'?&"):
        return Support(f"{name}@{host}", f"mailto:{name}@{host}")
    return Support(visible(clipped(text.removeprefix("slack:"), 200)))


def _support(keeper: Keeper) -> tuple[Support, ...]:
    return tuple(map(support_of, keeper.support))


def _review(slot: Slot, review: SlotReview) -> Review:
    link = review.ticket if review.ticket.startswith("https://") else ""
    return Review(
        slot.value, SLOTS[slot], review.state.value, review.by, review.at, pieces(clipped(review.reason, 2_000)), link
    )  # fmt: skip
