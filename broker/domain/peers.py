"""What a request brings beside its token to say who makes it: the other end of its connection, and a proxy's words."""

from __future__ import annotations

import msgspec


class Peer(msgspec.Struct, frozen=True):
    """The other end of a connection. `address` is its IP address as the socket tells it, empty where it has none.

    `user`, `groups` and `certificate` are the headers X-Forwarded-User, X-Forwarded-Groups and X-Forwarded-Client-Cert as
    they came: anybody may write them, so they count only from a proxy that the operator trusts. `direct`: no header tells
    of anything in between, neither a proxy nor a page in a browser.
    """

    address: str = ""
    user: str = ""
    groups: str = ""
    certificate: str = ""
    direct: bool = True


NOBODY = Peer(direct=False)


def brings_token(authorization: str | None) -> bool:
    """Does an Authorization header carry a bearer token? Without one there is no error to tell of (RFC 6750, section 3)."""
    return authorization is not None and authorization[:7].lower() == "bearer "
