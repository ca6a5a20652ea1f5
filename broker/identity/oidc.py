"""Signing people in at an identity provider: OpenID Connect Core 1.0, code flow with PKCE (RFC 7636), nonce and discovery.

A person is who the provider vouches for by a verified address; which account that is, issuer and subject, is remembered at
the first sign-in, so that an address that changed hands at the provider opens nothing here.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from joserfc import jws, jwt
from joserfc.errors import JoseError

from broker.domain.addresses import confidential
from broker.errors import Unauthenticated
from broker.identity.access_tokens import ALGORITHMS, LEEWAY
from broker.identity.issuers import FRESH, Issuer, Keys
from broker.identity.names import is_plain
from broker.identity.ports import Credentials
from broker.outgoing import Reach, client, document

ROUND = timedelta(minutes=10)
REMEMBERED = timedelta(days=3650)


class Provider(msgspec.Struct, frozen=True, omit_defaults=True):
    """One identity provider. `name` stands in addresses, `label` on the button. Without a secret it is a public client.

    `networks` are those beside the public ones in which it may lie.
    """

    name: str
    issuer: str
    client_id: str
    client_secret: str = ""
    label: str = ""
    scopes: str = "openid email profile"
    person_claim: str = "email"
    groups_claim: str = "groups"
    networks: tuple[str, ...] = ()


class Started(msgspec.Struct, frozen=True):
    """Where to send the browser, and the secret that binds the answer to it (a cookie)."""

    url: str
    binding: str


class Arrived(msgspec.Struct, frozen=True):
    """Who came back, with the groups that the provider vouches for, and where they wanted to go."""

    person: str
    groups: tuple[str, ...]
    after: str


class _Round(msgspec.Struct, frozen=True):
    provider: str
    nonce: str
    verifier: str
    binding: str
    redirect: str
    after: str


class _Account(msgspec.Struct, frozen=True):
    issuer: str
    subject: str
    person: str


_encode = msgspec.json.Encoder().encode
_round = msgspec.json.Decoder(_Round).decode
_account = msgspec.json.Decoder(_Account).decode


class Oidc:
    """The providers that are configured."""

    def __init__(self, providers: Sequence[Provider], credentials: Credentials, *, clock: Callable[[], datetime]) -> None:
        self._doors = {provider.name: _Door(provider, clock) for provider in providers}
        self._credentials = credentials

    @property
    def providers(self) -> tuple[tuple[str, str], ...]:
        """Name and label of each."""
        return tuple((name, door.provider.label or name) for name, door in self._doors.items())

    async def begin(self, name: str, redirect: str, after: str) -> Started:
        """Start one sign-in. Raises `Unauthenticated` when the provider is not known or can't be reached."""
        door = self._door(name)
        state, binding = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        told = _Round(name, secrets.token_urlsafe(32), secrets.token_urlsafe(48), _hash(binding), redirect, after)
        url = await door.address(state, told)
        await self._credentials.put("oidc", _hash(state), _encode(told), holder=name, ttl=ROUND)
        return Started(url, binding)

    async def finish(self, name: str, answer: Mapping[str, str], binding: str) -> Arrived:
        """Take the provider's answer. Raises `Unauthenticated`, which says what is wrong and shows nothing of a token."""
        door = self._door(name)
        record = await self._credentials.take("oidc", _hash(answer.get("state", "")))
        if record is None or (told := _round(record)).provider != name:
            raise Unauthenticated("this sign-in is not known: it took too long, or was used before")
        if not hmac.compare_digest(told.binding, _hash(binding)):
            raise Unauthenticated("this sign-in was begun in another browser")
        if answer.get("error"):
            raise Unauthenticated("the identity provider did not sign you in")
        if answer.get("iss", door.provider.issuer) != door.provider.issuer:
            raise Unauthenticated("the answer comes from another identity provider")
        claims = await door.claims(answer.get("code", ""), told)
        person = _person(claims, door.provider)
        await self._same_account(_Account(door.provider.issuer, str(claims["sub"]), person))
        vouched = claims.get(door.provider.groups_claim) or ()
        groups = tuple(group for group in vouched if isinstance(group, str)) if isinstance(vouched, list | tuple) else ()
        return Arrived(person, groups, told.after)

    async def forget(self, person: str) -> int:
        """Forget which accounts a person signed in with, so that another may take their place. Returns how many."""
        kept = await self._credentials.list("account", person)
        return sum([await self._credentials.delete("account", one.hash) for one in kept])

    def _door(self, name: str) -> _Door:
        if name not in self._doors:
            raise Unauthenticated("there is no such identity provider")
        return self._doors[name]

    async def _same_account(self, account: _Account) -> None:
        """Bind a person to issuer and subject at the first sign-in, and hold them to it."""
        key = _hash(f"{account.issuer}\0{account.subject}")
        record = await self._credentials.get("account", key)
        if record is not None and _account(record).person != account.person:
            raise Unauthenticated("your address at the identity provider has changed: an administrator has to confirm it")
        others = [_account(one.record) for one in await self._credentials.list("account", account.person)]
        if any(other.issuer == account.issuer and other.subject != account.subject for other in others):
            raise Unauthenticated("this address belonged to another account: an administrator has to confirm it")
        if record is None:
            await self._credentials.put("account", key, _encode(account), holder=account.person, ttl=REMEMBERED)


