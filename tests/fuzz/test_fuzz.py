"""Mutated bytes at every parser that strangers reach: only its own mistakes are raised, and nothing that was changed is accepted.

In the suite for a moment; `make test-slow` runs each target for its part of ten minutes.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from broker.assets import shipped
from broker.audit.keys import PublicKeys, SigningKey, published, signing_key
from broker.audit.receipts import Issuer, ReceiptInvalid, read
from broker.channels.slack.signature import signed, verified
from broker.domain.calls import Caller
from broker.errors import Malformed, PolicyInvalid, Unauthenticated
from broker.gateway.envelope import check_judged, encoded, parsed
from broker.identity.access_tokens import AccessTokens
from broker.identity.assertions import introduced, introducing
from broker.identity.issuers import Issuer as TokenIssuer
from broker.identity.spiffe import client_of, trust_domain
from broker.policy.load import compose
from tests.audit.test_receipts import approved
from tests.fakes.provider import BASE, NOW, Provider
from tests.gateway.test_garbage import SEEDS

LONG = 600.0
PARTS = (
    b"{",
    b"}",
    b"[",
    b'"',
    b":",
    b",",
    b"null",
    b"1e999",
    b"\\u0000",
    b"\x00",
    b"\xff",
    b".",
    b"=",
    b"-",
    b"\n  ",
    b"&a *a",
    b"!!",
)
SECRET, BODY = b"slack-secret", b'{"type": "event_callback"}'


def mutated(seed: bytes, chance: random.Random) -> bytes:
    """Change, cut, repeat or insert, a few times."""
    changed = bytearray(seed)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(5):
            case 0 if changed:
                changed[min(at, len(changed) - 1)] ^= 1 << chance.randrange(8)
            case 1:
                del changed[at : at + chance.randint(1, 9)]
            case 2:
                changed[at:at] = changed[max(0, at - chance.randint(1, 20)) : at]
            case 3:
                changed[at:at] = chance.choice(PARTS)
            case _:
                changed[at:at] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 4)))
    return bytes(changed)


def fuzz(seeds: list[bytes], accepted: Callable[[bytes], bool], seconds: float) -> int:
    """Hand mutations to `accepted` until the time is over: True for one that differs from its seed is a failure."""
    chance, until, count = random.Random(20_261_128), time.monotonic() + seconds, 0
    while time.monotonic() < until:
        seed = chance.choice(seeds)
        attempt = mutated(seed, chance)
        taken = accepted(attempt)
        assert not taken or attempt == seed, attempt
        count += 1
    return count


class Targets:
    """What is fuzzed: by name, the seeds and what says whether a mutation was accepted as genuine."""

    def __init__(self, folder: Path) -> None:
        self.key: SigningKey = signing_key(folder / "key.pem")
        self.keys = PublicKeys(published(folder / "key.pem"))
        self.now = datetime(2026, 11, 24, 10, tzinfo=UTC)
        provider = Provider()
        provider.url = "https://id.example.com"
        self.tokens = AccessTokens([TokenIssuer(provider.url, jwks_file=folder / "jwks.json")], base=BASE, clock=lambda: NOW)
        jwks = {"keys": [key.as_dict(private=False) for key in provider.keys]}
        (folder / "jwks.json").write_bytes(encoded(jwks))
        caller = Caller(user="ann@example.com", groups=("ads",))
        self.seeds: dict[str, list[bytes]] = {
            "envelope": list(SEEDS),
            "receipt": [Issuer(self.key, "x").receipt(approved(), self.now).encode()],
            "word": [introducing(self.key, "x", caller, caller.groups, "s", self.now).encode()],
            "access token": [provider.token().encode()],
            "signature": [signed(SECRET, b"1000", BODY)],
            "certificate": [b'Hash=ab;Subject="CN=x,O=y";URI=spiffe://example.com/a,By=spiffe://example.com/e;URI=spiffe://example.com/b'],
            "policy": [path.read_bytes() for path in (shipped("policies") / "demo").glob("*.yaml")],
        }  # fmt: skip

    def envelope(self, attempt: bytes) -> bool:
        """What is understood is encoded so that it is understood in the same way."""
        try:
            message = parsed(attempt)
            check_judged(message)
            assert parsed(message.encoded()).body == message.body
        except Malformed:
            pass
        return False

    def receipt(self, attempt: bytes) -> bool:
        try:
            read(attempt.decode("latin-1"), self.keys)
        except ReceiptInvalid:
            return False
        return _signature_changed(attempt, self.seeds["receipt"])

    def word(self, attempt: bytes) -> bool:
        try:
            introduced(attempt.decode("latin-1"), self.keys, server="s", issuer="x", now=self.now)
        except Unauthenticated:
            return False
        return _signature_changed(attempt, self.seeds["word"])

    def access_token(self, attempt: bytes) -> bool:
        try:
            anyio.run(self.tokens.authenticate, attempt.decode("latin-1"))
        except Unauthenticated:
            return False
        return _signature_changed(attempt, self.seeds["access token"])

    def signature(self, attempt: bytes) -> bool:
        assert not verified(SECRET, attempt[:12], self.seeds["signature"][0], BODY, 1_000.0)
        return verified(SECRET, b"1000", attempt, BODY, 1_000.0)

    def certificate(self, attempt: bytes) -> bool:
        try:
            found = client_of(attempt.decode("latin-1"))
        except ValueError:
            return False
        assert found == "" or trust_domain(found)
        return False

    def policy(self, attempt: bytes) -> bool:
        """Wrong files are told by their problems, and never half in force."""
        try:
            compose({"rules.yaml": attempt})
        except PolicyInvalid as error:
            assert error.problems
        return False


def _signature_changed(attempt: bytes, seeds: list[bytes]) -> bool:
    """The last character of base64 has bits that mean nothing: a token that differs in those alone says the same."""
    return not any(attempt[:-1] == seed[:-1] for seed in seeds)


NAMES = ("envelope", "receipt", "word", "access token", "signature", "certificate", "policy")


@pytest.fixture
def targets(tmp_path: Path) -> Targets:
    return Targets(tmp_path)


def accepts(targets: Targets, name: str) -> Callable[[bytes], Any]:
    return getattr(targets, name.replace(" ", "_"))  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", NAMES)
def test_no_mutation_crashes_a_parser_or_is_taken_for_genuine(targets: Targets, name: str) -> None:
    assert fuzz(targets.seeds[name], accepts(targets, name), 0.3) > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NAMES)
def test_ten_minutes_of_mutations(targets: Targets, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    count = fuzz(targets.seeds[name], accepts(targets, name), LONG / len(NAMES))
    with capsys.disabled():
        print(f"\n{name}: {count} mutations")
