from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import Malformed
from broker.gateway.envelope import Message, check_judged, encoded, parsed

numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values)
def test_what_is_sent_reads_like_what_came(value: Any) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "m", "params": {"value": value}}
    for raw in (json.dumps(body), json.dumps(body, ensure_ascii=False, indent=2)):
        message = parsed(raw.encode())
        assert json.loads(message.encoded()) == body


@given(json_values)
def test_a_message_is_read_alike_however_it_is_written(value: Any) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "m", "params": {"value": value}}
    compact, loose = encoded(body), json.dumps(body, indent=1).encode()
    assert repr(parsed(compact).body) == repr(parsed(loose).body)  # types and signs of zero too


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | json_values.map(lambda v: json.dumps(v).encode()))
def test_any_bytes_are_a_message_or_malformed(raw: bytes) -> None:
    try:
        message = parsed(raw)
        check_judged(message)
        message.encoded()
    except Malformed as error:
        assert error.fields["rpc"] in (-32700, -32600, -32602)


@pytest.mark.parametrize(
    ("raw", "method", "id", "asks"),
    [
        (b'{"jsonrpc":"2.0","id":1,"method":"ping"}', "ping", 1, True),
        (b'{"jsonrpc":"2.0","id":"","method":"ping","params":{}}', "ping", "", True),
        (b'{"jsonrpc":"2.0","method":"notifications/initialized"}', "notifications/initialized", None, False),
        (b'{"jsonrpc":"2.0","id":0,"result":{}}', "", 0, False),
        (b'{"jsonrpc":"2.0","id":0,"error":{"code":1,"message":"m"}}', "", 0, False),
    ],
)
def test_requests_notifications_and_responses_are_told_apart(raw: bytes, method: str, id: Any, asks: bool) -> None:
    message = parsed(raw)
    assert (message.method, message.id, message.request, message.params) == (method, id, asks, {})


def test_what_is_judged_is_what_is_encoded_and_not_what_came_in() -> None:
    raw = b' {"method":"m", "jsonrpc":"2.0" ,"id":1,"params":{"a":"\\u0041\\/","n":1.50}} '
    assert parsed(raw).encoded() == b'{"method":"m","jsonrpc":"2.0","id":1,"params":{"a":"A/","n":1.5}}'


def test_integers_are_only_bounded_where_a_call_is_judged() -> None:
    raw = b'{"jsonrpc":"2.0","id":%d,"method":"m","params":{"name":"t","_meta":{"n":%d},"arguments":{"s":"%d"}}}'
    message = parsed(raw % (2**60, 2**60, 2**60))
    check_judged(message)
    assert str(2**60).encode() in message.encoded()


def test_a_message_that_cannot_be_encoded_is_malformed() -> None:
    deep: Any = []
    for _ in range(5_000):
        deep = [deep]
    for odd in ("\ud800", deep):
        with pytest.raises(Malformed):
            encoded({"a": odd})


def test_meta_that_is_no_object_is_empty() -> None:
    message = Message({}, "m", 1, {"_meta": [1]}, b"")
    assert message.meta == {}


@pytest.mark.parametrize(
    "number",
    ["1e309", "1E+309", "-1e400", "1e0000309", "1" * 310 + ".0", "1" * 250 + "e99", "1" * 199 + "." + "1" * 400 + "e+111"],
)
def test_a_number_beyond_a_double_is_malformed_however_it_is_written(number: str) -> None:
    with pytest.raises(Malformed, match="too large"):
        parsed(b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"n": [1.5, %b]}}' % number.encode())


@pytest.mark.parametrize("number", ["1e308", "1e-400", "1" * 199 + "e99", "1" * 300 + ".0", "-1.7976931348623157e+308"])
def test_a_number_within_a_double_is_read_however_it_is_written(number: str) -> None:
    assert parsed(b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"n": %b}}' % number.encode()).params == {"n": float(number)}
