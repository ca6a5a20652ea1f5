"""Who may speak as Slack: nobody but Slack, and slack-sdk agrees on the same bytes."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slack_sdk.signature import SignatureVerifier

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
