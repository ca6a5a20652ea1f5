"""What a request is made of: its id, its states, where it came from, and the claim on it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, NewType

import msgspec

RequestId = NewType("RequestId", str)


class RequestState(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    EXECUTING = "executing"
    COMPLETED = "completed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    VOIDED = "voided"

    @property
    def open(self) -> bool:
        """May the request still move towards, or be in, an execution?"""
        return self in (RequestState.PENDING, RequestState.APPROVED, RequestState.EXECUTING)

    @property
    def answered(self) -> bool:
        """Is there something final to tell the agent? UNKNOWN is: it may be corrected, never run again."""
        return not self.open


class Origin(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the call came in, so that a release can go the same way.

    `session` is the upstream's own session id (older era); `rpc_id` the first caller's JSON-RPC id;
    `broker` the process that holds the live stream and therefore claims first; `trace` the id of the call's journey, and
    `parent` the caller's span in it with its flags (W3C Trace Context), empty where it brought none; `stated` is why the agent
    says it calls: shown as unverified, and no part of the digest. `capabilities` are what the caller's client said it can be
    asked, and `log_level` what it wants to hear, kept where its server may ask back; `continues` is the request whose questions
    this one answers, and `asked` their words by name. `batch` is the agent's own word for what it
    proposes together: a hint, unverified too.
    """

    era: str = ""
    session: str = ""
    rpc_id: int | str | None = None
    broker: str = ""
    trace: str = ""
    parent: str = ""
    stated: str = ""
    capabilities: dict[str, Any] = {}
    log_level: str = ""
    continues: RequestId = RequestId("")
    asked: dict[str, str] = {}
    batch: str = ""


class Round(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of the questions that a server asked back: the answers `given` so far, while some are missing; then the digest
    of the call that brings them all, and the `next` request, which is that call's. `over` is the code of the outcome that it has
    instead (`domain.outcomes.Code`), and `why`: the agent gave it up, or the answers were refused.
    """

    given: dict[str, Any] = {}
    digest: str = ""
    next: RequestId = RequestId("")
    over: str = ""
    why: str = ""


class Claim(msgspec.Struct, frozen=True):
    """The right to run the call once. `fence` grows with each claim, `nonce` makes a repeated claim by its owner the same one."""

    fence: int
    owner: str
    nonce: str
    lease_until: datetime
