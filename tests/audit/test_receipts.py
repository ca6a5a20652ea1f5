from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import OctKey

from broker.audit.keys import PublicKeys, signing_key
from broker.audit.receipts import KIND, Issuer, ReceiptInvalid, checked, read
from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import ApprovalPlan, Requirement, RuleApproval
from broker.domain.requests import ApprovalRequest, Claim, RequestId, RequestState

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
ARGUMENTS = {"amount": 9000, "customer": "c-17"}


def approved() -> ApprovalRequest:
    call = ToolCall("payments", "refund_create", {"name": "refund_create", "arguments": ARGUMENTS}, Caller(agent="bot"))
    plan = ApprovalPlan("Refund", (RuleApproval("refund-large", (Requirement("finance"),)),), timedelta(minutes=5))
    return ApprovalRequest(
        id=RequestId("apr_0_" + "a" * 26), version=3, state=RequestState.EXECUTING, call=call, digest=call.digest(), plan=plan,
        policy="sha256:p", definition="sha256:d", rules=("refund-large",), reasons=(), opened_at=NOW,
        expires_at=NOW + timedelta(minutes=5), claim=Claim(1, "broker-1", "n", NOW + timedelta(seconds=30)),
    )  # fmt: skip


@pytest.fixture
def keys(tmp_path: Path) -> Any:
    key = signing_key(tmp_path / "keys")
    return key, PublicKeys({"keys": [key.public()]})


def test_a_receipt_holds_for_the_approved_call(keys: Any) -> None:
    key, public = keys
    token = Issuer(key, "https://approvals.example.com").receipt(approved(), NOW)
    receipt = checked(token, public, server="payments", tool="refund_create", arguments=ARGUMENTS, now=NOW)
    assert (receipt.call, receipt.rules, receipt.groups, receipt.approvers) == (
        approved().digest,
        ("refund-large",),
        ("finance",),
        (),
    )


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"server": "files"}, "another server"),
        ({"tool": "payout_create"}, "another tool"),
        ({"arguments": {**ARGUMENTS, "amount": 9001}}, "other arguments"),
        ({"arguments": {**ARGUMENTS, "amount": "9000"}}, "other arguments"),
        ({"now": NOW + timedelta(minutes=6)}, "expired"),
        ({"now": NOW - timedelta(minutes=1)}, "future"),
        ({"issuer": "https://elsewhere.example"}, "another broker"),
    ],
)
def test_a_receipt_for_anything_else_is_refused(keys: Any, changes: dict[str, Any], what: str) -> None:
    key, public = keys
    token = Issuer(key, "https://approvals.example.com").receipt(approved(), NOW)
    asked: dict[str, Any] = {"server": "payments", "tool": "refund_create", "arguments": ARGUMENTS, "now": NOW, **changes}
    with pytest.raises(ReceiptInvalid, match=what):
        checked(token, public, **asked)


def test_a_receipt_signed_by_a_stranger_or_with_a_shared_secret_is_refused(keys: Any, tmp_path: Path) -> None:
    key, public = keys
    stranger = signing_key(tmp_path / "other")
    forged = [Issuer(stranger, "x").receipt(approved(), NOW)]
    secret = OctKey.import_key(json.dumps(key.public()))
    forged.append(jwt.encode({"alg": "HS256", "kid": key.name, "typ": KIND}, {"aud": "payments"}, secret))
    forged.append("eyJhbGciOiJub25lIn0." + forged[0].split(".")[1] + ".")
    for token in forged:
        with pytest.raises(ReceiptInvalid):
            read(token, public)


@given(st.text() | st.binary().map(lambda raw: raw.hex()) | st.lists(st.text(), min_size=3, max_size=3).map(".".join))
def test_no_garbage_is_a_receipt(token: str) -> None:
    public = PublicKeys({"keys": []})
    with pytest.raises(ReceiptInvalid):
        read(token, public)


def test_a_changed_byte_breaks_a_receipt(keys: Any) -> None:
    key, public = keys
    token = Issuer(key, "x").receipt(approved(), NOW)
    head, body, signature = token.split(".")
    for broken in (f"{head}.{body[:-2]}AA.{signature}", f"{head}.{body}.{signature[:-4]}AAAA", f"{head}.{body}"):
        with pytest.raises(ReceiptInvalid):
            read(broken, public)


def test_people_are_named_only_if_asked_for(keys: Any) -> None:
    key, public = keys
    token = Issuer(key, "x", name_people=True).receipt(approved(), NOW)
    assert msgspec.to_builtins(read(token, public))["aud"] == "payments"
