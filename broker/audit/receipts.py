"""Receipts: a signed statement that one call was approved, for the server that runs it (compact JWS, RFC 7515; EdDSA, RFC 8037).

Short-lived and single use. It names the rules and groups, not the people, unless the operator asks for them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.errors import BadSignatureError, InvalidKeyIdError, JoseError, SecurityWarning

from broker.audit.keys import PublicKeys, SigningKey
from broker.domain.calls import Caller, digest_of
from broker.domain.requests import ApprovalRequest
from broker.errors import BrokerError

LASTS = timedelta(minutes=5)
# Where a release carries it, in `_meta` of its `params`.
RECEIPT = "approval-broker/receipt"
KIND = "approval-receipt+jwt"
# The type of one that is handed out later, for the files.
RECORD = "approval-record+jwt"
# Seconds that the clocks of broker and server may differ.
LEEWAY = 30
_WHY: Mapping[type[Exception], str] = {
    BadSignatureError: "its signature is not that of its key",
    InvalidKeyIdError: "its key is not among those that are published",
}


class ReceiptInvalid(BrokerError):
    code = "receipt_invalid"


class Receipt(msgspec.Struct, frozen=True, omit_defaults=True):
    """The claims. `arguments` is the digest over the raw `params.arguments`, `call` over all that was reviewed.

    `caller_groups` are those of who calls. `by_caller`: nobody of a group approved it, the caller's own user confirmed it.
    """

    iss: str
    aud: str
    jti: str
    iat: int
    exp: int
    tool: str
    call: str
    arguments: str
    policy: str
    rules: tuple[str, ...]
    groups: tuple[str, ...]
    definition: str
    caller_groups: tuple[str, ...] = ()
    approvers: tuple[str, ...] = ()
    by_caller: bool = False


class Issuer:
    """Writes receipts with the broker's key."""

    def __init__(
        self, key: SigningKey, issuer: str, groups_of: Callable[[Caller], Sequence[str]] = lambda caller: caller.groups, *,
        name_people: bool = False,
    ) -> None:  # fmt: skip
        self._key = key
        self._issuer = issuer
        self._groups_of = groups_of
        self._name_people = name_people

    def receipt(self, request: ApprovalRequest, now: datetime) -> str:
        """Return the receipt for one claimed request: its id and fence make it single use."""
        return self._signed(KIND, request, now, LASTS)

    def record(self, request: ApprovalRequest, now: datetime) -> str:
        """Return the same statement for the files: it proves what was approved and opens no tool, not even at once."""
        return self._signed(RECORD, request, now, timedelta(0))

    def _signed(self, kind: str, request: ApprovalRequest, now: datetime, lasts: timedelta) -> str:
        fence = request.claim.fence if request.claim else 0
        people = tuple(sorted(review.reviewer for review in request.approvals))
        claims = Receipt(
            iss=self._issuer,
            aud=request.call.server,
            jti=f"{request.id}.{fence}",
            iat=int(now.timestamp()),
            exp=int((now + lasts).timestamp()),
            tool=request.call.tool,
            call=request.digest,
            arguments=digest_of(request.call.arguments),
            policy=request.policy,
            rules=request.rules,
            groups=() if request.confirmation is not None else request.plan.groups,
            definition=request.definition,
            caller_groups=tuple(sorted(self._groups_of(request.call.caller))),
            approvers=people if self._name_people else (),
            by_caller=request.confirmation is not None,
        )
        header = {"alg": "EdDSA", "kid": self._key.name, "typ": kind}
        with _quiet():
            return jwt.encode(header, msgspec.to_builtins(claims), self._key.jwk, algorithms=["EdDSA"])


def checked(
    token: str, keys: PublicKeys, *, server: str, tool: str, arguments: Mapping[str, Any], now: datetime, issuer: str = ""
) -> Receipt:
    """Return a receipt that holds for exactly this call. Raises `ReceiptInvalid`, which says what is wrong.

    `arguments` are the raw ones, before any coercion. Single use is the caller's to keep: by `jti`, until `exp`.
    """
    receipt = read(token, keys, kinds=(KIND,))
    wrong = _wrong(receipt, server, tool, int(now.timestamp()), issuer)
    if wrong:
        raise ReceiptInvalid(wrong)
    if receipt.arguments != digest_of(dict(arguments)):
        raise ReceiptInvalid("the receipt is for other arguments")
    return receipt


def read(token: str, keys: PublicKeys, *, kinds: Sequence[str] = (KIND, RECORD)) -> Receipt:
    """Return what a receipt, or a record of one, says, if its signature holds. Raises `ReceiptInvalid`."""
    if not token:
        raise ReceiptInvalid("there is no receipt")
    try:
        with _quiet():
            decoded = jwt.decode(token, keys.as_set(), algorithms=["EdDSA"])
        if decoded.header.get("typ") not in kinds:
            raise ReceiptInvalid("this is no receipt")
        return msgspec.convert(decoded.claims, Receipt)
    except (JoseError, ValueError, TypeError, KeyError, msgspec.ValidationError) as error:
        raise ReceiptInvalid(f"the receipt does not hold: {_WHY.get(type(error), 'it can not be read as one')}") from None


def _wrong(receipt: Receipt, server: str, tool: str, now: int, issuer: str) -> str:
    if issuer and receipt.iss != issuer:
        return "the receipt is from another broker"
    if receipt.aud != server:
        return "the receipt is for another server"
    if receipt.tool != tool:
        return "the receipt is for another tool"
    if now > receipt.exp + LEEWAY:
        return "the receipt has expired"
    if now < receipt.iat - LEEWAY:
        return "the receipt is from the future"
    return ""


class _quiet(warnings.catch_warnings):
    """RFC 9864 deprecates the name EdDSA; servers' libraries do not know the new one yet, so we keep the old."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore", SecurityWarning)
