"""One message on its way through the gateway: who sent it, to which server, in which revision and session."""

from __future__ import annotations

import random
import re

import msgspec

from broker.domain.calls import Caller
from broker.domain.requests import Origin
from broker.domain.rounds import askable
from broker.domain.servers import Server
from broker.gateway.envelope import Message
from broker.gateway.eras import CAPABILITIES_KEY, LOG_LEVEL_KEY, MODERN, named
from broker.gateway.exchange import Exchange
from broker.gateway.heads import Head
from broker.gateway.sessions import Joint, Session

# W3C Trace Context, section 3.2: version, trace, span and flags; no zeros.
_TRACE = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16}-[0-9a-f]{2})")

# RFC 5424, section 6.2.1, in the words of `LoggingLevel`.
_LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")


class Visit(msgspec.Struct, frozen=True):
    """Everything that is known once head and body agree. `session` is None outside a session of the older era.

    `tasks`: the client declared the tasks extension for this request. `joint`: the session at the address of all servers, for
    what came there.
    """

    exchange: Exchange
    head: Head
    server: Server
    caller: Caller
    message: Message
    version: str
    session: Session | None = None
    tasks: bool = False
    joint: Joint | None = None

    @property
    def modern(self) -> bool:
        return self.version == MODERN

    @property
    def begun_by(self) -> tuple[str, str] | None:
        """Name and version of the client, as it began its session; None outside of one."""
        if self.joint is not None:
            return named(self.joint.info)
        return (self.session.client, self.session.version) if self.session else None

    @property
    def upstream_session(self) -> str:
        return self.session.upstream if self.session else ""

    def headers(self) -> dict[str, str]:
        """The headers that go upstream."""
        return {"content-type": "application/json", **self.head.onward(self.upstream_session)}

    def origin(self, broker: str, *, stated: str = "", batch: str = "") -> Origin:
        """How the call came in. What its client can be asked, and wants to hear, is kept where its server may ask back."""
        meta = self.message.meta
        told, level = meta.get("traceparent"), meta.get(LOG_LEVEL_KEY)
        asked = self.modern and self.server.asks_back
        trace = _TRACE.fullmatch(told if isinstance(told, str) else self.head.trace)
        return Origin(
            era=self.version,
            session=self.upstream_session,
            rpc_id=self.message.id,
            broker=broker,
            trace=trace[1] if trace else f"{random.getrandbits(128):032x}",
            parent=trace[2] if trace else "",
            stated=stated,
            batch=batch,
            capabilities=askable(meta.get(CAPABILITIES_KEY)) if asked else {},
            log_level=level if asked and level in _LEVELS else "",
        )
