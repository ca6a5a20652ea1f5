"""What rendering needs beside the request, and what buttons carry back."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from broker.channels.slack import blocks
from broker.channels.slack.blocks import Block
from broker.domain.requests import RequestId


class Face(msgspec.Struct, frozen=True):
    """`key` makes fingerprints of secrets; `slack_ids` maps persons, and `usergroups` groups, to Slack's own ids.

    `public_url` is where the pages are; empty: no links. `support` says of servers where their users ask.
    """

    key: bytes
    slack_ids: Mapping[str, str] = {}
    usergroups: Mapping[str, str] = {}
    public_url: str = ""
    support: Mapping[str, str] = {}

    def page(self, request_id: RequestId) -> str:
        return f"{self.public_url.rstrip('/')}/r/{request_id}" if self.public_url else ""

    def inbox(self) -> str:
        return f"{self.public_url.rstrip('/')}/" if self.public_url else ""

    def person(self, who: str) -> Block:
        """A person as Slack knows them, or by the name that we know."""
        return blocks.user(self.slack_ids[who]) if who in self.slack_ids else blocks.line(who, 120, bold=True)

    def group(self, name: str) -> Block:
        """A group: mentioned where Slack has it, else by name."""
        return blocks.usergroup(self.usergroups[name]) if name in self.usergroups else blocks.line(name, 120, bold=True)


class Pressed(msgspec.Struct, frozen=True):
    """What a button carries: the request, the digest of its call, the view that was decided on, and the place of the card."""

    request: RequestId
    digest: str = ""
    view: str = ""
    place: str = ""

    @property
    def value(self) -> str:
        return f"{self.request} {self.digest} {self.view} {self.place}"


def pressed(value: str) -> Pressed | None:
    """Return what a button carried, None for what is none of ours."""
    parts = value.split(" ")
    return Pressed(RequestId(parts[0]), *parts[1:]) if len(parts) == 4 and parts[0] else None
