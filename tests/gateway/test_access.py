"""Who may speak to the gateway, and about what."""

from __future__ import annotations

import anyio
import httpx2
import pytest

from tests.fakes.scripted import Upstream
from tests.gateway.rig import PEOPLE, Rig
from tests.gateway.wire import ACCEPT, begun, call, legacy, modern, post, request


async def test_without_a_known_token_there_is_a_401_and_nothing_else(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient
) -> None:
    for authorization in ("", "Bearer nobody", "Basic YWxpY2U6"):
        for verb in ("POST", "GET", "DELETE"):
            for server in ("scripted", "unknown"):
                response = await http.request(verb, scripted.mcp(server), headers={"authorization": authorization})
                assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
                assert response.json()["error"]["message"] == "a bearer token is needed"
    assert upstream.seen == []


async def test_a_server_that_is_not_there_and_one_that_is_not_for_this_caller_read_alike(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient
) -> None:
    unknown = await post(http, scripted.mcp("unknown"), call())
    foreign = await post(http, scripted.mcp("scripted"), call(), authorization="Bearer narrow")
    assert (unknown.status_code, unknown.text) == (404, foreign.text)
    assert upstream.seen == []


async def test_a_server_for_some_groups_is_closed_to_others_at_every_request_and_nothing_reaches_it(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient
) -> None:
    url, servers = scripted.mcp("scripted"), scripted.policies.folder / "servers.yaml"
    session = await begun(http, url)
    upstream.seen.clear()
    narrowed = servers.read_text().replace("tools: {", "groups: [finance], tools: {")
    scripted.policies.write(servers=narrowed)  # a session that was begun before helps nobody
    for message in (modern("server/discover"), modern("tools/list"), call(), modern("resources/list")):
        refused = await post(http, url, message)
        assert (refused.status_code, refused.json()["error"]["message"]) == (403, "the server is for members of finance")
    for answer in (
        await legacy(http, url, request("tools/list"), session),
        await http.get(url, headers={"authorization": "Bearer alice", "accept": "text/event-stream"}),
        await http.delete(url, headers={"authorization": "Bearer alice", "mcp-session-id": session}),
    ):
        assert answer.status_code == 403
    assert upstream.seen == []
    people = f"{PEOPLE.replace('finance: [', 'finance: [alice@example.com, ')}"
    scripted.policies.write(people=people)
    assert (await post(http, url, call())).status_code == 200


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("host", "evil.example.com"),
        ("host", "127.0.0.1.evil.example.com:8450"),
        ("host", "[::2]:8450"),
        ("host", ""),
        ("origin", "https://evil.example.com"),
        ("origin", "null"),
        ("origin", "http://localhost.evil.example.com"),
        ("origin", "localhost"),
    ],
)
async def test_a_page_elsewhere_cannot_speak_to_the_broker(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient, header: str, value: str
) -> None:
    response = await post(http, scripted.mcp("scripted"), call(), **{header: value})
    assert (response.status_code, upstream.seen) == (403, [])


async def test_our_own_names_and_no_origin_are_welcome(scripted: Rig, http: httpx2.AsyncClient) -> None:
    for headers in (
        {"host": "LOCALHOST:8450"}, {"origin": "http://localhost:3000"}, {"host": "127.0.0.1"}, {"host": "[::1]:8450"},
        {"host": "[::1]", "origin": "http://[::1]:8450"},
    ):  # fmt: skip
        assert (await post(http, scripted.mcp("scripted"), call(), **headers)).status_code == 200


async def test_what_is_not_json_is_not_taken(scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient) -> None:
    for media in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""):
        assert (await post(http, scripted.mcp("scripted"), call(), content_type=media)).status_code == 415
    assert upstream.seen == []


async def test_methods_outside_the_table_are_unknown_unless_the_catalogue_lists_them(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient
) -> None:
    url = scripted.mcp("scripted")
    for method in ("ping", "initialize", "logging/setLevel", "tasks/list", "tasks/result", "tools\\call", "TOOLS/CALL", "x/y"):
        response = await post(http, url, modern(method))
        assert (response.status_code, response.json()["error"]["code"]) == (404, -32601), method
    session = await begun(http, url)
    for method in ("server/discover", "tasks/list", "x/y"):
        response = await legacy(http, url, request(method), session)
        assert (response.status_code, response.json()["error"]["code"]) == (200, -32601), method
    assert {seen.method for seen in upstream.seen} == {"initialize"}
    scripted.methods["scripted"] = ("x/y",)
    assert (await post(http, url, modern("x/y"))).json()["result"] == {"resultType": "complete"}


async def test_a_call_without_an_id_is_a_notification_and_goes_nowhere(
    scripted: Rig, upstream: Upstream, http: httpx2.AsyncClient
) -> None:
    url = scripted.mcp("scripted")
    session = await begun(http, url)
    silent = {key: value for key, value in call("park_me").items() if key != "id"}
    assert (await post(http, url, silent)).status_code == 202
    assert (await legacy(http, url, silent | {"params": {"name": "park_me"}}, session)).status_code == 202
    assert (await legacy(http, url, {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}, session)).status_code == 202
    assert [seen.method for seen in upstream.seen] == ["initialize", "notifications/roots/list_changed"]


async def test_other_verbs_are_refused(scripted: Rig, http: httpx2.AsyncClient) -> None:
    for verb in ("PUT", "PATCH", "OPTIONS", "TRACE"):
        response = await http.request(verb, scripted.mcp("scripted"))
        assert (response.status_code, response.headers["allow"]) == (405, "POST, GET, DELETE")


@pytest.mark.parametrize("begun", [b'{"jsonrpc"', b""])
async def test_a_body_that_never_ends_is_given_up(
    scripted: Rig, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr("broker.gateway.exchange.BODY_WITHIN", 0.2)
    host, _, port = scripted.url.removeprefix("http://").partition(":")
    stream = await anyio.connect_tcp(host, int(port))
    lines = ["POST /mcp/scripted HTTP/1.1", "host: localhost", "authorization: Bearer alice", "content-length: 99"]
    lines += [f"{name}: {value}" for name, value in ACCEPT.items()]
    async with stream:
        await stream.send("\r\n".join(lines).encode() + b"\r\n\r\n" + begun)
        with anyio.fail_after(5):
            assert b" 408 " in await stream.receive()
    assert upstream.seen == []
