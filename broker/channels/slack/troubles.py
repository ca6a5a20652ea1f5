"""What does not work in Slack, by place, with the mend: for `broker doctor`, the web and the log."""

from __future__ import annotations

from datetime import datetime

import msgspec
import structlog

from broker.channels.slack.ports import Clock, Names

log = structlog.get_logger()

TOKEN = "the bot token"
# Refusals of the token itself: nothing at all can be delivered.
TOKEN_DEAD = frozenset(
    ("invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "no_permission", "org_login_required",
     "not_allowed_token_type", "missing_scope", "ekm_access_denied", "access_denied", "team_access_not_granted")
)  # fmt: skip
# Refusals of what was to be shown, not of where.
CONTENT = frozenset(("invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "msg_too_long", "no_text"))

_MENDS = {
    "channel_not_found": "invite the app to the conversation (/invite), and check its name in the policy",
    "not_in_channel": "invite the app to the conversation: /invite @Approvals",
    "is_archived": "unarchive the conversation, or name another in the policy",
    "restricted_action": "let the app post in this conversation: its posting permissions forbid it",
    "missing_scope": "install the app again with the manifest of `broker slack manifest`",
    "invalid_auth": "set BROKER_SLACK_BOT_TOKEN to the Bot User OAuth Token of the installed app",
    "token_revoked": "install the app again, and set BROKER_SLACK_BOT_TOKEN to its new token",
    "account_inactive": "install the app again: its bot user was removed",
}


class Trouble(msgspec.Struct, frozen=True):
    """`reason` is Slack's own code; `since` the first time, `count` how often since then."""

    place: str
    reason: str
    mend: str
    since: datetime
    count: int = 1


def mend(reason: str) -> str:
    """Return what an operator can do about a refusal."""
    return _MENDS.get(reason, "run `broker slack check`")


class Troubles:
    def __init__(self, names: Names, clock: Clock) -> None:
        self._names = names
        self._clock = clock
        self._noted: set[str] = set()

    async def note(self, place: str, reason: str) -> None:
        held = await self._names.get(place)
        before = msgspec.json.decode(held, type=Trouble) if held else None
        same = before is not None and before.reason == reason
        since, count = (before.since, before.count + 1) if before is not None and same else (self._clock(), 1)
        if not same:
            log.warning("slack.trouble", place=place, reason=reason, mend=mend(reason))
        self._noted.add(place)
        await self._names.put(place, msgspec.json.encode(Trouble(place, reason, mend(reason), since, count)))

    async def over(self, place: str) -> None:
        """The place works. Costs nothing where this broker knows of no trouble there."""
        if place in self._noted:
            self._noted.discard(place)
            await self._names.delete(place)

    async def all(self) -> list[Trouble]:
        rows = (await self._names.all()).values()
        return sorted((msgspec.json.decode(row, type=Trouble) for row in rows), key=lambda trouble: trouble.place)
