"""Where an enrolled server may live: at addresses that its calls could go to, by every address that its name has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""The addresses of a host, also of one that is written as a number; an empty list where it has none."""

Fit = Callable[[str], bool]
"""May a connection go to this address?"""


async def objection(url: str, resolve: Resolve, fit: Fit) -> str:
    """Return why a server at this address can't be enrolled, empty when it can. Each connection is judged again."""
    host = urlsplit(url).hostname or ""
    found = await resolve(host)
    if not found:
        return f"the host {host} has no address"
    if all(map(fit, found)):
        return ""
    return f"the host {host} is in a private network: name the network in BROKER_ENROL_NETWORKS, or declare it in servers.yaml"
