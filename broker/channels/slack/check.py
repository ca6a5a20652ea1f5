"""`broker slack check`: does the app have what it needs? Each finding has its mend. Nothing stays behind in any conversation."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable

import aiohttp
import msgspec

from broker.channels.slack.api import SlackApi
from broker.channels.slack.channel import SlackConfig
from broker.channels.slack.manifest import APP_SCOPE, SCOPES
from broker.channels.slack.places import target
from broker.channels.slack.troubles import mend
from broker.domain.people import People
from broker.errors import ChannelError, ChannelRefused

# Seconds by which clocks may differ: signatures are good for five minutes.
SKEW = 60
# A message that is planned this far ahead and taken back at once shows that posting works, and nobody sees it.
AHEAD = 30 * 86_400


class Found(msgspec.Struct, frozen=True):
    """`fine`: nothing to do. `mend` says what to do where it is not."""

    about: str
    fine: bool
    told: str
    mend: str = ""


async def checked(
    config: SlackConfig, people: People, conversations: Iterable[str], session: aiohttp.ClientSession, *, pages: str = ""
) -> AsyncIterator[Found]:  # fmt: skip
    """Look at token and scopes, Socket Mode, clock, pages, conversations, user groups and people, one after the other.

    `pages` is the broker's `public_url`.
    """
    api = SlackApi(config.bot_token, session, url=config.url)
    try:
        workspace = await api.workspace(fresh=True)
    except ChannelError as error:
        yield Found("bot token", False, error.message, _mend(error))
        return
    yield Found("bot token", True, f"workspace {workspace.name or workspace.team}, bot user {workspace.bot_user}")
    missing = sorted(set(SCOPES) - set(workspace.scopes)) if workspace.scopes else []
    told = f"missing: {', '.join(missing)}" if missing else "all there" if workspace.scopes else "Slack does not tell them"
    yield Found("scopes", not missing, told, "" if not missing else mend("missing_scope"))
    yield await _clock(config, session)
    yield _pages(config, pages)
    if config.app_token:
        yield await _socket(SlackApi(config.app_token, session, url=config.url))
    for place in dict.fromkeys(conversations):
        yield await _posting(api, place)
    for group in people.groups.values():
        if group.slack:
            yield await _usergroup(api, group.name, group.slack)
    for person in people.persons.values():
        if person.slack_id:
            yield await _person(api, person.id, person.slack_id)


def _mend(error: ChannelError) -> str:
    return mend(error.reason) if isinstance(error, ChannelRefused) else "see whether this machine reaches slack.com"


async def _clock(config: SlackConfig, session: aiohttp.ClientSession) -> Found:
    """Slack's own time, from the head of an answer."""
    try:
        async with session.get(config.url + "api.test", allow_redirects=False) as response:
            theirs = aiohttp.helpers.parse_http_date(response.headers.get("Date", ""))
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return Found(
            "clock", False, f"Slack was not reached: {type(error).__name__}", "see whether this machine reaches slack.com"
        )
    if theirs is None:
        return Found("clock", True, "Slack does not tell the time")
    apart = abs(time.time() - theirs.timestamp())
    fine = apart <= SKEW
    return Found("clock", fine, f"{apart:.0f} s from Slack's", "" if fine else "run a time service: signatures would be refused")


def _pages(config: SlackConfig, url: str) -> Found:
    """Cards link to pages, accounts are connected there, and over HTTP Slack itself has to get in."""
    if config.signing_secret and not config.app_token and not url.startswith("https://"):
        return Found("pages", False, f"Slack can't send to {url or 'an address that is not set'}", f"{_URL}, with https://")
    return Found("pages", bool(url), url or "cards can't be opened and accounts not connected", "" if url else _URL)


_URL = "set BROKER_PUBLIC_URL to the address by which people reach the broker"


async def _socket(api: SlackApi) -> Found:
    try:
        await api.read("apps.connections.open")
    except ChannelError as error:
        return Found(
            "app token", False, error.message, f"make an app-level token with {APP_SCOPE}, and set BROKER_SLACK_APP_TOKEN"
        )
    return Found("app token", True, "Socket Mode opens")


async def _posting(api: SlackApi, place: str) -> Found:
    """Plan a message for a far day and take it back: the app may post, and nobody saw it."""
    try:
        told = await api.write(
            "chat.scheduleMessage", channel=target(place), text="Approvals: a check", post_at=int(time.time()) + AHEAD
        )
        planned = str(told.get("scheduled_message_id", ""))
        await api.write("chat.deleteScheduledMessage", channel=str(told.get("channel", "")), scheduled_message_id=planned)
    except ChannelError as error:
        return Found(place, False, error.message, _mend(error))
    return Found(place, True, "the app may post")


async def _usergroup(api: SlackApi, group: str, slack: str) -> Found:
    try:
        members = (await api.read("usergroups.users.list", usergroup=slack)).get("users") or []
    except ChannelError as error:
        return Found(f"group {group}", False, error.message, "put the user group's id (S0…) into people.yaml")
    fine = bool(members)
    return Found(f"group {group}", fine, f"{len(members)} members in Slack", "" if fine else "add members to the user group")


async def _person(api: SlackApi, person: str, slack_id: str) -> Found:
    try:
        account = (await api.read("users.info", user=slack_id)).get("user") or {}
    except ChannelError as error:
        return Found(person, False, error.message, "put the member id (U0…) into people.yaml: profile, Copy member ID")
    fine = not account.get("deleted") and not account.get("is_bot")
    return Found(
        person, fine, str(account.get("real_name") or account.get("name") or slack_id), "" if fine else "the account can't decide"
    )
