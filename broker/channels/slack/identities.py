"""Who clicked: from a Slack user to a person that policies know. Whoever can't be known is refused, with the reason.

In this order: a link that the person made, `slack_id` in people.yaml, the e-mail address where that is switched on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from broker.channels.slack.api import SlackApi
from broker.channels.slack.ports import Directory, Names
from broker.domain.people import People
from broker.errors import ChannelBusy, ChannelError

# Seconds that Slack's answers about users, its user groups and our links are believed.
USERS, GROUPS, LINKS = 300.0, 300.0, 5.0
# The same for user groups at a release, and how long a failure counts there: `usergroups.users.list` is tier 2, 20 a minute.
RELEASE, FAILED = 5.0, 5.0


class Known(msgspec.Struct, frozen=True):
    """`how`: link, directory or e-mail. `groups` are Slack user group ids that the policy folder names."""

    person: str
    how: str
    groups: tuple[str, ...] = ()


class Stranger(msgspec.Struct, frozen=True):
    """Nobody that may decide here, and why."""

    why: str


def signed(view: str, team: str, user: str, how: str) -> str:
    """Return what is kept with a review that was made here: the view, and the account behind it."""
    return f"{view} slack:{team}:{user}:{how}"


def account_of(signed: str) -> str:
    """Return the Slack user id of a review, empty where it was not made here."""
    parts = signed.rpartition(" slack:")[2].split(":")
    return parts[1] if len(parts) == 3 else ""


_WHO = "I can't tell who you are in the policies. Type `/approvals link` to connect this account."


class Identities:
    """Maps Slack users to persons, and persons to Slack users."""

    def __init__(self, api: SlackApi, links: Names, directory: Directory, *, by_email: bool = False) -> None:
        self._api = api
        self._links = links
        self._directory = directory
        self._by_email = by_email
        self._users: dict[str, tuple[float, dict[str, Any]]] = {}
        self._members: dict[str, tuple[float, frozenset[str]]] = {}
        self._failed: dict[str, tuple[float, ChannelError]] = {}
        self._linked: tuple[float, Mapping[str, str]] = (float("-inf"), {})

    async def who(self, team: str, user: str) -> Known | Stranger:
        """Return the person behind a Slack user, or why there is none. Slack not answering is a reason, too."""
        try:
            home = (await self._api.workspace()).team
            account = await self._account(user)
        except ChannelError:
            return Stranger("Slack does not say who you are right now. Decide on the page, or try again in a moment.")
        if why := unfit(account, team, home):
            return Stranger(why)
        return await self._mapped(home, user, account)

    async def _mapped(self, team: str, user: str, account: Mapping[str, Any]) -> Known | Stranger:
        people = self._directory()
        person, how = (await self._links_now()).get(f"{team} {user}", ""), "link"
        if not person:
            person, how = _one([one.id for one in people.persons.values() if one.slack_id == user]), "directory"
        if not person and self._by_email:
            person, how = _by_email(account, people), "e-mail"
        return Known(person, how, await self._groups(user, people)) if person else Stranger(_WHO)

    async def slack_ids(self) -> dict[str, str]:
        """Return person -> Slack user id of everybody that we know in Slack. Needs no call of Slack's."""
        known = {person.id: person.slack_id for person in self._directory().persons.values() if person.slack_id}
        return known | {person: place.split(" ")[1] for place, person in (await self._links_now()).items()}

    def usergroups(self) -> dict[str, str]:
        """Return group -> Slack user group id, as the policy folder names them."""
        return {group.name: group.slack for group in self._directory().groups.values() if group.slack}

    async def members(self, group: str) -> frozenset[str]:
        """Return the Slack ids of a group's members: those written down, and those of its Slack user group."""
        people = self._directory()
        ids = await self.slack_ids()
        written = {ids[person] for person in people.members(group) if person in ids}
        slack = people.groups[group].slack if group in people.groups else ""
        try:
            return frozenset(written | (await self._usergroup(slack) if slack else frozenset()))
        except ChannelError:
            return frozenset(written)

    async def still_in(self, user: str, usergroup: str) -> bool:
        """Ask Slack, now, whether a user group holds a user. Raises `ChannelError` where Slack does not say."""
        failed_until, error = self._failed.get(usergroup, (float("-inf"), None))
        if error is not None and time.monotonic() < failed_until:
            raise error
        try:
            return user in await self._usergroup(usergroup, within=RELEASE)
        except ChannelError as failed:
            wait = failed.after if isinstance(failed, ChannelBusy) else FAILED
            self._failed[usergroup] = (time.monotonic() + wait, failed)
            raise

    async def name(self, user: str) -> str:
        """Return what an account is called in Slack, with its address; its id where Slack does not say."""
        try:
            account = await self._account(user)
        except ChannelError:
            return user
        profile = account.get("profile") or {}
        parts = (profile.get("real_name") or account.get("real_name"), account.get("name"), profile.get("email"))
        return ", ".join(str(part) for part in parts if part) or user

    async def link(self, team: str, user: str, person: str) -> None:
        """Connect a Slack user with a person; a person has one Slack user."""
        for place, other in (await self._links_now()).items():
            if other == person:
                await self._links.delete(place)
        await self._links.put(f"{team} {user}", person.encode())
        self._linked = (float("-inf"), {})

    async def _links_now(self) -> Mapping[str, str]:
        read_at, links = self._linked
        if time.monotonic() - read_at > LINKS:
            links = {place: person.decode() for place, person in (await self._links.all()).items()}
            self._linked = (time.monotonic(), links)
        return links

    async def _account(self, user: str) -> dict[str, Any]:
        read_at, account = self._users.get(user, (float("-inf"), {}))
        if time.monotonic() - read_at > USERS:
            account = (await self._api.read("users.info", user=user)).get("user") or {}
            self._users[user] = (time.monotonic(), account)
        return account

    async def _groups(self, user: str, people: People) -> tuple[str, ...]:
        """The user groups that the policy folder names and that hold this user; one that Slack won't tell counts for nobody."""
        held = []
        for name in sorted({group.slack for group in people.groups.values() if group.slack}):
            try:
                if user in await self._usergroup(name):
                    held.append(name)
            except ChannelError:
                continue
        return tuple(held)

    async def _usergroup(self, name: str, *, within: float = GROUPS) -> frozenset[str]:
        read_at, members = self._members.get(name, (float("-inf"), frozenset()))
        if time.monotonic() - read_at > within:
            told = await self._api.read("usergroups.users.list", usergroup=name)
            members = frozenset(str(one) for one in told.get("users") or ())
            self._members[name] = (time.monotonic(), members)
        return members


def unfit(account: Mapping[str, Any], team: str, home: str) -> str:
    """Return why an account may not decide whoever it is, empty when nothing speaks against it."""
    if not account or account.get("deleted"):
        return "This account is switched off."
    if account.get("is_bot") or account.get("is_workflow_bot") or account.get("id") == "USLACKBOT":
        return "Bots can't decide."
    if not home or team != home or str(account.get("team_id", home)) != home or account.get("is_stranger"):
        return "Only members of the workspace can decide, and this account belongs to another."
    if account.get("is_restricted") or account.get("is_ultra_restricted"):
        return "Guests can't decide."
    return ""


def _by_email(account: Mapping[str, Any], people: People) -> str:
    """The one person whose id is this address, exactly. An address that Slack has not confirmed is none."""
    profile = account.get("profile") or {}
    address = str(profile.get("email") or "")
    if not address or account.get("is_email_confirmed") is False:
        return ""
    known = {*people.persons, *(member for group in people.groups.values() for member in group.members)}
    return _one([person for person in known if person == address])


def _one(found: list[str]) -> str:
    """The only one; none where there are several, since then nobody can tell."""
    return found[0] if len(found) == 1 else ""
