"""Where the broker's own connections may go: what an attacker may choose leads to the open internet or nowhere."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from broker.errors import ConfigInvalid, UpstreamUntouched
from broker.outgoing import AddressRefused, Connector, Found, Reach, client, dialled, refused
from broker.upstream.http import HttpServers, Target
from tests.fakes.scripted import Upstream
from tests.gateway.rig import serving

CLOSED = (
    "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.100.100.200",
    "168.63.129.16", "192.0.0.192", "198.18.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0",
    "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:7f00:1::",
    "::127.0.0.1", "::ffff:0:127.0.0.1", "fec0::1", "3fff::1", "5f00::1",
)  # fmt: skip


@pytest.mark.parametrize("address", CLOSED)
def test_what_is_not_public_is_closed(address: str) -> None:
    assert not Reach().permits("files.example.com", address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"])
def test_the_open_internet_is_open(address: str) -> None:
    assert Reach().permits("files.example.com", address)


@pytest.mark.parametrize(
    ("url", "networks", "host", "address", "open_"),
    [
        ("http://127.0.0.1:9001/mcp", (), "127.0.0.1", "127.0.0.1", True),
        ("http://127.0.0.1:9001/mcp", (), "127.0.0.2", "127.0.0.2", False),
        ("http://[::1]:9001/mcp", (), "::1", "::1", True),
        ("http://localhost/mcp", (), "localhost", "127.0.0.1", True),
        ("http://localhost/mcp", (), "localhost", "10.0.0.1", False),
        ("http://localhost/mcp", (), "elsewhere", "127.0.0.1", False),
        ("http://Files.Internal/mcp", ("10.0.0.0/8",), "files.internal", "10.9.9.9", True),
        ("http://files.internal/mcp", ("10.0.0.0/8",), "files.internal", "192.168.0.1", False),
        ("http://files.internal/mcp", ("10.0.0.0/8",), "mail.internal", "10.9.9.9", False),
        ("http://files.internal/mcp", ("private",), "files.internal", "172.20.0.3", True),
        ("http://files.internal/mcp", ("private",), "files.internal", "169.254.169.254", False),
        ("http://files.internal/mcp", (), "files.internal", "10.9.9.9", False),
    ],
)
def test_an_operators_file_opens_what_it_lists_and_no_more(
    url: str, networks: tuple[str, ...], host: str, address: str, open_: bool
) -> None:
    assert Reach([url], networks).permits(host, address) is open_


def test_a_later_word_about_an_address_replaces_the_earlier() -> None:
    reach = Reach(["http://files.internal/mcp"], ["private"])
    reach.open("http://files.internal/mcp")
    assert not reach.permits("files.internal", "10.9.9.9")


def test_a_network_that_is_none_is_named() -> None:
    with pytest.raises(ConfigInvalid, match=r"`10\.0\.0\.1/8` is no network"):
        Reach(["http://files.internal"], ["10.0.0.1/8"])


class Rebinding(AbstractResolver):
    """A name that lies in public when it is looked at, and on this machine when somebody connects."""

    def __init__(self) -> None:
        self.asked = 0

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        self.asked += 1
        address = "93.184.216.34" if self.asked == 1 else "127.0.0.1"
        return [{"hostname": host, "host": address, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    async def close(self) -> None: ...


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    server = Upstream()
    async with serving(server) as server.url:
        yield server


async def test_a_name_that_is_bound_to_another_address_later_leads_nowhere(upstream: Upstream) -> None:
    resolver = Rebinding()
    assert Reach().permits("evil.example.com", (await resolver.resolve("evil.example.com"))[0]["host"])  # whoever looks first
    async with aiohttp.ClientSession(connector=Connector(Reach(), resolver=resolver)) as session:
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await session.get(upstream.url.replace("127.0.0.1", "evil.example.com"))
    assert refused(caught.value) == "evil.example.com lies at an address that is not public and not listed"
    assert upstream.seen == []


async def test_a_name_that_is_bound_to_another_address_later_leads_no_message_there(upstream: Upstream) -> None:
    resolver = Rebinding()
    port = int(upstream.url.rsplit(":", 1)[1])

    async def resolve(host: str, port: int) -> Sequence[Found]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one["host"], port)) for one in await resolver.resolve(host, port)]

    assert Reach().permits("evil.example.com", (await resolve("evil.example.com", port))[0][4][0])
    with pytest.raises(AddressRefused, match=r"evil\.example\.com lies at an address that is not public"):
        (await dialled(Reach(), "evil.example.com", port, resolve)).close()


@pytest.mark.parametrize("host", ["localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "127.1", "2130706433", "0x7f000001"])
async def test_no_spelling_of_this_machine_gets_a_message_of_an_enrolled_server(upstream: Upstream, host: str) -> None:
    servers = HttpServers(lambda name: Target(upstream.url.replace("127.0.0.1", host), enrolled=True))
    with pytest.raises(UpstreamUntouched, match="not public and not listed"):
        await forwarded(servers, "s")
    assert upstream.seen == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "127.1", "2130706433", "0x7f000001"])
async def test_no_spelling_of_this_machine_gets_there(upstream: Upstream, host: str) -> None:
    async with client(Reach()) as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(upstream.url.replace("127.0.0.1", host), allow_redirects=False)
    assert upstream.seen == []


async def test_an_enrolled_server_gets_no_private_address_though_a_listed_one_lies_there(upstream: Upstream) -> None:
    targets = {"listed": Target(upstream.url), "enrolled": Target(upstream.url, networks=("private",), enrolled=True)}
    servers = HttpServers(targets.__getitem__)
    try:
        assert (await forwarded(servers, "listed")).status == 200
        with pytest.raises(UpstreamUntouched) as caught:
            await forwarded(servers, "enrolled")  # nor the connection that the other one left open
    finally:
        await servers.close()
    why = "127.0.0.1 lies at an address that is not public and not listed"
    assert caught.value.message == f"the server enrolled can't be reached ({why})"
    assert len(upstream.seen) == 1


async def forwarded(servers: HttpServers, name: str) -> Any:
    body = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}'
    answer = await servers.forward(name, "POST", {"content-type": "application/json"}, body)
    await answer.read()
    return answer
