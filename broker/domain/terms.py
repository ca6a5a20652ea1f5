"""What is published, proposed and granted about an enrolled server: documents, terms, the slots of a review. Pure data."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from broker.domain.servers import ToolFacts


class Slot(StrEnum):
    """Who has to look at a server before it is approved."""

    SECURITY = "security"
    LEGAL_PRIVACY = "legal_privacy"
    GENAI = "genai"


class SlotState(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    NOT_APPLICABLE = "n/a"

    @property
    def passed(self) -> bool:
        return self in (SlotState.APPROVED, SlotState.NOT_APPLICABLE)


class Actor(msgspec.Struct, frozen=True):
    """Who moves a server, with the groups of this moment."""

    person: str
    groups: tuple[str, ...] = ()


class Keeper(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who answers for a server: `group` are its people, `team` their name, `support` where users ask."""

    group: str
    team: str = ""
    support: tuple[str, ...] = ()


class Terms(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a review grants: group -> tools (`*` is every group, and every accepted tool), facts of each tool, sign-in mode.

    `sign_in`: `person` means that a person has to stand behind each call, `any` that services and agents may call alone.
    """

    groups: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    tools: dict[str, ToolFacts] = msgspec.field(default_factory=dict)
    sign_in: str = ""


class Version(msgspec.Struct, frozen=True, omit_defaults=True):
    """One published server.json. The document never changes; `status` is the official registry's."""

    version: str
    document: dict[str, Any]
    by: str
    published_at: datetime
    updated_at: datetime
    status: str = "active"
    message: str = ""
    status_at: datetime | None = None


class SlotReview(msgspec.Struct, frozen=True, omit_defaults=True):
    """One slot. `shown` is the digest of what its reviewer looked at; `ticket` a link to where it is worked on."""

    state: SlotState = SlotState.PENDING
    by: str = ""
    at: datetime | None = None
    reason: str = ""
    ticket: str = ""
    shown: str = ""


class Proposal(msgspec.Struct, frozen=True, omit_defaults=True):
    """What waits for its reviews: one version, and the terms that it asks for."""

    version: str
    terms: Terms
    by: str
    at: datetime
    slots: dict[Slot, SlotReview] = msgspec.field(default_factory=lambda: dict.fromkeys(Slot, SlotReview()))

    @property
    def passed(self) -> bool:
        return all(self.slots[slot].state.passed for slot in Slot)

    @property
    def missing(self) -> tuple[str, ...]:
        """The slots that stand in the way, with their state."""
        return tuple(f"{slot} {self.slots[slot].state}" for slot in Slot if not self.slots[slot].state.passed)


class Grant(msgspec.Struct, frozen=True, omit_defaults=True):
    """Terms that a finished review put in force: numbered, attributed, never changed."""

    number: int
    version: str
    terms: Terms
    by: str
    at: datetime
    slots: dict[Slot, SlotReview]


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that happened to a server, for its page."""

    what: str
    by: str
    at: datetime
    why: str = ""
