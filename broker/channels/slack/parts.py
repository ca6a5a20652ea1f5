"""What the parts of this room share: made once, by `channel.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from broker.approvals.desk import Desk
from broker.approvals.feedback import Feedback
from broker.approvals.ports import RequestStore
from broker.channels.slack.api import SlackApi
from broker.channels.slack.face import Face
from broker.channels.slack.identities import Identities
from broker.channels.slack.ports import Clock, Names, Posts, Wanted
from broker.channels.slack.postman import Postman, Tempo
from broker.channels.slack.troubles import Troubles


@dataclass(frozen=True)
class SlackParts:
    """`default` is the conversation of requests whose rules name no channel, `fallback` the one for cards that get nowhere."""

    desk: Desk
    requests: RequestStore
    feedback: Feedback
    posts: Posts
    wanted: Wanted
    viewers: Names
    api: SlackApi
    postman: Postman
    identities: Identities
    troubles: Troubles
    clock: Clock
    tempo: Tempo
    mask_key: bytes
    public_url: str = ""
    default: str = ""
    fallback: str = ""
    support: Callable[[], Mapping[str, str]] = dict

    async def face(self) -> Face:
        """Return what rendering needs, with who is who in Slack now."""
        ids = await self.identities.slack_ids()
        groups = self.identities.usergroups()
        return Face(self.mask_key, slack_ids=ids, usergroups=groups, public_url=self.public_url, support=self.support())
