"""What the publisher of a server.json says for the registry here: who answers for it, and the terms that a review is asked for.

It stands in the document's own `_meta`, so that one file is all there is:

    "_meta": {"io.modelcontextprotocol.registry/publisher-provided": {"approval-broker": {
      "owner": "payments", "team": "Payments", "support": ["slack:#payments-help"], "groups": {"support": ["refund_get"]},
      "tools": {"refund_get": {"read_only": true, "minutes_saved": 3}}, "sign_in": "person"}}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from broker.domain.servers import EVERY, ToolFacts
from broker.domain.terms import Keeper, Terms
from broker.errors import EnrolmentRefused
from broker.registry.server_json import PUBLISHER

OURS = "approval-broker"

Name = Annotated[str, msgspec.Meta(pattern=r"^[^\s\[\]{}?]{1,128}$")]
Line = Annotated[str, msgspec.Meta(pattern=r"^[^\r\n\x00-\x1f]{1,200}$")]


class OfferedFacts(ToolFacts, frozen=True, forbid_unknown_fields=True):
    """Facts as a publisher states them; they count once they were reviewed."""

    minutes_saved: Annotated[float, msgspec.Meta(ge=0, le=100_000)] = 0.0


class Offer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`owner` is a group of people.yaml. `groups` is a list, or a table with the tools of each."""

    owner: Name
    team: Line | Literal[""] = ""
    support: Annotated[tuple[Line, ...], msgspec.Meta(max_length=10)] = ()
    groups: dict[Name, tuple[Name, ...]] | tuple[Name, ...] = ()
    tools: dict[Name, OfferedFacts] = msgspec.field(default_factory=dict)
    sign_in: Literal["any", "person", ""] = ""

    @property
    def keeper(self) -> Keeper:
        return Keeper(self.owner, self.team, self.support)

    @property
    def terms(self) -> Terms:
        groups: dict[str, tuple[str, ...]] = {}
        groups |= self.groups if isinstance(self.groups, dict) else dict.fromkeys(self.groups, (EVERY,))
        tools = {name: ToolFacts(**msgspec.structs.asdict(facts)) for name, facts in self.tools.items()}
        return Terms(groups, tools, self.sign_in)


def offer_of(document: Mapping[str, Any]) -> Offer:
    """Read it. Raises `EnrolmentRefused`, which says what is missing or wrong, and where."""
    where = f"`_meta` › `{PUBLISHER}` › `{OURS}`"
    extras = (document.get("_meta") or {}).get(PUBLISHER)
    told = extras.get(OURS) if isinstance(extras, dict) else None
    if not isinstance(told, dict) or not told.get("owner"):
        raise EnrolmentRefused(f"{where} has to name the `owner`: the group of people who answer for the server")
    try:
        return msgspec.convert(told, Offer, strict=True)
    except msgspec.ValidationError as error:
        raise EnrolmentRefused(f"{where}: {error}") from None
