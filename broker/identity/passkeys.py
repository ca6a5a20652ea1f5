"""Passkeys (WebAuthn level 3): adding them, and approving one decision with one.

A challenge for an approval is a hash over request, digest and verdict, so the assertion is a signature over this very
decision and can be kept as evidence. User verification is always demanded; a ceremony lasts two minutes and works once.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import msgspec

from broker.domain.calls import digest_of
from broker.errors import Forbidden, StepUpNeeded
from broker.identity.ports import Credentials

PASSKEY = "passkey"
CEREMONY = "ceremony"
LASTS = timedelta(days=3650)
CEREMONY_LASTS = timedelta(minutes=2)
# A stolen session must not add a passkey of its own: the first one is added right after signing in.
FRESH = timedelta(minutes=10)
MOST = 20


class Passkey(msgspec.Struct, frozen=True, omit_defaults=True):
    """One passkey of one person. `public_key` is COSE."""

    person: str
    credential: bytes
    public_key: bytes
    sign_count: int
    name: str
    made_at: datetime
    used_at: datetime | None = None

    @property
    def id(self) -> str:
        return _hash(self.credential)[:12]


class Begun(msgspec.Struct, frozen=True):
    """A ceremony that waits for the browser: `options` in WebAuthn's JSON, and the nonce that comes back with the answer."""

    nonce: str
    options: dict[str, Any]


class _Ceremony(msgspec.Struct, frozen=True):
    person: str
    session: str
    purpose: str


_encode = msgspec.json.Encoder().encode
_passkey = msgspec.json.Decoder(Passkey).decode
_ceremony = msgspec.json.Decoder(_Ceremony).decode


Decision = Mapping[str, str]
"""What is signed: `request`, `digest` and `verdict`."""


def challenge(nonce: str, decision: Decision) -> bytes:
    """Return what a passkey signs for one verdict on one request: SHA-256 over RFC 8785, 32 bytes."""
    told = {"version": 1, "nonce": nonce, **{name: decision[name] for name in ("request", "digest", "verdict")}}
    return bytes.fromhex(digest_of(told).removeprefix("sha256:"))


