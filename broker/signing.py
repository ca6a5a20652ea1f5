"""What the broker says under its signature, wired: receipts and words about callers for servers, statements for providers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from broker.approvals.ports import PolicySource
from broker.audit.keys import SigningKey
from broker.audit.receipts import RECEIPT, Issuer
from broker.domain.calls import Caller
from broker.domain.requests import ApprovalRequest
from broker.errors import PolicyInvalid
from broker.identity.assertions import HEADER, asserted, introducing
from broker.policy.access import standing_of
from broker.upstream.credentials import Assert, Introduce
from broker.upstream.http_release import Stamp


@dataclass(frozen=True)
class Words:
    """`stamp` makes what a release carries, its receipt: a server may demand it, so that nobody gets around the broker.

    `asserts` tells a token endpoint for whom the broker asks, `introduces` a server who calls. `record` is the receipt
    as it is handed out later.
    """

    stamp: Stamp
    asserts: Assert
    introduces: Introduce
    record: Callable[[ApprovalRequest], str]

    def stamped(self, by: Callable[[Stamp], Stamp]) -> Words:
        return replace(self, stamp=by(self.stamp))


def words(
    key: SigningKey, issuer: str, clock: Callable[[], datetime], policies: PolicySource, *, name_people: bool = False
) -> Words:  # fmt: skip
    """Return what is said with this key. The groups of a caller are those that the policy in force sees."""

    def groups_of(caller: Caller) -> tuple[str, ...]:
        try:
            return standing_of(policies.current, caller)
        except PolicyInvalid:
            return ()

    receipts = Issuer(key, issuer, groups_of, name_people=name_people)

    def stamp(request: ApprovalRequest) -> Mapping[str, Any]:
        return {RECEIPT: receipts.receipt(request, clock())}

    return Words(
        stamp,
        lambda caller, audience: asserted(key, issuer, caller, audience, clock()),
        lambda caller, server: {HEADER: introducing(key, issuer, caller, groups_of(caller), server, clock())},
        lambda request: receipts.record(request, clock()),
    )
