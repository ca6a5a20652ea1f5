"""Slack's own framework as the judge of what we take: the bytes that our tests send as Slack are good for slack-bolt, too."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from slack_bolt.async_app import AsyncApp, AsyncBoltRequest
from slack_bolt.authorization import AuthorizeResult
from slack_sdk.web.async_client import AsyncWebClient

from broker.domain.requests import RequestState
from broker.domain.reviews import Verdict
from tests.channels.slack.bench import Bench
from tests.channels.slack.conftest import SECRET
from tests.channels.slack.test_batch import cards_each, offered, opened, sent
from tests.fakes.slack_front import BOT_USER


class Bolt:
    """An app of slack-bolt with our secret. `heard` is what its listeners understood."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.app = AsyncApp(signing_secret=SECRET, client=AsyncWebClient(), authorize=authorized, process_before_response=True)
        for action in ("approve", "reject", "together0"):
            self.app.action(action)(self._heard)
        for form in ("rejection", "batch"):
            self.app.view(form)(self._heard)
        self.app.command("/approvals")(self._heard)
        for event in ("app_home_opened", "message_metadata_posted"):
            self.app.event(event)(self._happened)

    async def _heard(self, ack: Any, body: dict[str, Any]) -> None:
        actions = body.get("actions") or [{}]
        self.heard.append(actions[0].get("action_id") or body.get("command") or body["view"]["callback_id"])
        await ack()

    async def _happened(self, event: dict[str, Any]) -> None:
        self.heard.append(event["type"])

    async def status(self, headers: dict[str, str], body: bytes) -> int:
        request = AsyncBoltRequest(body=body.decode(), headers={name.lower(): [value] for name, value in headers.items()})
        return int((await self.app.async_dispatch(request)).status)


async def authorized(**_: object) -> AuthorizeResult:
    return AuthorizeResult(enterprise_id=None, team_id="T1", bot_token="xoxb-test", bot_id="B1", bot_user_id="UB")


async def test_bolt_understands_everything_that_we_take(bench: Bench) -> None:
    dana, slack, bolt = await bench.slack.user("dana"), bench.slack, Bolt()
    bench.policies.rules(count=2)
    async with bench.running():
        request = await bench.parked()
        card = await bench.card()
        await slack.interact(await slack.click("refunds", card["ts"], "approve", dana))
        await slack.interact(await slack.click("refunds", card["ts"], "reject", await slack.user("fay")))
        await slack.until(lambda: slack.modals)
        await slack.interact(slack.submission(await slack.user("fay"), preset="0"))
        await slack.command("list", dana)
        await slack.event({"type": "app_home_opened", "user": dana, "tab": "home"})
        metadata = {"event_type": "approval_card", "event_payload": {"request": request.id, "place": "#refunds"}}
        await slack.event({"type": "message_metadata_posted", "user_id": BOT_USER, "metadata": metadata})
        done = await bench.reached(request, RequestState.REJECTED)
    assert [(one.reviewer, one.verdict) for one in done.reviews] == [
        ("dana@example.com", Verdict.APPROVE), ("fay@example.com", Verdict.REJECT),
    ]  # fmt: skip
    assert [await bolt.status(headers, body) for headers, body in slack.sent] == [200] * 6
    assert bolt.heard == ["approve", "reject", "rejection", "/approvals", "app_home_opened", "message_metadata_posted"]


async def test_bolt_understands_the_form_of_a_batch(bench: Bench) -> None:
    dana, slack, bolt = await bench.slack.user("dana"), bench.slack, Bolt()
    cards_each(bench, 1)
    async with bench.running(release=False):
        requests = [await bench.parked(amount=amount) for amount in range(3)]
        view = await opened(bench, dana, "2 of 2 requests wait")
        await sent(bench, dana, view, dict.fromkeys(offered(view).values(), "approve"))
        for request in requests:
            await bench.reached(request, RequestState.APPROVED)
    assert [await bolt.status(headers, body) for headers, body in slack.sent] == [200] * 2
    assert bolt.heard == ["together0", "batch"]


async def test_bolt_and_we_refuse_the_same_bytes(bench: Bench) -> None:
    slack, bolt = bench.slack, Bolt()
    body = urlencode({"payload": '{"type": "block_actions", "user": {"id": "U1"}, "team": {"id": "T1"}, "actions": []}'}).encode()
    async with bench.running():
        for spoilt in ({"skew": -301}, {"skew": 301}, {"tamper": b"&x=1"}, {"cut": 1}, {"secret": "another"}):
            assert (await slack.post("/slack/interactions", body, **spoilt)).status == 401, spoilt
            assert await bolt.status(*slack.sent[-1]) == 401, spoilt
        assert (await slack.post("/slack/interactions", body)).status == 200
    assert bolt.heard == []
