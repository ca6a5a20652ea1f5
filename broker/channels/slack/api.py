"""Slack's Web API through slack-sdk, without its retries: a lost reply may have posted, and posting again is a second card.

Every failure becomes one of three: asked to wait, away (perhaps carried out), refused for good.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from broker.errors import ChannelAway, ChannelBusy, ChannelRefused

SLACK = "https://slack.com/api/"
ANSWERS = "hooks.slack.com"
TIMEOUT = 10
# Refusals that say nothing about what was asked: the same call may go through later (docs.slack.dev, errors of each method).
_PASSING = frozenset(("internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org"))


class Workspace(msgspec.Struct, frozen=True):
    """What `auth.test` says of our token: the team, and who we are in it."""

    team: str
    bot_user: str
    name: str = ""
    scopes: tuple[str, ...] = ()
    app: str = ""


class SlackApi:
    """One workspace's Web API. Raises `ChannelBusy`, `ChannelAway` and `ChannelRefused`."""

    def __init__(self, token: str, session: aiohttp.ClientSession, *, url: str = SLACK, answers: str = ANSWERS) -> None:
        self._session = session
        self._answers = answers
        self._client = AsyncWebClient(token=token, base_url=url, timeout=TIMEOUT, session=session, retry_handlers=[])
        self._workspace: Workspace | None = None

    async def write(self, method: str, **body: Any) -> dict[str, Any]:
        """Call a method that takes JSON."""
        return await self._call(method, json=body)

    async def read(self, method: str, **fields: str) -> dict[str, Any]:
        """Call a method that takes a form alone."""
        return await self._call(method, data=fields)

    async def workspace(self, *, fresh: bool = False) -> Workspace:
        if self._workspace is None or fresh:
            told = await self._called("auth.test", data={})
            scopes = tuple(part.strip() for part in str(told.headers.get("x-oauth-scopes", "")).split(",") if part.strip())
            data = _data(told)
            self._workspace = Workspace(
                str(data.get("team_id", "")),
                str(data.get("user_id", "")),
                str(data.get("team", "")),
                scopes,
                str(data.get("app_id", "")),
            )
        return self._workspace

    async def answer(self, url: str, words: str, parts: list[dict[str, Any]] | None = None) -> bool:
        """Say something to one person alone, by the address that came with their click. False where that can't be done.

        Posts to Slack's own host and nowhere else, whatever the payload says.
        """
        spot = urlsplit(url)
        if spot.netloc != self._answers or not (spot.scheme == "https" or spot.hostname == "127.0.0.1"):
            return False
        body: dict[str, Any] = {"response_type": "ephemeral", "replace_original": False, "text": words}
        if parts is not None:
            body["blocks"] = parts
        try:
            async with self._session.post(url, json=body, allow_redirects=False, timeout=_patience()) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def _call(self, method: str, **content: Any) -> dict[str, Any]:
        return _data(await self._called(method, **content))

    async def _called(self, method: str, **content: Any) -> Any:
        try:
            return await self._client.api_call(method, **content)
        except SlackApiError as error:
            raise _meaning(error, method) from None
        except (SlackClientError, aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ChannelAway(f"Slack gave no sure answer to {method}: {type(error).__name__}") from None


@asynccontextmanager
async def slack_session() -> AsyncIterator[aiohttp.ClientSession]:
    """The HTTP session of the channel: no cookies are kept."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=_patience()) as session:
        yield session


def _patience() -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=TIMEOUT)


def _data(response: Any) -> dict[str, Any]:
    return response.data if isinstance(response.data, dict) else {}


def _meaning(error: SlackApiError, method: str) -> ChannelBusy | ChannelAway | ChannelRefused:
    response = error.response
    status, headers = getattr(response, "status_code", 0), getattr(response, "headers", {})
    data = getattr(response, "data", None)
    code = str(data.get("error", "")) if isinstance(data, dict) else ""
    if status == 429 or code == "ratelimited":
        return ChannelBusy(_seconds(headers.get("Retry-After", headers.get("retry-after", ""))))
    if status >= 500 or not code or code in _PASSING:
        return ChannelAway(f"Slack gave no sure answer to {method}: {status} {code}".rstrip())
    return ChannelRefused(code, method)


def _seconds(told: Any) -> float:
    """What `Retry-After` says, and a minute where it says nothing sensible."""
    text = str(told).strip()
    return float(text) if text.isdecimal() and len(text) < 6 else 60.0
