"""Many verdicts in one submission: each request answers for itself."""

from __future__ import annotations

from functools import partial

import anyio
import pytest

from broker.approvals.batches import Item, checked, decide
from broker.audit.export import cef_line, json_line
from broker.domain.batches import AT_MOST
from broker.domain.calls import Caller
from broker.domain.events import Reviewed
from broker.domain.people import Reviewer
from broker.domain.requests import ApprovalRequest, RequestId, RequestState
from broker.domain.reviews import Verdict
from broker.errors import Malformed, StoreUnavailable
from tests.approvals.conftest import Counter

DANA = Reviewer("dana@example.com", "web")
A, R = Verdict.APPROVE, Verdict.REJECT


def item(request: ApprovalRequest, verdict: Verdict = A, **changes: object) -> Item:
    told = {"digest": request.digest, "version": request.version} | changes
    return Item(request.id, str(told["digest"]), int(str(told["version"])), verdict)


async def given(counter: Counter, by: Reviewer, one: Item, batch: str) -> ApprovalRequest:
    desk = counter.desk
    said = {"digest": one.digest, "version": one.version, "batch": batch}
    return await desk.review(one.request, by, one.verdict, reason="not these" if one.verdict is R else "", **said)  # type: ignore[arg-type]  # of three kinds


async def test_each_item_is_a_review_of_its_own_under_one_id(counter: Counter) -> None:
    requests = [await counter.parked(amount) for amount in range(10)]
    late = await counter.parked(99)
    items = [item(request, R if index in (2, 5, 8) else A) for index, request in enumerate(requests)]
    batch, answers = await decide(items, partial(given, counter, DANA))
    assert [answer.after and answer.after.state.value for answer in answers] == [
        "rejected" if index in (2, 5, 8) else "approved" for index in range(10)
    ]
    entries = [entry for entry in await counter.store.audit.read(0, 100) if isinstance(entry.event, Reviewed)]
    assert all(f'"batch":"{batch}"' in json_line(entry) and f" batch={batch}" in cef_line(entry) for entry in entries)
    facts = [entry.event for entry in entries if isinstance(entry.event, Reviewed)]
    assert [(fact.request, fact.digest, fact.verdict, fact.batch) for fact in facts] == [
        (one.request, one.digest, one.verdict, batch) for one in items
    ]
    assert [review.batch for request in requests for review in (await counter.desk.look(request.id)).reviews] == [batch] * 10
    assert (await counter.desk.look(late.id)).state is RequestState.PENDING


async def test_what_stands_in_the_way_of_one_item_holds_up_no_other(counter: Counter) -> None:
    own = await counter.parked(1, caller=Caller(agent="support-bot", owner="dana@example.com"))
    commented, decided, other, fine = [await counter.parked(amount) for amount in (2, 3, 4, 5)]
    seen = item(commented)
    await counter.desk.comment(commented.id, DANA, "who is this?")
    await counter.desk.review(decided.id, Reviewer("fay@example.com", "web"), A, digest=decided.digest)
    items = [
        item(own), seen, item(decided), item(other, digest="sha256:0"),
        Item(RequestId("apr_0_" + "0" * 26), fine.digest, 1, A), item(fine),
    ]  # fmt: skip
    _, answers = await decide(items, partial(given, counter, DANA))
    assert [answer.error and answer.error.code for answer in answers] == [
        "self_review", "outdated", "already_resolved", "wrong_move", "unknown_request", None,
    ]  # fmt: skip
    states = [(await counter.desk.look(request.id)).state for request in (own, commented, other, fine)]
    assert states == [RequestState.PENDING, RequestState.PENDING, RequestState.PENDING, RequestState.APPROVED]


async def test_the_same_submission_twice_counts_once(counter: Counter) -> None:
    requests = [await counter.parked(amount) for amount in range(3)]
    items = [item(request, verdict) for request, verdict in zip(requests, (A, R, A), strict=True)]
    codes: list[str] = []

    async def submit() -> None:
        _, answers = await decide(items, partial(given, counter, DANA))
        codes.extend(answer.error.code for answer in answers if answer.error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(submit)
        tasks.start_soon(submit)
    assert codes == ["already_resolved"] * 3
    assert [len((await counter.desk.look(request.id)).reviews) for request in requests] == [1, 1, 1]


async def test_a_failure_leaves_its_own_item_undecided(counter: Counter) -> None:
    requests = [await counter.parked(amount) for amount in range(3)]
    failures: dict[str, Exception] = {requests[0].id: StoreUnavailable("down"), requests[1].id: RuntimeError("a mistake of ours")}

    async def give(one: Item, batch: str) -> ApprovalRequest:
        if one.request in failures:
            raise failures[one.request]
        return await given(counter, DANA, one, batch)

    _, answers = await decide([item(request) for request in requests], give)
    assert [answer.error and answer.error.code for answer in answers] == ["store_unavailable", "broker_error", None]
    assert [(await counter.desk.look(request.id)).state.value for request in requests] == ["pending", "pending", "approved"]


@pytest.mark.parametrize(
    ("names", "wrong"),
    [
        ([], "choose approve or reject for at least one request"),
        ([f"r{index}" for index in range(AT_MOST + 1)], "at most 50 requests are decided at once: these are 51"),
        (["r1", "r2", "r1"], "r1 is named twice"),
    ],
    ids=["none", "too many", "twice"],
)
def test_a_submission_that_can_not_be_taken_is_refused_whole(names: list[str], wrong: str) -> None:
    with pytest.raises(Malformed, match=wrong):
        checked([Item(RequestId(name), "d", 1, A) for name in names])
