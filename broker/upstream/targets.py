"""Addresses and credentials of HTTP servers, looked up once for each entry of the catalogue and again every minute."""

from __future__ import annotations

import time
from collections.abc import Callable

from broker.domain.servers import Server
from broker.errors import ConfigInvalid, UnknownServer, UpstreamUntouched
from broker.upstream.http import Target
from broker.upstream.references import is_command, is_reference, resolved

KEPT = 60.0


class Directory:
    """Server name -> `Target`."""

    def __init__(self, catalogue: Callable[[str], Server | None], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._catalogue = catalogue
        self._monotonic = monotonic
        self._known: dict[str, tuple[Server, float, Target]] = {}

    def target(self, name: str) -> Target:
        """Raises `UnknownServer`, and `UpstreamUntouched` when a secret of the entry can't be read."""
        server, now = self._catalogue(name), self._monotonic()
        if server is None or not server.url:
            raise UnknownServer(f"there is no server {name} with an address", server=name)
        known = self._known.get(name)
        if known is not None and known[0] is server and now - known[1] < KEPT:
            return known[2]
        try:
            target = _target(server)
        except ConfigInvalid as error:
            raise UpstreamUntouched(f"the credentials of {name} can't be used: {error.message}") from None
        self._known[name] = (server, now, target)
        return target


def _target(server: Server) -> Target:
    told = {key.lower(): value for key, value in server.headers.items()}
    commands = {key: value for key, value in told.items() if is_command(value)}
    if server.enrolled and (server.auth or any(is_reference(value) for value in told.values())):
        raise ConfigInvalid("only a server of the policy folder may refer to secrets of the broker's machine")
    headers = resolved({key: value for key, value in told.items() if key not in commands}).values
    for name, value in headers.items():
        if not {"\r", "\n", "\0"}.isdisjoint(value):
            raise ConfigInvalid(f"{name} refers to more than one line of text", name=name)
    networks = () if server.enrolled else server.networks
    return Target(server.url, headers, server.stateless, commands, server.auth, networks, server.enrolled, server.tell_caller)
