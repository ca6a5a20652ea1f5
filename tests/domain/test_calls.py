"""What a digest binds, what joins, and who stands behind a call."""

import hashlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.domain.calls import Caller, ToolCall, digest_of, join_of
from broker.errors import Malformed

CALLER = Caller(agent="bot", user="al@x", workload="w")


def a_call(params: dict[str, Any] | None = None, **changes: Any) -> ToolCall:
    return msgspec.structs.replace(ToolCall("s", "t", params or {"name": "t", "arguments": {"a": 1, "b": 2}}, CALLER), **changes)


def test_the_digest_is_of_the_canonical_form() -> None:
    canonical = '{"arguments":{"a":1,"b":2},"rest":{},"server":"s","tool":"t"}'
    assert a_call().digest() == "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


@pytest.mark.parametrize(
    "same",
    [
        {"name": "t", "arguments": {"b": 2, "a": 1}},
        {"name": "t", "arguments": {"a": 1.0, "b": 2}},
        {"arguments": {"a": 1, "b": 2}},
    ],
)
def test_order_and_spelling_of_numbers_change_no_digest(same: dict[str, Any]) -> None:
    assert a_call(same).digest() == a_call().digest()


@pytest.mark.parametrize(
    "other",
    [
        a_call(server="s2"),
        a_call(tool="t2"),
        a_call({"name": "t", "arguments": {"a": 1, "b": "2"}}),
        a_call({"name": "t", "arguments": {"a": 1, "b": 2, "c": None}}),
        a_call({"name": "t", "arguments": {"a": 1, "b": 2}, "task": {"ttl": 1}}),
        a_call({"name": "t", "arguments": {"a": "1", "b": 2}}),
    ],
)
def test_everything_that_can_change_the_effect_changes_the_digest(other: ToolCall) -> None:
    assert other.digest() != a_call().digest()


def test_the_caller_is_no_part_of_the_digest() -> None:
    assert a_call(caller=Caller(agent="other"), idempotency_key="k").digest() == a_call().digest()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, -(2**53), "\ud800", {1: 2}, {"x": b"y"}])
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(Malformed):
        digest_of({"value": value})


def test_depth_without_end_is_refused() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(Malformed):
        digest_of(deep)
    while isinstance(deep, list):  # taken apart by hand: freeing it in one go would exhaust the stack
        deep = deep[0]


def test_absent_arguments_are_empty() -> None:
    assert a_call({"name": "t"}).arguments == {}


def joined(one: ToolCall, other: ToolCall) -> bool:
    return join_of(one, one.digest()) == join_of(other, other.digest())


@pytest.mark.parametrize(
    ("other", "joins"),
    [
        (a_call(), True),
        (a_call(caller=msgspec.structs.replace(CALLER, client="claude", client_version="2", groups=("g",))), True),
        (a_call(caller=msgspec.structs.replace(CALLER, user="eve@x")), False),
        (a_call(server="s2"), False),
        (a_call({"name": "t", "arguments": {"a": 2}}), False),
        (a_call(idempotency_key="k"), False),
    ],
)
def test_what_joins_an_open_request(other: ToolCall, joins: bool) -> None:
    assert joined(a_call(), other) is joins


def test_an_idempotency_key_joins_whatever_the_digest_so_that_its_reuse_is_noticed() -> None:
    assert joined(a_call(idempotency_key="k"), a_call({"arguments": {}}, idempotency_key="k"))
    assert not joined(a_call(idempotency_key="k"), a_call(idempotency_key="l"))


def test_a_key_that_looks_like_a_digest_is_still_a_key() -> None:
    assert not joined(a_call(), a_call(idempotency_key=a_call().digest()))


@given(st.tuples(st.text(), st.text(), st.text()), st.tuples(st.text(), st.text(), st.text()))
def test_different_identities_never_share_a_principal(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    def principal(parts: tuple[str, str, str]) -> str:
        return Caller(agent=parts[0], user=parts[1], workload=parts[2]).principal

    assert (principal(one) == principal(other)) is (one == other)


def test_parts_of_a_principal_can_not_run_into_each_other() -> None:
    assert Caller(agent="a|b").principal != Caller(agent="a", user="b").principal
    assert Caller(agent="a\\", user="b").principal != Caller(agent="a\\|b").principal


def test_the_people_behind_a_call_are_its_user_and_the_agents_owner() -> None:
    assert Caller(user="al@x", owner="ow@x").people == {"al@x", "ow@x"}
    assert Caller(agent="bot").people == frozenset()


def test_who_stands_behind_a_call_does_so_however_the_name_is_spelled() -> None:
    caller = Caller(agent="bot", user="Al@x", owner="bo@x")
    assert [person for person in ("al@X", "BO@x", "cy@x", "bot", "") if caller.backed_by(person)] == ["al@X", "BO@x"]


def test_a_credential_may_be_limited_to_servers() -> None:
    assert Caller().may_use("any")
    assert Caller(servers=("a",)).may_use("a")
    assert not Caller(servers=("a",)).may_use("b")
    assert not Caller(servers=()).may_use("a")
