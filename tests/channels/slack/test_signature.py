"""Who may speak as Slack: nobody but Slack, and slack-bolt and slack-sdk agree on the same bytes."""

from __future__ import annotations

import json
import time
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slack_bolt.async_app import AsyncApp, AsyncBoltRequest
from slack_bolt.authorization import AuthorizeResult
from slack_sdk.signature import SignatureVerifier
from slack_sdk.web.async_client import AsyncWebClient

from broker.channels.slack.signature import signed, verified

SECRET = b"8f742231b10e8888abcd99yyyzzz85a5"
BODY = b"payload=%7B%22type%22%3A%22block_actions%22%7D"
NOW = 1_795_000_000.0
STAMP = b"1795000000"
GOOD = signed(SECRET, STAMP, BODY)


def test_a_signature_of_slack_holds() -> None:
    assert verified(SECRET, STAMP, GOOD, BODY, NOW)
    assert verified(SECRET, STAMP, GOOD, BODY, NOW + 300)
    assert verified(SECRET, STAMP, GOOD, BODY, NOW - 300)


@pytest.mark.parametrize(
    ("stamp", "signature", "body", "now"),
    [
        (STAMP, GOOD, BODY + b"x", NOW),
        (STAMP, GOOD, BODY, NOW + 301),
        (STAMP, GOOD, BODY, NOW - 301),
        (b"1795000001", GOOD, BODY, NOW),
        (STAMP, GOOD[:-1], BODY, NOW),
        (STAMP, GOOD.upper(), BODY, NOW),
        (STAMP, b"", BODY, NOW),
        (STAMP, b"v1" + GOOD[2:], BODY, NOW),
        (STAMP, "v0=é".encode(), BODY, NOW),
        (STAMP, b"v0=\xff\x00", BODY, NOW),
        (b"", GOOD, BODY, NOW),
        (b"now", GOOD, BODY, NOW),
        (b"-1795000000", GOOD, BODY, NOW),
        (b" 1795000000", GOOD, BODY, NOW),
        ("１７９５００００００".encode(), GOOD, BODY, NOW),
        (b"9" * 5_000, GOOD, BODY, NOW),
    ],
)
def test_everything_else_is_refused_and_nothing_raised(stamp: bytes, signature: bytes, body: bytes, now: float) -> None:
    assert not verified(SECRET, stamp, signature, body, now)


def test_without_a_secret_nobody_is_slack() -> None:
    assert not verified(b"", STAMP, signed(b"", STAMP, BODY), BODY, NOW)


@given(st.binary(), st.binary(), st.binary())
def test_no_bytes_at_all_get_through_or_raise(stamp: bytes, signature: bytes, body: bytes) -> None:
    assert not verified(SECRET, stamp, signature, body, NOW)


@given(st.text())
def test_slacks_own_library_signs_the_same(text: str) -> None:
    body = urlencode({"payload": text}, errors="surrogatepass")
    theirs = SignatureVerifier(SECRET.decode()).generate_signature(timestamp=STAMP.decode(), body=body)
    assert theirs is not None
    assert verified(SECRET, STAMP, theirs.encode(), body.encode(), NOW)


async def test_bolt_accepts_the_same_bytes_and_understands_the_same_click() -> None:
    pressed: list[str] = []
    bolt = AsyncApp(
        signing_secret=SECRET.decode(), client=AsyncWebClient(), request_verification_enabled=True, authorize=authorized
    )

    @bolt.action("approve")
    async def press(ack: object, action: dict[str, str]) -> None:
        pressed.append(action["value"])
        await ack()  # type: ignore[operator]

    payload = {
        "type": "block_actions", "user": {"id": "U1", "team_id": "T1"}, "team": {"id": "T1"}, "api_app_id": "A1", "token": "t",
        "actions": [{"action_id": "approve", "block_id": "b", "type": "button", "value": "id digest view", "action_ts": "1"}],
    }  # fmt: skip
    body = urlencode({"payload": json.dumps(payload)})
    stamp = str(int(time.time()))
    signature = signed(SECRET, stamp.encode(), body.encode()).decode()
    headers = {"x-slack-signature": [signature], "x-slack-request-timestamp": [stamp]}
    assert verified(SECRET, stamp.encode(), signature.encode(), body.encode(), time.time())
    assert (await bolt.async_dispatch(AsyncBoltRequest(body=body, headers=headers))).status == 200
    assert pressed == ["id digest view"]
    assert (await bolt.async_dispatch(AsyncBoltRequest(body=body + "&x=1", headers=headers))).status == 401
    assert not verified(SECRET, stamp.encode(), signature.encode(), (body + "&x=1").encode(), time.time())


async def authorized(**_: object) -> object:
    return AuthorizeResult(enterprise_id=None, team_id="T1", bot_token="xoxb-test", bot_id="B1", bot_user_id="UB")
