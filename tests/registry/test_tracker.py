"""Signed messages of a tracker: only the very bytes, under a fresh time, by who holds the secret."""

from __future__ import annotations

import pytest

from broker.errors import Malformed
from broker.registry.tracker import Verdict, signed, verdict_of, verified

SECRET, BODY, NOW = b"s" * 24, b'{"a": 1}', 1_800_000_000
GOOD = signed(SECRET, "msg_1", NOW, BODY)


def test_a_signed_message_is_known_by_its_id() -> None:
    assert verified(SECRET, GOOD, BODY, NOW + 299) == "msg_1"


def test_the_signature_is_the_one_of_standard_webhooks() -> None:
    """The value was made with openssl: printf 'msg_1.1800000000.{"a": 1}' | openssl dgst -sha256 -hmac … -binary | base64."""
    assert GOOD["webhook-signature"] == "v1,2KCRsXXKcfuQch0EreDsTHJOGoy0+u6d0U3XAflyU6w="


def test_one_of_several_signatures_is_enough_while_a_secret_changes() -> None:
    several = {**GOOD, "webhook-signature": f"v1,AAAA {GOOD['webhook-signature']}"}
    assert verified(SECRET, several, BODY, NOW) == "msg_1"


@pytest.mark.parametrize(
    ("headers", "body", "now", "secret"),
    [
        (GOOD, BODY + b" ", NOW, SECRET),
        (GOOD, BODY, NOW + 301, SECRET),
        (GOOD, BODY, NOW - 301, SECRET),
        (GOOD, BODY, NOW, b"t" * 24),
        (GOOD, BODY, NOW, b""),
        (signed(b"", "msg_1", NOW, BODY), BODY, NOW, b""),
        ({**GOOD, "webhook-id": "msg_2"}, BODY, NOW, SECRET),
        ({**GOOD, "webhook-timestamp": str(NOW + 1)}, BODY, NOW, SECRET),
        ({**GOOD, "webhook-timestamp": "now"}, BODY, NOW, SECRET),
        ({**GOOD, "webhook-timestamp": "-1"}, BODY, NOW, SECRET),
        ({**GOOD, "webhook-signature": ""}, BODY, NOW, SECRET),
        ({**GOOD, "webhook-signature": "é"}, BODY, NOW, SECRET),
        ({**GOOD, "webhook-id": ""}, BODY, NOW, SECRET),
        ({}, BODY, NOW, SECRET),
    ],
)
def test_anything_else_is_not(headers: dict[str, str], body: bytes, now: int, secret: bytes) -> None:
    assert verified(secret, headers, body, now) == ""


def test_an_answer_has_to_name_all_that_it_is_about() -> None:
    told = b'{"server": "com.example/p", "slot": "security", "state": "approved", "by": "a@example.com", "digest": "sha256:0"}'
    assert verdict_of(told) == Verdict("com.example/p", "security", "approved", "a@example.com", "sha256:0")
    for wrong in (b"", b"[]", b"{}", told.replace(b'"by"', b'"who"'), told.replace(b'"sha256:0"', b"1"), b"\xff"):
        with pytest.raises(Malformed):
            verdict_of(wrong)
