"""Addresses and credentials of HTTP servers, looked up once for each entry of the catalogue and again every minute."""

from __future__ import annotations

import time
from collections.abc import Callable

from broker.domain.servers import Server
from broker.errors import ConfigInvalid, UnknownServer, UpstreamUntouched
from broker.upstream.http import Target
from broker.upstream.references import resolved

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
            headers = {key.lower(): value for key, value in resolved(server.headers).values.items()}
        except ConfigInvalid as error:
            raise UpstreamUntouched(f"the credentials of {name} can't be used: {error.message}") from None
        target = Target(server.url, headers, server.stateless)
        self._known[name] = (server, now, target)
        return target
