"""The one way out over HTTP: every address is looked at when a connection is made, after its name was resolved.

Whoever may choose an address must not reach what only the broker can reach (SSRF, OWASP 2021 A10): loopback, private networks,
link-local and the metadata services of clouds are closed, unless an operator's own files list them. The check stands in the
connector, so that a name which resolves to one address for the check and to another for the connection gains nothing.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import cache, lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

import aiohappyeyeballs
import aiohttp
from aiohttp.abc import ResolveResult

from broker.errors import ConfigInvalid

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# What the word `private` stands for in a list of networks. Link-local and metadata have to be written out.
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "fc00::/7", "::1/128")
_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
# All of IPv6 that is given out (IANA): what lies outside is old or translated IPv4, site-local, or nobody's.
_GIVEN_OUT = ip_network("2000::/3")
# Metadata of Azure and Oracle, and ranges that Pythons disagree about: never public, whatever the registries say.
_NEVER_PUBLIC = tuple(map(ip_network, ("168.63.129.16", "192.0.0.0/24", "100.64.0.0/10", "2001::/23", "3fff::/20")))
_NAT64 = ip_network("64:ff9b::/96")
# Bytes of a document that the broker asks for: keys, tokens, descriptions.
LARGEST = 1 << 20
# Seconds after which the next address of a name is tried beside the first (RFC 8305, section 5).
_NEXT_AFTER = 0.25

Found = tuple[int, int, int, str, tuple[Any, ...]]
"""One address as `getaddrinfo` tells it."""

Resolve = Callable[[str, int], Awaitable[Sequence[Found]]]


class AddressRefused(OSError):
    """A name or address leads to where the broker must not go."""


class Reach:
    """What is open beside the public addresses, by host: the networks that an operator's files list for an address.

    An address whose host is written as a number, or as `localhost`, lists that host. `always` is open to every host.
    """

    def __init__(self, urls: Iterable[str] = (), networks: Sequence[str] = (), always: Sequence[str] = ()) -> None:
        self._always = networks_of(always)
        self._listed: dict[str, tuple[str, tuple[Network, ...]]] = {}
        for url in urls:
            self.open(url, networks)

    def open(self, url: str, networks: Sequence[str] = ()) -> None:
        """Take an address out of an operator's file. A later word about the same address replaces it."""
        host = (urlsplit(url).hostname or "").lower()
        self._listed[url] = (host, (*networks_of(networks), *_written_out(host)))

    def permits(self, host: str, address: str) -> bool:
        """May a connection for `host` be made to `address`?"""
        ip = unwrapped(address)
        if is_public(ip) or any(ip in network for network in self._always):
            return True
        listed = (networks for name, networks in self._listed.values() if name == host.lower())
        return any(ip in network for networks in listed for network in networks)


class Connector(aiohttp.TCPConnector):
    """aiohttp's connector, which goes nowhere but where `reach` permits. TLS is verified as aiohttp does by default."""

    def __init__(self, reach: Reach, **more: Any) -> None:
        super().__init__(**more)
        self._reach = reach

    async def _resolve_host(
        self, host: str, port: int, traces: Sequence[aiohttp.tracing.Trace] | None = None
    ) -> list[ResolveResult]:  # fmt: skip
        """Every new connection passes here, names and literal addresses alike; what is returned is what is connected to."""
        found = await super()._resolve_host(host, port, traces)
        fit = [one for one in found if self._reach.permits(host, one["host"])]
        if not fit:
            raise _closed(host)
        return fit


async def _resolved(host: str, port: int) -> Sequence[Found]:
    loop = asyncio.get_running_loop()
    return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)


async def dialled(reach: Reach, host: str, port: int, resolve: Resolve = _resolved) -> socket.socket:
    """Return a connection to where `reach` permits, which is looked at as by `Connector`. Raises `OSError`, `AddressRefused`."""
    fit = [one for one in await resolve(host, port) if reach.permits(host, str(one[4][0]))]
    if not fit:
        raise _closed(host)
    sock = await aiohappyeyeballs.start_connection(fit, happy_eyeballs_delay=_NEXT_AFTER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return sock


@cache
def verified() -> ssl.SSLContext:
    """TLS that checks the other side's certificate and name. Made once, since it reads all authorities of the machine."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _closed(host: str) -> AddressRefused:
    return AddressRefused(f"{host} lies at an address that is not public and not listed")


def client(reach: Reach, *, within: float = 5.0) -> aiohttp.ClientSession:
    """Return a client for the broker's own questions: no cookies, no proxy of the environment. Callers refuse redirects.

    `within` is the seconds that one question may take.
    """
    return aiohttp.ClientSession(
        connector=Connector(reach), cookie_jar=aiohttp.DummyCookieJar(), trust_env=False,
        timeout=aiohttp.ClientTimeout(total=within),
    )  # fmt: skip


async def document(answer: aiohttp.ClientResponse) -> bytes:
    """Return the body of an answer to a question of the broker's own. Raises `ValueError` for one that is no document's size."""
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > LARGEST:
            raise ValueError("the answer is too large")
    return bytes(body)


def refused(error: BaseException) -> str:
    """Why an address was refused, empty where that is not what happened."""
    reason = getattr(error, "os_error", error)
    return str(reason) if isinstance(reason, AddressRefused) else ""


def is_public(ip: Address) -> bool:
    """Is it an address of the open internet, by IANA's registries of special ones (RFC 6890)?"""
    given_out = ip.version == 4 or ip in _GIVEN_OUT
    return given_out and ip.is_global and not ip.is_multicast and not any(ip in network for network in _NEVER_PUBLIC)


def unwrapped(address: str) -> Address:
    """Return the address that is meant: IPv4 out of mapped, NAT64 and 6to4 addresses; without a zone."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv4Address):
        return ip
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip


@lru_cache(1024)
def _network(text: str) -> Network:
    return ip_network(text)


def networks_of(texts: Sequence[str]) -> tuple[Network, ...]:
    """Return the networks of a list; `private` stands for all private ones. Raises `ConfigInvalid`, which names the wrong one."""
    found: list[Network] = []
    for text in texts:
        try:
            found += map(_network, PRIVATE if text == "private" else (text,))
        except ValueError:
            raise ConfigInvalid(f"`{text}` is no network: write it as 10.0.0.0/8, or `private`", network=text) from None
    return tuple(found)


def _written_out(host: str) -> tuple[Network, ...]:
    if host == "localhost":
        return _LOOPBACK
    try:
        return (ip_network(unwrapped(host)),)
    except ValueError:
        return ()
