from __future__ import annotations

import pytest

from broker.errors import Unauthenticated
from broker.identity.secrets import Kind, bearer, hash_of, kind_of, new_secret


def test_two_secrets_differ_and_say_what_they_open() -> None:
    first, second = new_secret(Kind.AGENT), new_secret(Kind.AGENT)
    assert first != second
    assert (kind_of(first), kind_of(new_secret(Kind.LINK))) == (Kind.AGENT, Kind.LINK)


@pytest.mark.parametrize(
    "text", ["", "broker-agent-", "broker-root-" + "a" * 43, "broker-agent-" + "a" * 44, "agent", "broker-agent-" + "é" * 43]
)
def test_what_is_none_of_our_secrets_opens_nothing(text: str) -> None:
    assert kind_of(text) is None


def test_a_bearer_header_gives_its_secret() -> None:
    secret = new_secret(Kind.AGENT)
    assert bearer(f"Bearer {secret}", Kind.AGENT) == secret
    assert bearer(f"bearer  {secret} ", Kind.AGENT) == secret


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (None, "a bearer token is needed"),
        ("", "a bearer token is needed"),
        ("Basic abc", "the Authorization header has to be `Bearer` and a token"),
        ("Bearer", "the Authorization header has to be `Bearer` and a token"),
        ("Bearer a b", "the Authorization header has to be `Bearer` and a token"),
        ("Bearer guess", "the token is not known"),
        ("Bearer broker-person-" + "a" * 43, "this is a token of kind `person`, and one of kind `agent` is needed"),
        ("Bearer broker-session-" + "a" * 43, "this is a token of kind `session`, and one of kind `agent` is needed"),
    ],
)
def test_a_header_without_an_agents_token_is_refused(header: str | None, why: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        bearer(header, Kind.AGENT)
    assert refused.value.message == why


def test_the_hash_does_not_hold_the_secret() -> None:
    secret = new_secret(Kind.PERSON)
    assert secret not in hash_of(secret)
    assert len(hash_of(secret)) == 64
