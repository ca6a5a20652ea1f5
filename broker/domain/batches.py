"""Batches: the open requests of one caller that arrived together, for people to look at together. Pure.

A batch is a way of looking and no right: what is decided is each request by itself, and a request that nobody named in a
decision is no part of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import msgspec

from broker.domain.calls import digest_of
from broker.domain.requests import ApprovalRequest, RequestId

# So many requests are decided in one submission at most, and so near to the one before it a request belongs to its batch.
AT_MOST = 50
NEAR = timedelta(seconds=60)


class Proposal(msgspec.Struct, frozen=True):
    """What says with which other requests one belongs together.

    `caller` is the verified identity with the client's own name, `run` that with the session where one is known. `label` is the
    agent's own word for the batch: a hint, unverified, that reaches no other caller's requests.
    """

    id: RequestId
    caller: str
    run: str
    label: str
    opened_at: datetime


def proposal(request: ApprovalRequest) -> Proposal:
    who = request.call.caller
    caller = digest_of([who.principal, who.client, who.client_version])
    run = digest_of([caller, request.origin.session])
    return Proposal(request.id, caller, run, request.origin.batch, request.opened_at)


def batches(proposals: Iterable[Proposal]) -> tuple[tuple[Proposal, ...], ...]:
    """Return the proposals by batch, the oldest first: those of one caller with the same label; without a label those of one
    run of which each came within `NEAR` of the one before."""
    found: dict[tuple[str, ...], list[list[Proposal]]] = {}
    for one in sorted(proposals, key=lambda one: (one.opened_at, one.id)):
        groups = found.setdefault((one.caller, one.label) if one.label else (one.run,), [])
        near = groups and (one.label or one.opened_at - groups[-1][-1].opened_at <= NEAR)
        if near:
            groups[-1].append(one)
        else:
            groups.append([one])
    return tuple(tuple(group) for groups in found.values() for group in groups)


def batch_of(anchor: Proposal, others: Sequence[Proposal]) -> tuple[RequestId, ...]:
    """Return the ids of the batch to which `anchor` belongs among `others`, the oldest first. `anchor` may be none of them."""
    near = {one.id: one for one in others if one.caller == anchor.caller}
    for batch in batches({**near, anchor.id: anchor}.values()):
        if anchor in batch:
            return tuple(one.id for one in batch if one.id in near)
    return ()
