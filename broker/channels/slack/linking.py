"""Connecting a Slack account with a person: a code that one account sees in Slack, used once by a person signed in on the web."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import timedelta

import msgspec

from broker.channels.slack.identities import Identities
from broker.channels.slack.ports import Codes

KIND = "slack-link"
GOOD_FOR = timedelta(minutes=10)
_CODE = re.compile(r"[A-Za-z0-9_-]{43}")


class Account(msgspec.Struct, frozen=True):
    """A Slack account that asks to be connected. `name` has to be shown where it is confirmed: the code may have been sent on."""

    team: str
    user: str
    name: str = ""


class Linking:
    """`offer` in Slack, `look` and `confirm` on the web."""

    def __init__(self, codes: Codes, identities: Identities, *, public_url: str) -> None:
        self._codes = codes
        self._identities = identities
        self._public_url = public_url.rstrip("/")

    async def offer(self, team: str, user: str) -> str:
        """Return a one-time address for this account, empty where the broker has no pages."""
        if not self._public_url:
            return ""
        account = Account(team, user, await self._identities.name(user))
        code = secrets.token_urlsafe(32)
        holder = f"{account.team} {account.user}"
        await self._codes.put(KIND, _hashed(code), msgspec.json.encode(account), holder=holder, ttl=GOOD_FOR)
        return f"{self._public_url}/slack/link/{code}"

    async def look(self, code: str) -> Account | None:
        """Return whose account a code connects, without using it up; None for what is no code, or no longer."""
        record = await self._codes.get(KIND, _hashed(code)) if _CODE.fullmatch(code) else None
        return msgspec.json.decode(record, type=Account) if record else None

    async def confirm(self, code: str, person: str) -> Account | None:
        """Use a code up and connect its account with the person who is signed in. None when it was no longer good."""
        record = await self._codes.take(KIND, _hashed(code)) if _CODE.fullmatch(code) else None
        if record is None:
            return None
        account = msgspec.json.decode(record, type=Account)
        await self._identities.link(account.team, account.user, person)
        return account


def _hashed(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
