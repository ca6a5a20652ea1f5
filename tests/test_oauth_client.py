"""A standard client finds its way by the 401 alone: the SDK's OAuth client and an authorization server that we did not write."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2
import pytest
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from broker.settings import TokenIssuer
from tests.conftest import empty
from tests.fakes.serving import started
from tests.fakes.wired import Wired, free_port, wired
from tests.node.install import install

ALICE = "alice@example.com"
BACK = "http://127.0.0.1:9/back"
RULES = """
defaults: {unmatched: deny, approval: {all_of: [{group: finance}], timeout: 15m}}
rules: [{id: free, match: {server: tools, tool: echo, groups_any: [support]}, effect: allow}]
"""


class Keeping:
    """Where the SDK keeps what it was given."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Browser:
    """Signs Alice in and agrees, as a person does in a browser; `asked` is what the authorization server was asked for last."""

    def __init__(self) -> None:
        self.asked: dict[str, list[str]] = {}
        self.times = 0
        self._answer = AuthorizationCodeResult(code="")

    async def go(self, address: str) -> None:
        self.asked = parse_qs(urlsplit(address).query)
        self.times += 1
        async with httpx2.AsyncClient() as http:
            answer = await http.get(address)
            while True:
                while answer.is_redirect:
                    onward = urljoin(str(answer.url), answer.headers["location"])
                    if onward.startswith(BACK):
                        told = {name: values[0] for name, values in parse_qs(urlsplit(onward).query).items()}
                        self._answer = AuthorizationCodeResult.model_validate(told)
                        return
                    answer = await http.get(onward)
                assert answer.status_code == 200, answer.text
                form = re.search(r'<form[^>]*action="([^"]+)"', answer.text)
                assert form is not None, answer.text
                prompt = re.search(r'name="prompt" value="(\w+)"', answer.text)
                fields = {"prompt": prompt[1] if prompt else "", "login": ALICE, "password": "x"}
                answer = await http.post(urljoin(str(answer.url), unescape(form[1])), data=fields)

    async def back(self) -> AuthorizationCodeResult:
        return self._answer


@pytest.fixture
def issuer() -> Any:
    node = install()
    script = Path(__file__).parent / "fakes" / "authorization_server.mjs"
    with started([str(node.program), str(script), str(node.modules)]) as address:
        yield address


@pytest.fixture
async def here(store_url: str, tmp_path: Path, issuer: str) -> AsyncIterator[Wired]:
    await empty(store_url)
    port = free_port()
    issuers = (TokenIssuer(issuer=issuer),)
    async with wired(
        store_url, tmp_path, rules=RULES, port=port, public_url=f"http://127.0.0.1:{port}", oauth_issuers=issuers
    ) as made:
        yield made


async def test_the_sdks_client_registers_signs_in_and_calls_knowing_the_address_alone(here: Wired) -> None:
    browser, keeping = Browser(), Keeping()
    url = f"{here.url}/mcp/tools"
    auth = OAuthClientProvider(
        url, OAuthClientMetadata(redirect_uris=[AnyUrl(BACK)], client_name="a client"), keeping, browser.go, browser.back
    )
    async with httpx2.AsyncClient(auth=auth) as http, Client(streamable_http_client(url, http_client=http)) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["echo", "approval_wait"]
        result = await client.call_tool("echo", {"text": "hello"})
    assert not result.is_error
    assert browser.asked["resource"] == [url]
    assert keeping.tokens is not None
    (call,) = here.upstream.of("tools/call")
    assert keeping.tokens.access_token not in str(call.headers)
    events = [entry.event for entry in await here.run.broker.store.audit.read(0, 100)]
    callers = {event.caller.user: event.caller.groups for event in events if hasattr(event, "caller")}
    assert callers == {ALICE: ("support",)}
    elsewhere = await here.call("echo", token=keeping.tokens.access_token[:-4] + "AAAA")
    assert elsewhere.status_code == 401


THREE = ("presto", "spark", "knowledge")


async def test_one_sign_in_is_enough_for_three_servers_and_none_of_them_sees_its_token(
    store_url: str, tmp_path: Path, issuer: str
) -> None:
    await empty(store_url)
    port, browser, keeping = free_port(), Browser(), Keeping()
    servers = "servers: {" + ", ".join(f"{name}: {{url: URL, tools: {{echo: {{}}}}}}" for name in THREE) + "}"
    rules = "defaults: {unmatched: deny}\nrules: [{id: free, match: {tool: echo, groups_any: [support]}, effect: allow}]"
    settings = {"public_url": f"http://127.0.0.1:{port}", "oauth_issuers": (TokenIssuer(issuer=issuer),)}
    async with wired(store_url, tmp_path, rules=rules, servers=servers, port=port, **settings) as here:
        url, about = f"{here.url}/mcp", OAuthClientMetadata(redirect_uris=[AnyUrl(BACK)], client_name="a client")
        auth = OAuthClientProvider(url, about, keeping, browser.go, browser.back)
        async with httpx2.AsyncClient(auth=auth) as http, Client(streamable_http_client(url, http_client=http)) as client:
            for name in THREE:
                assert not (await client.call_tool(f"{name}__echo", {"text": name})).is_error
        assert browser.times == 1
        assert keeping.tokens is not None
        assert len(here.upstream.of("tools/call")) == len(THREE)
        assert keeping.tokens.access_token not in str(here.upstream.seen)