class Passkeys:
    """Keeps people's passkeys and runs the ceremonies."""

    def __init__(self, credentials: Credentials, *, clock: Callable[[], datetime]) -> None:
        self._credentials = credentials
        self._clock = clock

    async def of(self, person: str) -> list[Passkey]:
        """Return a person's passkeys, oldest first."""
        kept = await self._credentials.list(PASSKEY, person)
        return sorted((_passkey(one.record) for one in kept), key=lambda passkey: passkey.made_at)

    async def remove(self, person: str, passkey_id: str = "") -> int:
        """Delete every passkey of a person, or the one whose id is given. Returns how many."""
        doomed = [passkey for passkey in await self.of(person) if passkey_id in ("", passkey.id)]
        return sum([await self._credentials.delete(PASSKEY, _hash(passkey.credential)) for passkey in doomed])

    # -- adding one -------------------------------------------------------------------------------------------

    async def begin_adding(self, person: str, session: str, signed_in_at: datetime, origin: str) -> Begun:
        """Start adding a passkey. Raises `Forbidden` unless the sign-in is fresh."""
        from webauthn import generate_registration_options  # noqa: PLC0415 - only where passkeys are used
        from webauthn.helpers import structs  # noqa: PLC0415

        mine = await self.of(person)
        if self._clock() - signed_in_at > FRESH:
            raise Forbidden("a passkey is added within ten minutes of signing in: sign in again")
        if len(mine) >= MOST:
            raise Forbidden(f"{MOST} passkeys are the most that one person may have")
        nonce = await self._begin(person, session, "add")
        options = generate_registration_options(
            rp_id=_host(origin),
            rp_name="Approvals",
            user_name=person,
            user_id=hashlib.sha256(person.encode()).digest(),
            challenge=_adding(nonce),
            authenticator_selection=structs.AuthenticatorSelectionCriteria(
                resident_key=structs.ResidentKeyRequirement.PREFERRED,
                user_verification=structs.UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=[structs.PublicKeyCredentialDescriptor(passkey.credential) for passkey in mine],
        )
        return Begun(nonce, _json(options))

    async def finish_adding(self, person: str, session: str, origin: str, reply: tuple[str, str], name: str) -> Passkey:
        """Check what the authenticator made, and keep it. Raises `Forbidden`."""
        from webauthn import verify_registration_response  # noqa: PLC0415
        from webauthn.helpers.exceptions import WebAuthnException  # noqa: PLC0415

        nonce, answer = reply
        await self._end(person, session, "add", nonce)
        try:
            made = verify_registration_response(
                credential=answer, expected_challenge=_adding(nonce), expected_rp_id=_host(origin), expected_origin=origin,
                require_user_verification=True,
            )  # fmt: skip
        except (WebAuthnException, ValueError) as error:
            raise Forbidden(f"the passkey was not accepted: {error}") from None
        told = (person, made.credential_id, made.credential_public_key, made.sign_count, name[:60] or "Passkey", self._clock())
        passkey = Passkey(*told)
        hashed = _hash(passkey.credential)
        if await self._credentials.get(PASSKEY, hashed) is not None:
            raise Forbidden("this passkey is known already")
        await self._credentials.put(PASSKEY, hashed, _encode(passkey), holder=person, ttl=LASTS)
        return passkey

    # -- approving with one -----------------------------------------------------------------------------------

    async def begin_approving(self, person: str, session: str, origin: str, decision: Decision) -> Begun:
        """Start an assertion over one verdict on one request. Raises `StepUpNeeded` where the person has no passkey."""
        from webauthn import generate_authentication_options  # noqa: PLC0415
        from webauthn.helpers import structs  # noqa: PLC0415

        mine = await self.of(person)
        if not mine:
            raise StepUpNeeded("you have no passkey yet: add one to your account first")
        nonce = await self._begin(person, session, "approve")
        options = generate_authentication_options(
            rp_id=_host(origin),
            challenge=challenge(nonce, decision),
            allow_credentials=[structs.PublicKeyCredentialDescriptor(passkey.credential) for passkey in mine],
            user_verification=structs.UserVerificationRequirement.REQUIRED,
        )
        return Begun(nonce, _json(options))

    async def finish_approving(
        self, person: str, session: str, origin: str, reply: tuple[str, str], decision: Decision
    ) -> dict[str, Any]:
        """Check the assertion and return it as evidence, which `proves` reads. Raises `StepUpNeeded`."""
        nonce, answer = reply
        try:
            await self._end(person, session, "approve", nonce)
            said = json.loads(answer)
            credential = _bytes(said["id"])
            record = await self._credentials.get(PASSKEY, _hash(credential))
        except (Forbidden, ValueError, KeyError, TypeError, RecursionError):
            raise StepUpNeeded("the passkey's answer came too late or can't be read: try again") from None
        if record is None or (passkey := _passkey(record)).person != person:
            raise StepUpNeeded("this passkey is not yours")
        count = _verified(said, challenge(nonce, decision), origin, passkey)
        used = msgspec.structs.replace(passkey, sign_count=count, used_at=self._clock())
        if not await self._credentials.renew(PASSKEY, _hash(credential), _encode(used), holder=person, ttl=LASTS):
            raise StepUpNeeded("this passkey was removed")
        return _evidence(said, nonce, origin, passkey)

    # -- ceremonies -------------------------------------------------------------------------------------------

    async def _begin(self, person: str, session: str, purpose: str) -> str:
        nonce = secrets.token_urlsafe(32)
        record = _encode(_Ceremony(person, session, purpose))
        await self._credentials.put(CEREMONY, _hash(nonce.encode()), record, holder=person, ttl=CEREMONY_LASTS)
        return nonce

    async def _end(self, person: str, session: str, purpose: str, nonce: str) -> None:
        """Use a ceremony up. Raises `Forbidden` unless it is this one, of this person in this session."""
        record = await self._credentials.take(CEREMONY, _hash(nonce.encode()))
        if record is None or _ceremony(record) != _Ceremony(person, session, purpose):
            raise Forbidden("that took too long, or was done before: try again")


def proves(evidence: dict[str, Any], decision: Decision) -> bool:
    """Does kept evidence hold a good signature over this verdict on this request? Needs nothing but the evidence."""
    passkey = Passkey("", b"", _bytes(evidence["public_key"]), 0, "", datetime.min)  # noqa: DTZ901 - not looked at
    said = {"id": evidence["credential"], "rawId": evidence["credential"], "type": "public-key", "response": evidence["response"]}
    try:
        _verified(said, challenge(evidence["nonce"], decision), evidence["origin"], passkey)
    except StepUpNeeded:
        return False
    return True


def _verified(said: dict[str, Any], expected: bytes, origin: str, passkey: Passkey) -> int:
    """Return the authenticator's new count. Raises `StepUpNeeded`."""
    from webauthn import verify_authentication_response  # noqa: PLC0415
    from webauthn.helpers.exceptions import WebAuthnException  # noqa: PLC0415

    try:
        return verify_authentication_response(
            credential=said, expected_challenge=expected, expected_rp_id=_host(origin), expected_origin=origin,
            credential_public_key=passkey.public_key, credential_current_sign_count=passkey.sign_count,
            require_user_verification=True,
        ).new_sign_count  # fmt: skip
    except (WebAuthnException, ValueError, KeyError, TypeError):
        raise StepUpNeeded("the passkey did not sign this decision") from None


def _evidence(said: dict[str, Any], nonce: str, origin: str, passkey: Passkey) -> dict[str, Any]:
    response = said["response"]
    kept = {name: str(response[name]) for name in ("authenticatorData", "clientDataJSON", "signature")}
    return {
        "type": "webauthn", "version": 1, "origin": origin, "nonce": nonce, "credential": str(said["id"]),
        "public_key": _text(passkey.public_key), "response": kept,
    }  # fmt: skip


def _adding(nonce: str) -> bytes:
    return hashlib.sha256(b"add a passkey\0" + nonce.encode()).digest()


def _host(origin: str) -> str:
    """The relying party's id: the host name of where people meet us."""
    return urlsplit(origin).hostname or ""


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _json(options: Any) -> dict[str, Any]:
    from webauthn import options_to_json  # noqa: PLC0415

    made: dict[str, Any] = json.loads(options_to_json(options))
    return made


def _bytes(text: str) -> bytes:
    from webauthn import base64url_to_bytes  # noqa: PLC0415

    return base64url_to_bytes(text)


def _text(data: bytes) -> str:
    from webauthn.helpers import bytes_to_base64url  # noqa: PLC0415

    return bytes_to_base64url(data)
