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
from joserfc.jwk import ECKey, OctKey, OKPKey

from broker.audit.keys import PublicKeys, published, signing_key
from broker.audit.receipts import KIND, Issuer, ReceiptInvalid, checked, read
from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import ApprovalPlan, Requirement, RuleApproval
from broker.domain.requests import ApprovalRequest, Claim, RequestId, RequestState
from broker.errors import ConfigInvalid

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
ARGUMENTS = {"amount": 9000, "customer": "c-17"}
A_KEY = OKPKey.generate_key("Ed25519").as_dict(private=False)


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
    key = signing_key(tmp_path / "keys.pem")
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


@pytest.mark.parametrize(
    "jwks", [None, [], "keys", {}, {"keys": []}, {"keys": [None]}, {"keys": [{"kty": "OKP", "crv": "Ed25519"}]}]
)
def test_what_holds_no_key_vouches_for_nothing(jwks: Any) -> None:
    with pytest.raises(ConfigInvalid, match=r"no JWKS with an Ed25519 key: the broker's is at /.well-known/jwks.json"):
        PublicKeys(jwks)


def test_keys_of_other_kinds_stand_beside_the_brokers(keys: Any) -> None:
    key, _ = keys
    others = [ECKey.generate_key("P-256").as_dict(private=False), {"kty": "of tomorrow"}]
    assert read(Issuer(key, "x").receipt(approved(), NOW), PublicKeys({"keys": [*others, key.public()]})).aud == "payments"


def test_a_receipt_signed_by_a_stranger_or_with_a_shared_secret_is_refused(keys: Any, tmp_path: Path) -> None:
    key, public = keys
    stranger = signing_key(tmp_path / "other.pem")
    forged = [Issuer(stranger, "x").receipt(approved(), NOW)]
    secret = OctKey.import_key(json.dumps(key.public()))
    forged.append(jwt.encode({"alg": "HS256", "kid": key.name, "typ": KIND}, {"aud": "payments"}, secret))
    forged.append("eyJhbGciOiJub25lIn0." + forged[0].split(".")[1] + ".")
    for token in forged:
        with pytest.raises(ReceiptInvalid):
            read(token, public)


@given(st.text() | st.binary().map(lambda raw: raw.hex()) | st.lists(st.text(), min_size=3, max_size=3).map(".".join))
def test_no_garbage_is_a_receipt(token: str) -> None:
    with pytest.raises(ReceiptInvalid):
        read(token, PublicKeys({"keys": [A_KEY]}))


def test_a_changed_byte_breaks_a_receipt(keys: Any) -> None:
    key, public = keys
    token = Issuer(key, "x").receipt(approved(), NOW)
    head, body, signature = token.split(".")
    for broken in (f"{head}.{body[:-2]}AA.{signature}", f"{head}.{body}.{signature[:-4]}AAAA", f"{head}.{body}"):
        with pytest.raises(ReceiptInvalid):
            read(broken, public)


def test_a_record_for_the_files_says_the_same_and_opens_no_tool(keys: Any) -> None:
    key, public = keys
    issuer = Issuer(key, "x")
    receipt, record = issuer.receipt(approved(), NOW), issuer.record(approved(), NOW)
    assert read(record, public) == msgspec.structs.replace(read(receipt, public), exp=int(NOW.timestamp()))
    with pytest.raises(ReceiptInvalid, match="no receipt"):
        checked(record, public, server="payments", tool="refund_create", arguments=ARGUMENTS, now=NOW)


def test_a_key_that_signed_before_is_still_published_and_the_first_signs(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    old = signing_key(path)
    before = Issuer(old, "x").receipt(approved(), NOW)
    fresh = signing_key(tmp_path / "fresh.pem")
    path.write_bytes((tmp_path / "fresh.pem").read_bytes() + path.read_bytes())
    assert signing_key(path).name == fresh.name
    jwks = published(path)
    assert [(key["kid"], "d" in key) for key in jwks["keys"]] == [(fresh.name, False), (old.name, False)]
    for token in (before, Issuer(signing_key(path), "x").receipt(approved(), NOW)):
        read(token, PublicKeys(jwks))
    path.write_bytes((tmp_path / "fresh.pem").read_bytes())
    with pytest.raises(ReceiptInvalid):
        read(before, PublicKeys(published(path)))


@pytest.mark.parametrize("content", [b"", b"no key", ECKey.generate_key("P-256").as_pem(private=True)])
def test_a_file_without_a_key_that_signs_is_no_key(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    with pytest.raises(ConfigInvalid):
        signing_key(path)


def test_a_public_key_signs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(signing_key(tmp_path / "made.pem").jwk.as_pem(private=False))
    with pytest.raises(ConfigInvalid, match="private"):
        signing_key(path)


def test_a_receipt_names_the_groups_of_the_caller_and_nobody(keys: Any) -> None:
    key, public = keys
    token = Issuer(key, "x", lambda caller: ("support", "ads")).receipt(approved(), NOW)
    assert read(token, public).caller_groups == ("ads", "support")
    assert "bot" not in str(msgspec.to_builtins(read(token, public)))


def test_people_are_named_only_if_asked_for(keys: Any) -> None:
    key, public = keys
    token = Issuer(key, "x", name_people=True).receipt(approved(), NOW)
    assert msgspec.to_builtins(read(token, public))["aud"] == "payments"
