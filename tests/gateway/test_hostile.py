"""Messages that nobody sends by mistake: refused with a well-formed error, nothing reaches the server, nothing crashes."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from broker.approvals.ports import Query
from tests.fakes.scripted import Reply, Seen, Upstream, answer
from tests.gateway.rig import Rig
from tests.gateway.wire import ENVELOPE, call, head, modern, post

META = json.dumps(ENVELOPE)


def raw_call(arguments: str, tool: str = "park_me", more: str = "") -> bytes:
    """A call whose arguments are written by hand."""
    return (
        f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments},{more}"_meta":{META}}}}}'
    ).encode("utf-8", "surrogatepass")


def saying(name: str, value: Any) -> bytes:
    """A call that says something under a name of ours."""
    return json.dumps(modern("tools/call", {"name": "park_me"}, **{f"approval-broker/{name}": value})).encode()


HOSTILE = {
    "a key twice": raw_call('{"amount": 1, "amount": 9000}'),
    "a key twice, once escaped": raw_call('{"amount": 1, "\\u0061mount": 9000}'),
    "a name twice": raw_call("{}", more='"name": "echo",'),
    "a method twice": raw_call("{}").replace(b'"id":1', b'"id":1,"method":"tools/list"'),
    "a lone surrogate, escaped": raw_call('{"note": "\\ud800"}'),
    "a lone surrogate, in bytes": raw_call('{"note": "\ud800"}'),
    "a lone surrogate in a key": raw_call('{"\\udfff": 1}'),
    "no UTF-8": raw_call('{"note": "?"}').replace(b"?", b"\xff"),
    "NaN": raw_call('{"amount": NaN}'),
    "Infinity": raw_call('{"amount": -Infinity}'),
    "1e400": raw_call('{"amount": 1e400}'),
    "2^70": raw_call(f'{{"amount": {2**70}}}'),
    "2^53": raw_call(f'{{"deep": [{{"amount": {2**53}}}]}}'),
    "2^53 beside the arguments": raw_call("{}", more=f'"other": {2**53},'),
    "a number of 5,000 digits": raw_call(f'{{"amount": {"9" * 5_000}}}'),
    "20,000 nested arrays": raw_call("[" * 20_000 + "]" * 20_000),
    "20,000 nested objects": raw_call('{"a":' * 20_000 + "1" + "}" * 20_000),
    "20,000 nested arrays in _meta": raw_call("{}", more='"_meta":' + "[" * 20_000 + "]" * 20_000 + ","),
    "900 nested arrays": raw_call("[" * 900 + "]" * 900),
    "a batch": b"[" + raw_call("{}") + b"]",
    "a string": b'"tools/call"',
    "nothing": b"",
    "half": raw_call("{}")[:-5],
    "two": raw_call("{}") + raw_call("{}"),
    "a byte order mark": b"\xef\xbb\xbf" + raw_call("{}"),
    "arguments null": raw_call("null"),
    "arguments a list": raw_call("[]"),
    "params a list": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[]}',
    "params null": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":null}',
    "an id of true": raw_call("{}").replace(b'"id":1', b'"id":true'),
    "an id of null": raw_call("{}").replace(b'"id":1', b'"id":null'),
    "an id of 1.5": raw_call("{}").replace(b'"id":1', b'"id":1.5'),
    "another JSON-RPC": raw_call("{}").replace(b'"2.0"', b'"1.0"'),
    "a request that is an answer too": raw_call("{}").replace(b'"id":1', b'"id":1,"result":{}'),
    "a response": b'{"jsonrpc":"2.0","id":1,"result":{}}',
    "an empty method": raw_call("{}").replace(b'"tools/call"', b'""'),
    "forged inputResponses": raw_call("{}", more='"inputResponses": {"a": {"action": "accept"}},'),
    "a forged requestState": raw_call("{}", more='"requestState": "x",'),
    "a task": raw_call("{}", more='"task": {"ttl": 1},'),
    "a long idempotency key": saying("idempotency-key", "k" * 201),
    "a long reason": saying("reason", "w" * 301),
    "a reason that is no text": saying("reason", ["w"]),
    "half a character as a reason": saying("reason", "\ud800"),
}


async def test_a_hostile_message_is_refused_and_goes_nowhere(scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient) -> None:
    for name, message in HOSTILE.items():
        response = await http.post(scripted.mcp("scripted"), content=message, headers=head("tools/call", "park_me"))
        error = response.json()["error"]
        assert (response.status_code, error["code"] in (-32700, -32600, -32602)) == (400, True), (name, response.text)
        assert len(error["message"]) < 200, name
    assert upstream.of("tools/call") == []
    assert (await scripted.store.requests.find(Query())).requests == ()


async def test_arguments_beyond_the_policys_limits_are_denied_and_audited(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient
) -> None:
    nested: Any = []
    for _ in range(40):
        nested = [nested]
    for arguments in ({"deep": nested}, {"text": "x" * 300_000}):
        result = (await post(http, scripted.mcp("scripted"), call("park_me", arguments))).json()["result"]
        assert (result["_meta"], "(arguments)" in result["content"][0]["text"]) == ({"approval-broker/code": "denied"}, True)
    assert upstream.of("tools/call") == []
    rules = [entry.event.rules for entry in await scripted.store.audit.read(0, 10)]  # type: ignore[union-attr]
    assert rules == [("arguments",), ("arguments",)]


@pytest.mark.parametrize("size", [1 << 20, 10_000_000])
async def test_a_body_of_more_than_a_megabyte_is_refused_and_people_are_shown_nothing(
    scripted: Rig, http: httpx2.AsyncClient, size: int
) -> None:
    response = await post(http, scripted.mcp("scripted"), call("park_me", {"text": "<script>" * (size // 8)}))
    assert (response.status_code, response.json()["error"]["code"]) == (413, -32600)
    assert (await scripted.store.requests.find(Query(), limit=1)).requests == ()


async def test_text_that_hides_itself_passes_as_it_is_and_is_held_as_it_is(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient
) -> None:
    arguments = {"note": "<script>alert(1)</script>\u202e"}
    await post(http, scripted.mcp("scripted"), call("echo", arguments))
    [seen] = upstream.of("tools/call")
    assert seen.message is not None and seen.message["params"]["arguments"] == arguments


MISMATCHES: dict[str, dict[str, str]] = {
    "another method": {"mcp_method": "tools/list"},
    "another tool": {"mcp_name": "balance"},
    "a broken name": {"mcp_name": "=?base64?!?="},
    "a name that is not canonical": {"mcp_name": "=?base64?cGFya19tZR==?="},
    "no such revision": {"mcp_protocol_version": "2031-01-01"},
    "an older revision": {"mcp_protocol_version": "2025-06-18"},
}


async def test_headers_that_disagree_with_the_body_are_refused_before_parking(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient
) -> None:
    for name, headers in MISMATCHES.items():
        response = await post(http, scripted.mcp("scripted"), call("park_me"), **headers)
        code = -32022 if name == "no such revision" else -32020
        told = (response.status_code, response.json()["error"]["code"], response.json()["id"])
        assert told == (400, code, 1), name
    assert upstream.of("tools/call") == []


async def test_a_parameter_header_that_the_tool_does_not_mirror_is_not_sent_on(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient
) -> None:
    assert (await post(http, scripted.mcp("scripted"), call("echo"), mcp_param_amount="1")).status_code == 200
    assert "mcp-param-amount" not in upstream.of("tools/call")[0].headers


async def test_a_mirrored_parameter_has_to_agree_with_the_body(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient
) -> None:
    amount = {"type": "integer", "x-mcp-header": "Amount"}
    schema = {"type": "object", "properties": {"amount": amount}}

    async def listed(seen: Seen, reply: Reply) -> None:
        kept = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
        await reply.json(answer(seen, {"tools": [{"name": "echo", "inputSchema": schema}], **kept}))

    upstream.on["tools/list"] = listed
    url = scripted.mcp("scripted")
    wrong = await post(http, url, call("echo", {"amount": 9000}), mcp_param_amount="1")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, -32020)
    right = await post(http, url, call("echo", {"amount": 9000}), mcp_param_amount="9000")
    assert right.status_code == 200
    assert [seen.headers["mcp-param-amount"] for seen in upstream.of("tools/call")] == ["9000"]


async def test_a_header_that_comes_twice_is_refused(scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient) -> None:
    for name in ("mcp-name", "mcp-method", "mcp-protocol-version", "mcp-param-a", "authorization", "accept"):
        once = {**head("tools/call", "echo"), "mcp-param-a": "1", "authorization": "Bearer alice"}
        response = await http.post(scripted.mcp("scripted"), json=call(), headers=[*once.items(), (name, "echo")])
        assert (response.status_code, "twice" in response.text) == (400, True), (name, response.text)
    assert upstream.of("tools/call") == []
