"""Proxies in front that know who calls, and say so in headers. From anybody else these headers mean nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv6Address, ip_address, ip_network

import msgspec

from broker.domain.calls import Caller
from broker.domain.peers import Peer
from broker.errors import Unauthenticated
from broker.identity.names import is_plain
from broker.identity.spiffe import client_of


class TrustedProxies:
    """`networks` (CIDR) are where the proxies lie whose words count. Whoever reaches the broker from there is believed."""

    def __init__(self, networks: Sequence[str] = ()) -> None:
        self._networks = tuple(ip_network(network) for network in networks)

    def trusts(self, address: str) -> bool:
        """Is this the address of a trusted proxy?"""
        if not self._networks or not address:
            return False
        try:
            known = ip_address(address)
        except ValueError:
            return False
        if isinstance(known, IPv6Address) and known.ipv4_mapped:
            known = known.ipv4_mapped
        return any(known in network for network in self._networks)

    def vouched(self, peer: Peer) -> Caller | None:
        """Return whom a trusted proxy names, None where nobody may vouch or nobody is named.

        Raises `Unauthenticated` where the proxy names a user or a workload in a way that can't be read.
        """
        if not (peer.user or peer.certificate) or not self.trusts(peer.address):
            return None
        try:
            workload = client_of(peer.certificate)
        except ValueError:
            raise Unauthenticated("the proxy's word about the client's certificate can't be read") from None
        if not (peer.user or workload):
            return None
        if peer.user and not is_plain(peer.user):
            raise Unauthenticated("the proxy names the user in a way that can't be read")
        groups = tuple(group.strip() for group in peer.groups.split(",") if group.strip()) if peer.user else ()
        return Caller(agent=workload if peer.user else "", user=peer.user, workload=workload, groups=groups)


class Vouched(msgspec.Struct, frozen=True):
    """Whom a trusted proxy has signed in, with the groups that it vouches for."""

    person: str
    groups: tuple[str, ...] = ()


class ProxySignIn:
    """People whom a trusted proxy names in `header`; without one nobody is let in so.

    The header is chosen apart from those of callers' proxies: who may call for somebody may not decide as them.
    """

    def __init__(self, proxies: TrustedProxies, header: str = "") -> None:
        self._proxies = proxies
        self._header = header.lower()

    def look(self, address: str, told: Callable[[str], Sequence[str]]) -> Vouched | None:
        """Return whom the proxy at `address` names, None where nobody may vouch or nobody is named.

        `told` returns each value of a header, which is named in lower case. A header that came twice names nobody: the proxy
        may have added its own to one that a visitor wrote.
        """
        if not self._header or not self._proxies.trusts(address):
            return None
        named, groups = told(self._header), told("x-forwarded-groups")
        if len(named) != 1 or len(groups) > 1:
            return None
        person = named[0].strip().lower()
        if not is_plain(person):
            return None
        return Vouched(person, tuple(group.strip() for group in "".join(groups).split(",") if group.strip()))


def together(known: Caller, vouched: Caller | None) -> Caller:
    """Return who a token names, with the workload that a trusted proxy saw. Raises `Unauthenticated` where the two disagree."""
    if vouched is None:
        return known
    if known.user and vouched.user and known.user != vouched.user:
        raise Unauthenticated("the token and the proxy name different users")
    return msgspec.structs.replace(known, workload=known.workload or vouched.workload)


def on_this_machine(peer: Peer) -> bool:
    """Does a program on this very machine speak, with nothing in between?"""
    try:
        return peer.direct and ip_address(peer.address).is_loopback
    except ValueError:
        return False
