"""Verdicts on many requests in one submission, by the API."""

from __future__ import annotations

from functools import partial

from litestar import post
from litestar.params import JSONBody

from broker.approvals.batches import Answered, Item
from broker.channels.web.api import authenticated, by_token, seen_by, token_of
from broker.channels.web.api_shapes import BatchAnswer, BatchBody, ItemAnswer
from broker.channels.web.parts import Web
from broker.channels.web.together import Sight, decide_together
from broker.channels.web.visitors import AnyRequest
from broker.domain.redaction import Shown, shown_call
from broker.domain.requests import ApprovalRequest, RequestId


@post("/api/v1/batches/reviews", guards=[authenticated], opt={"anonymous": True}, status_code=200, tags=["requests"])
async def review_batch(request: AnyRequest, data: JSONBody[BatchBody]) -> BatchAnswer:
    """Approve or reject requests of one caller, each by itself: one that can't be decided holds up no other."""
    web, token = Web.of(request), token_of(request, "review")
    sight = Sight(by_token(request, token), partial(seen_by, request, token), partial(_shown, web))
    items = [Item(RequestId(one.request), one.digest, one.version, one.verdict) for one in data.items]
    batch, answers = await decide_together(web, sight, items, data.reason)
    return BatchAnswer(batch, [_told(answer) for answer in answers])


def _shown(web: Web, found: ApprovalRequest) -> Shown:
    return shown_call(found.call, found.plan, web.parts.mask_key)


def _told(answer: Answered) -> ItemAnswer:
    request, error = answer.item.request, answer.error
    if answer.after is not None:
        return ItemAnswer(request, True, answer.after.state.value, "", "")
    return ItemAnswer(request, False, "", error.code if error else "", error.message if error else "")


ROUTES = (review_batch,)
