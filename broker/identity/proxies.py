"""Proxies in front that know who calls, and say so in headers. From anybody else these headers mean nothing."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address, ip_network

import msgspec

from broker.domain.calls import Caller
from broker.domain.peers import Peer
from broker.errors import Unauthenticated
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

        Raises `Unauthenticated` where the proxy names a workload in a way that can't be read.
        """
        if not (peer.user or peer.certificate) or not self.trusts(peer.address):
            return None
        try:
            workload = client_of(peer.certificate)
        except ValueError:
            raise Unauthenticated("the proxy's word about the client's certificate can't be read") from None
        if not (peer.user or workload):
            return None
        groups = tuple(group.strip() for group in peer.groups.split(",") if group.strip()) if peer.user else ()
        return Caller(agent=workload if peer.user else "", user=peer.user, workload=workload, groups=groups)


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
