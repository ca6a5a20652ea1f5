"""The HTTP door: the order of checks, what is kept before it is acknowledged, and that nothing makes it a 500."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest

from broker.channels.slack.arrivals import Carded, Command, Form, Home, Press, decode
from broker.channels.slack.http import LIMIT, SlackHttp
from broker.channels.slack.signature import signed
from broker.store.connection import Commands
from broker.store.open import Store
from broker.store.slack import Arrivals

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
NOW = 1_795_000_000.0


class Door:
    """The app under test, spoken to as a server speaks to it."""

    def __init__(self, store: Arrivals) -> None:
        self.woken = 0
        self.arrivals = store
        self.app = SlackHttp(SECRET, store, arrived=self._woken, now=lambda: NOW)

    def _woken(self) -> None:
        self.woken += 1

    async def post(
        self, path: str, body: bytes, heads: Mapping[str, str] | None = None, *, method: str = "POST", size: int = 65_536
    ) -> tuple[int, bytes]:
        stamp = str(int(NOW))
        signature = signed(SECRET.encode(), stamp.encode(), body).decode()
        headers = {"x-slack-request-timestamp": stamp, "x-slack-signature": signature, **(heads or {})}
        chunks = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
        sent: list[Any] = []

        async def receive() -> Any:
            part = chunks.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(chunks)}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "path": path, "method": method,
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
        }  # fmt: skip
        await self.app(scope, receive, send)
        return sent[0]["status"], sent[1]["body"]

    async def kept(self) -> list[Any]:
        return [decode(body) for _, body in await self.arrivals.take(100)]


@pytest.fixture
def door(store: Store) -> Door:
    return Door(store.slack.arrivals)


def interaction(**payload: Any) -> bytes:
    told = {"type": "block_actions", "user": {"id": "U1", "team_id": "T1"}, "team": {"id": "T1"}, **payload}
    return urlencode({"payload": json.dumps(told)}).encode()


CLICK = interaction(
    actions=[{"action_id": "approve", "value": "id digest view"}], container={"message_ts": "1.2", "channel_id": "C1"},
    response_url="https://hooks.slack.com/actions/x", trigger_id="t1",
)  # fmt: skip


async def test_a_click_is_kept_before_it_is_acknowledged(door: Door) -> None:
    assert await door.post("/slack/interactions", CLICK) == (200, b"")
    assert door.woken == 1
    assert await door.kept() == [
        Press("T1", "U1", "approve", "id digest view", "C1", "1.2", "https://hooks.slack.com/actions/x", "t1")
    ]


async def test_a_replay_is_refused_and_kept_once(door: Door) -> None:
    assert (await door.post("/slack/interactions", CLICK))[0] == 200
    assert (await door.post("/slack/interactions", CLICK))[0] == 401
    assert len(await door.kept()) == 1


@pytest.mark.parametrize(
    "heads",
    [
        {"x-slack-signature": "v0=00"},
        {"x-slack-signature": signed(SECRET.encode(), str(int(NOW)).encode(), CLICK).decode()[:-1]},
        {"x-slack-signature": signed(b"another", str(int(NOW)).encode(), CLICK).decode()},
        {"x-slack-signature": "v0=é"},
        {"x-slack-signature": ""},
        {"x-slack-request-timestamp": "soon"},
        {"x-slack-request-timestamp": str(int(NOW) - 301)},
        {"x-slack-request-timestamp": str(int(NOW) + 301)},
        {"x-slack-request-timestamp": "é"},
        {"x-slack-request-timestamp": ""},
    ],
)
@pytest.mark.parametrize("path", ["/slack/interactions", "/slack/events", "/slack/commands"])
async def test_forged_aged_and_malformed_heads_are_refused(door: Door, path: str, heads: dict[str, str]) -> None:
    assert (await door.post(path, CLICK, heads))[0] == 401
    assert await door.kept() == []


@pytest.mark.parametrize("body", [CLICK[:-1], CLICK + b"&x=1", b""])
async def test_a_body_that_was_not_signed_like_this_is_refused(door: Door, body: bytes) -> None:
    signature = signed(SECRET.encode(), str(int(NOW)).encode(), CLICK).decode()
    assert (await door.post("/slack/interactions", body, {"x-slack-signature": signature}))[0] == 401
    assert await door.kept() == []


async def test_every_other_way_in_is_closed(door: Door) -> None:
    assert (await door.post("/slack/other", CLICK))[0] == 404
    assert (await door.post("/slack/events", CLICK, method="GET"))[0] == 405
    assert (await door.post("/slack/events", b"x" * (LIMIT + 1)))[0] == 413
    assert await door.kept() == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/slack/interactions", b"payload=%7Bbroken"),
        ("/slack/interactions", b"nothing"),
        ("/slack/interactions", b"\xff\xfe"),
        ("/slack/interactions", urlencode({"payload": "[" * 100_000}).encode()),
        ("/slack/interactions", urlencode({"payload": '{"type": 5}'}).encode()),
        ("/slack/interactions", urlencode({"payload": '{"type": "block_actions", "user": {"id": 5}}'}).encode()),
        ("/slack/events", b"{"),
        ("/slack/events", b'{"type": "event_callback", "event": []}'),
        ("/slack/commands", b"text=list"),
        ("/slack/commands", b"&".join(b"a=1" for _ in range(200))),
    ],
)
async def test_what_can_not_be_read_is_malformed(door: Door, path: str, body: bytes) -> None:
    assert (await door.post(path, body))[0] == 400
    assert await door.kept() == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/slack/interactions", interaction(type="message_action")),
        ("/slack/interactions", interaction(actions=[])),
        ("/slack/interactions", b"ssl_check=1&token=x"),
        ("/slack/commands", b"ssl_check=1&token=x"),
        ("/slack/events", b'{"type": "event_callback", "event": {"type": "message"}}'),
        ("/slack/events", b'{"type": "other"}'),
    ],
)
async def test_what_is_none_of_ours_is_acknowledged_and_forgotten(door: Door, path: str, body: bytes) -> None:
    assert (await door.post(path, body)) == (200, b"")
    assert await door.kept() == []


async def test_the_first_contact_gets_its_challenge_back(door: Door) -> None:
    assert await door.post("/slack/events", b'{"type": "url_verification", "challenge": "abc"}') == (200, b"abc")


async def test_events_are_kept(door: Door) -> None:
    opened = {"type": "event_callback", "team_id": "T1", "event": {"type": "app_home_opened", "user": "U1", "tab": "home"}}
    posted = {
        "type": "event_callback", "team_id": "T1",
        "event": {
            "type": "message_metadata_posted", "user_id": "UB", "channel_id": "C1", "message_ts": "1.2",
            "metadata": {"event_type": "approval_card", "event_payload": {"request": "apr_0_x", "place": "#ops"}},
        },
    }  # fmt: skip
    for told in (opened, posted):
        assert (await door.post("/slack/events", json.dumps(told).encode()))[0] == 200
    assert await door.kept() == [Home("T1", "U1"), Carded("T1", "UB", "apr_0_x", "#ops", "C1", "1.2")]


async def test_a_command_is_kept_and_its_text_has_an_end(door: Door) -> None:
    fields = {
        "team_id": "T1",
        "user_id": "U1",
        "text": "x" * 5_000,
        "response_url": "https://hooks.slack.com/c",
        "trigger_id": "t",
    }
    assert await door.post("/slack/commands", urlencode(fields).encode()) == (200, b"")
    assert await door.kept() == [Command("T1", "U1", "x" * 200, "https://hooks.slack.com/c", "t")]


def form(preset: str | None, words: str | None) -> bytes:
    values = {
        "preset": {"preset": {"selected_option": {"value": preset} if preset else None}},
        "words": {"words": {"value": words}},
    }
    view = {
        "callback_id": "rejection",
        "private_metadata": "id digest view #ops\nhttps://hooks.slack.com/x",
        "state": {"values": values},
    }
    return interaction(type="view_submission", view=view)


@pytest.mark.parametrize(
    ("preset", "words", "reason"),
    [
        ("0", None, "The arguments are wrong"),
        ("1", " too much ", "Not now. too much"),
        (None, "no", "no"),
        ("99", "no", "no"),
        ("x", "w" * 2_000, "w" * 1_000),
    ],
)
async def test_a_rejection_carries_its_reason(door: Door, preset: str | None, words: str | None, reason: str) -> None:
    assert await door.post("/slack/interactions", form(preset, words)) == (200, b"")
    assert await door.kept() == [Form("T1", "U1", "rejection", "id digest view #ops", reason, "https://hooks.slack.com/x")]


@pytest.mark.parametrize("words", [None, "", "   \n"])
async def test_a_rejection_without_a_reason_is_answered_in_the_form(door: Door, words: str | None) -> None:
    status, body = await door.post("/slack/interactions", form(None, words))
    assert (status, json.loads(body)["response_action"], list(json.loads(body)["errors"])) == (200, "errors", ["words"])
    assert await door.kept() == []


async def test_nothing_is_acknowledged_that_could_not_be_kept() -> None:
    gone = Commands("redis://127.0.0.1:1/0", "tests", lambda _: None)
    gone.start()
    try:
        door = Door(Arrivals(gone, broker="b"))
        assert (await door.post("/slack/interactions", CLICK))[0] == 503
        assert door.woken == 0
    finally:
        await gone.stop()
