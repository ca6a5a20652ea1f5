"""Outside issuers of tokens: their keys, found by discovery (OpenID Connect Discovery 1.0, RFC 8414) and kept for a while."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import aiohttp
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError
from joserfc.jwk import Key, KeySet, KeySetSerialization

from broker.domain.addresses import confidential
from broker.errors import Unauthenticated
from broker.identity.spiffe import signing_keys
from broker.outgoing import Reach, client, document

# Seconds that keys are taken as good, and that must pass before an unknown key makes us ask again.
FRESH = 600.0
AGAIN = 10.0
# Seconds that an issuer which did not answer is left alone: meanwhile its tokens are refused at once.
REST = 1.0
_AWAY = "the issuer's keys can't be had now, so nobody can be known by its tokens"
_DISCOVERY = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server")


class Issuer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One issuer that is trusted. `jwks_url` saves the discovery. Claims are read by the names given here.

    `audiences` are taken beside the broker's own addresses. `workloads`: its tokens stand for services, not for people.
    `surface_claim` and `conversation_claim` are believed where they are named: name them only for an issuer that vouches
    for the chat, IDE or bot of a call, and not for one whose claims an agent can choose.
    `trust_domain` is the one SPIFFE trust domain whose workloads it may name, as subject or as actor; its tokens need no
    `iss` then (JWT-SVID, section 3). `jwks_file` holds the keys, or the domain's bundle, instead of an address.
    `networks` are those beside the public ones in which it may lie.
    """

    issuer: str
    jwks_url: str = ""
    audiences: tuple[str, ...] = ()
    user_claim: str = "sub"
    groups_claim: str = "groups"
    workloads: bool = False
    surface_claim: str = ""
    conversation_claim: str = ""
    networks: tuple[str, ...] = ()
    trust_domain: str = ""
    jwks_file: Path | None = None


class Keys:
    """The public keys of one issuer. A key that is not known yet is asked for once in `AGAIN` seconds: rotation just works."""

    def __init__(
        self, issuer: Issuer, *, reach: Reach | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:  # fmt: skip
        self._issuer = issuer
        self._reach = reach or Reach([issuer.issuer, issuer.jwks_url], issuer.networks)
        self._monotonic = monotonic
        self._set: KeySet | None = None
        self._at = self._failed_at = -math.inf
        self._lock = asyncio.Lock()

    async def of(self, key_id: str) -> KeySet:
        """Return the keys, among them `key_id` if the issuer has it. Raises `Unauthenticated` when they can't be had."""
        known = self._known(key_id)
        if known is not None:
            return known  # whoever brings another key makes nobody wait
        async with self._lock:
            known = self._known(key_id)
            if known is None:
                known = self._set = await self._fetched()
                self._at = self._monotonic()
            return known

    def _known(self, key_id: str) -> KeySet | None:
        """The keys at hand, None where the issuer has to be asked. Raises `Unauthenticated` where it just did not answer."""
        now = self._monotonic()
        if self._set is not None and now - self._at <= FRESH and (now - self._at <= AGAIN or self._has(key_id)):
            return self._set
        if now - self._failed_at < REST:
            raise Unauthenticated(_AWAY)
        return None

    def _has(self, key_id: str) -> bool:
        return self._set is not None and any(key.kid == key_id for key in self._set.keys)

    async def _fetched(self) -> KeySet:
        try:
            async with client(self._reach) as asking:
                told = await self._told(asking)
            return _readable(signing_keys(told))
        except (aiohttp.ClientError, TimeoutError, OSError, JoseError, ValueError, KeyError, TypeError):
            self._failed_at = self._monotonic()
            raise Unauthenticated(_AWAY) from None

    async def _told(self, asking: aiohttp.ClientSession) -> dict[str, Any]:
        if self._issuer.jwks_file is not None:
            found: dict[str, Any] = msgspec.json.decode(await asyncio.to_thread(self._issuer.jwks_file.read_bytes))
            return found
        return await _json(asking, self._issuer.jwks_url or await self._discovered(asking))

    async def _discovered(self, asking: aiohttp.ClientSession) -> str:
        base = self._issuer.issuer.rstrip("/")
        for path in _DISCOVERY:
            try:
                told = await _json(asking, base + path)
            except aiohttp.ClientResponseError:
                continue
            if str(told.get("issuer", "")).rstrip("/") == base:
                return str(told["jwks_uri"])
        raise KeyError("no discovery document of this issuer")


def _readable(told: Mapping[str, Any]) -> KeySet:
    """Keys of kinds that are not known here are passed over (RFC 7517, section 5): an issuer may add some for others."""
    found: list[Key] = []
    for key in told["keys"]:
        with suppress(JoseError, ValueError, KeyError, TypeError, UnsupportedAlgorithm):
            found += KeySet.import_key_set(cast("KeySetSerialization", {"keys": [key]})).keys
    return KeySet(found)


async def _json(asking: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    if not confidential(url):
        raise ValueError("anybody on the way could put in keys of their own")
    async with asking.get(url, allow_redirects=False, raise_for_status=True) as answer:
        found: dict[str, Any] = msgspec.json.decode(await document(answer), type=dict[str, Any])
        return found
