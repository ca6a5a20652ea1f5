"""Deciding on many requests in one submission. Each answers for itself: what stands in the way of one holds up no other."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import structlog

from broker.domain.batches import AT_MOST
from broker.domain.requests import ApprovalRequest, RequestId
from broker.domain.reviews import Verdict
from broker.errors import BrokerError, Malformed, StoreUnavailable

log = structlog.get_logger()


class Item(msgspec.Struct, frozen=True):
    """One verdict of a submission, with digest and version of the request as it was shown."""

    request: RequestId
    digest: str
    version: int
    verdict: Verdict


class Answered(msgspec.Struct, frozen=True):
    """What became of one verdict: the request after it, or the error that left the request as it was."""

    item: Item
    after: ApprovalRequest | None = None
    error: BrokerError | None = None


Give = Callable[[Item, str], Awaitable[ApprovalRequest]]
"""Counts one item under the submission's id, or raises a `BrokerError`."""


def checked(items: Sequence[Item]) -> None:
    """Raises `Malformed` for a submission that can't be taken at all: none, too many, or one request twice."""
    if not items:
        raise Malformed("choose approve or reject for at least one request")
    if len(items) > AT_MOST:
        raise Malformed(f"at most {AT_MOST} requests are decided at once: these are {len(items)}")
    if twice := [name for name, count in Counter(item.request for item in items).items() if count > 1]:
        raise Malformed(f"{twice[0]} is named twice")


async def decide(items: Sequence[Item], give: Give) -> tuple[str, list[Answered]]:
    """Give each verdict by itself, in order. Returns the submission's id and an answer for each. Raises `Malformed`."""
    checked(items)
    batch = f"bat_{secrets.token_hex(10)}"
    return batch, [await _decided(item, batch, give) for item in items]


async def _decided(item: Item, batch: str, give: Give) -> Answered:
    try:
        return Answered(item, after=await give(item, batch))
    except StoreUnavailable:
        lost = StoreUnavailable("the store did not answer: whether this was counted is not known, so look at it again")
        return Answered(item, error=lost)
    except BrokerError as error:
        return Answered(item, error=error)
    except Exception:
        log.exception("batch.item_failed", request=item.request)
        return Answered(item, error=BrokerError("something went wrong: this was not decided"))