class _Door:
    """One provider: its addresses, and what its tokens say."""

    def __init__(self, provider: Provider, clock: Callable[[], datetime]) -> None:
        self.provider = provider
        self._clock = clock
        self._reach = Reach([provider.issuer], provider.networks)
        self._found: dict[str, Any] = {}
        self._at = -FRESH
        self._keys: Keys | None = None
        self._lock = asyncio.Lock()

    async def address(self, state: str, told: _Round) -> str:
        """Return the address of the provider's sign-in page for this round."""
        found = await self._discovered()
        fits = base64.urlsafe_b64encode(hashlib.sha256(told.verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code", "client_id": self.provider.client_id, "redirect_uri": told.redirect,
            "scope": self.provider.scopes, "state": state, "nonce": told.nonce, "code_challenge": fits,
            "code_challenge_method": "S256",
        }  # fmt: skip
        endpoint = str(found["authorization_endpoint"])
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def claims(self, code: str, told: _Round) -> dict[str, Any]:
        """Exchange the code, and return what the ID token says, with what only the userinfo tells. Raises `Unauthenticated`."""
        found = await self._discovered()
        answer = await self._exchanged(str(found["token_endpoint"]), code, told)
        claims = await self._id_token(str(answer.get("id_token", "")), told)
        wanted = {self.provider.person_claim, self.provider.groups_claim}
        if wanted <= claims.keys() or "userinfo_endpoint" not in found or not answer.get("access_token"):
            return claims
        more = await self._asked(
            "GET", str(found["userinfo_endpoint"]), headers={"authorization": f"Bearer {answer['access_token']}"}
        )
        if more.get("sub") != claims["sub"]:
            raise Unauthenticated("the identity provider contradicts itself")
        return {**more, **claims}

    async def _exchanged(self, endpoint: str, code: str, told: _Round) -> dict[str, Any]:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": told.redirect, "code_verifier": told.verifier}
        methods = self._found.get("token_endpoint_auth_methods_supported")
        headers = {}
        if self.provider.client_secret and (not isinstance(methods, list) or "client_secret_basic" in methods):
            pair = f"{quote(self.provider.client_id, safe='')}:{quote(self.provider.client_secret, safe='')}"
            headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        else:
            form["client_id"] = self.provider.client_id
            form |= {"client_secret": self.provider.client_secret} if self.provider.client_secret else {}
        return await self._asked("POST", endpoint, data=form, headers=headers)

    async def _id_token(self, token: str, told: _Round) -> dict[str, Any]:
        """Check signature, issuer, audience, times and nonce (OpenID Connect Core, section 3.1.3.7)."""
        if self._keys is None:
            self._keys = Keys(Issuer(self.provider.issuer, jwks_url=str(self._found["jwks_uri"])), reach=self._reach)
        try:
            header = jws.extract_compact(token.encode()).headers()
            if header.get("alg") not in ALGORITHMS:
                raise Unauthenticated("the identity provider signs in a way that is not accepted")
            decoded = jwt.decode(token, await self._keys.of(str(header.get("kid", ""))), algorithms=list(ALGORITHMS))
        except (JoseError, ValueError, TypeError, UnicodeError, RecursionError):
            raise Unauthenticated("the signature of the identity provider does not hold") from None
        claims = dict(decoded.claims)
        self._check(claims, told)
        return claims

    def _check(self, claims: dict[str, Any], told: _Round) -> None:
        now, expires = self._clock().timestamp(), _number(claims.get("exp"))
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        wrong = (
            "another issuer" if claims.get("iss") != self.provider.issuer
            else "another client" if self.provider.client_id not in audiences
            else "another party" if len(audiences) > 1 and claims.get("azp") != self.provider.client_id
            else "a time that is over" if now > expires + LEEWAY
            else "another sign-in" if not hmac.compare_digest(_hash(str(claims.get("nonce", ""))), _hash(told.nonce))
            else "nobody" if not claims.get("sub")
            else ""
        )  # fmt: skip
        if wrong:
            raise Unauthenticated(f"the identity provider's token is for {wrong}")

    async def _discovered(self) -> dict[str, Any]:
        async with self._lock:
            if time.monotonic() - self._at > FRESH:
                base = self.provider.issuer.rstrip("/")
                found = await self._asked("GET", f"{base}/.well-known/openid-configuration")
                if found.get("issuer") != self.provider.issuer:
                    raise Unauthenticated("the identity provider calls itself otherwise than it is configured here")
                for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                    _safe(str(found.get(name, "")))
                self._found, self._at, self._keys = found, time.monotonic(), None
            return self._found

    async def _asked(self, method: str, url: str, **more: Any) -> dict[str, Any]:
        _safe(url)
        try:
            async with (
                client(self._reach) as asking,
                asking.request(method, url, allow_redirects=False, raise_for_status=True, **more) as answer,
            ):
                found = json.loads(await document(answer))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError):
            raise Unauthenticated("the identity provider can't be asked now, or refuses") from None
        if not isinstance(found, dict):
            raise Unauthenticated("the identity provider's answer can't be read")
        return found


def _person(claims: Mapping[str, Any], provider: Provider) -> str:
    """Return the person's id, in lower case as policy files have it. Raises `Unauthenticated` for an unverified address."""
    told = claims.get(provider.person_claim)
    person = str(told).strip().lower() if isinstance(told, str | int) and not isinstance(told, bool) else ""
    if not is_plain(person):
        raise Unauthenticated(f"the identity provider tells no {provider.person_claim} that is a plain name")
    if provider.person_claim == "email" and claims.get("email_verified") not in (True, "true"):
        raise Unauthenticated("the identity provider has not verified your address")
    return person


def _safe(url: str) -> None:
    """Only https, but for a provider on this very machine. Raises `Unauthenticated`."""
    if not confidential(url):
        raise Unauthenticated("the identity provider's addresses are not https")


def _number(value: object) -> float:
    """A time; the beginning of all times where it is none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
