"""Verdicts on many requests in one submission, by the API."""

from __future__ import annotations

from typing import Any

import pytest

from broker.domain.events import Reviewed
from broker.domain.requests import ApprovalRequest, RequestState
from tests.channels.web.conftest import ANN, BO, CY, DANA, EVE, Site

PATH = "/api/v1/batches/reviews"


def item(request: ApprovalRequest, verdict: str = "approve", **changes: Any) -> dict[str, Any]:
    return {"request": request.id, "digest": request.digest, "version": request.version, "verdict": verdict} | changes


async def test_seven_are_approved_three_rejected_and_the_eleventh_waits(site: Site) -> None:
    requests = [await site.park(f"Refund {amount}", {"amount": amount}) for amount in range(10)]
    late = await site.park("Refund 99", {"amount": 99})
    ann = await site.api(ANN)
    items = [item(request, "reject" if index in (2, 5, 8) else "approve") for index, request in enumerate(requests)]
    told = (await ann.post(PATH, json={"items": items, "reason": "not these"})).json()
    assert told["items"] == [
        {"request": one["request"], "counted": True, "state": "rejected" if one["verdict"] == "reject" else "approved",
         "code": "", "detail": ""}
        for one in items
    ]  # fmt: skip
    entries = await site.store.audit.read(0, 100)
    facts = [entry.event for entry in entries if isinstance(entry.event, Reviewed)]
    assert [(fact.request, fact.digest, fact.batch) for fact in facts] == [
        (one["request"], one["digest"], told["batch"]) for one in items
    ]
    assert len({fact.view for fact in facts}) == 10
    assert await site.state(late) is RequestState.PENDING
    shown = (await ann.get(f"/api/v1/requests/{requests[2].id}")).json()
    assert (shown["reviews"][0]["batch"], shown["note"]) == (told["batch"], "not these")
    assert shown["timeline"][-1]["what"] == f"Rejected by Ann Lindqvist, in the API, with others as {told['batch']}"


async def test_each_item_that_can_not_be_decided_says_why_and_holds_up_no_other(site: Site) -> None:
    own = await site.park("Own", {"x": 1}, owner=ANN)
    step_up, typed = await site.park("Key", {"x": 2}, step_up=True), await site.park("Typed", {"x": 3}, type_to_confirm="args.x")
    critical, secret = (
        await site.park("Critical", {"x": 4}, severity="critical"),
        await site.park("Secret", {"k": "ghp_" + "a1B2" * 9}),
    )
    long, moved, decided, fine = [await site.park(f"N {n}", {"x": "y" * n}) for n in (9_000, 1, 2, 3)]
    await (await site.api(CY)).post(f"/api/v1/requests/{moved.id}/comments", json={"text": "hm"})
    await site.review(await site.visitor(BO), decided, "approve")
    hidden = await site.park("Not for finance", {"x": 5}, asks=(("security", 1),))
    others = (step_up, typed, critical, secret, long, moved, decided, hidden)
    items = [item(request) for request in others] + [item(fine, digest="sha256:0"), item(fine) | {"request": "apr_0_" + "0" * 26}]
    told = (await (await site.api(ANN)).post(PATH, json={"items": items})).json()
    assert [(one["counted"], one["code"], one["detail"]) for one in told["items"]] == [
        (False, "incomplete", "it needs a passkey: decide it alone"),
        (False, "incomplete", "a value has to be typed to confirm it: decide it alone"),
        (False, "incomplete", "it is critical: decide it alone"),
        (False, "not_whole", "some of its values are hidden: uncover them on its page"),
        (False, "incomplete", "it is too long to be shown whole here: decide it alone"),
        (False, "outdated", "the request has changed since it was shown: look again"),
        (False, "already_resolved", f"the request is already approved by {BO}"),
        (False, "unknown_request", "there is no such request"),
        (False, "wrong_move", "the review is for other arguments than the request holds"),
        (False, "unknown_request", "there is no such request"),
    ]
    mine = (await (await site.api(ANN)).post(PATH, json={"items": [item(own), item(fine)]})).json()
    assert [one["code"] for one in mine["items"]] == ["self_review", ""]
    still = [await site.state(request) for request in (own, step_up, typed, critical, secret, long, moved, hidden)]
    assert set(still) == {RequestState.PENDING}


async def test_another_callers_request_is_no_part_of_a_batch(site: Site) -> None:
    first, foreign = await site.park(), await site.park(agent="mail-bot")
    answer = await (await site.api(ANN)).post(PATH, json={"items": [item(first), item(foreign)]})
    assert [(one["counted"], one["code"]) for one in answer.json()["items"]] == [(True, ""), (False, "unknown_request")]
    assert await site.state(foreign) is RequestState.PENDING


async def test_one_vote_of_two_counts_for_each_item(site: Site) -> None:
    requests = [await site.park(f"N {n}", {"x": n}, asks=(("finance", 2),)) for n in range(2)]
    body = {"items": [item(request) for request in requests]}
    for person, states in ((ANN, ["pending", "pending"]), (BO, ["", ""])):
        told = (await (await site.api(person)).post(PATH, json=body)).json()
        assert [one["state"] for one in told["items"]] == states
    again = [item(request, version=2) for request in requests]
    told = (await (await site.api(BO)).post(PATH, json={"items": again})).json()
    assert [one["state"] for one in told["items"]] == ["approved", "approved"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"items": []}, 400, "malformed"),
        ({"items": ["it", "it"]}, 400, "malformed"),
        ({"items": ["it"] * 51}, 400, "malformed"),
        ({"items": ["no"]}, 422, "incomplete"),
        ({"items": ["odd"]}, 400, "http_400"),
    ],
    ids=["none", "twice", "too many", "no reason", "no such verdict"],
)
async def test_a_submission_that_will_not_do_counts_nothing(site: Site, body: dict[str, Any], status: int, code: str) -> None:
    request = await site.park()
    known = {"it": item(request), "no": item(request, "reject"), "odd": item(request, "leave")}
    answer = await (await site.api(ANN)).post(PATH, json={"items": [known[name] for name in body["items"]]})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert await site.state(request) is RequestState.PENDING


async def test_a_token_needs_the_scope_and_the_group(site: Site) -> None:
    request = await site.park()
    body = {"items": [item(request)]}
    assert (await (await site.api(ANN, "read")).post(PATH, json=body)).status_code == 403
    assert (await site.stranger().post(PATH, json=body)).status_code == 401
    for person, code in ((EVE, "unknown_request"), (DANA, "self_review")):
        told = (await (await site.api(person)).post(PATH, json=body)).json()
        assert [one["code"] for one in told["items"]] == [code]
    described = (await site.stranger().get("/api/v1/schema/openapi.json")).json()
    assert "at most 50" in str(described["components"]["schemas"]["BatchBody"]) or PATH in described["paths"]
    assert await site.state(request) is RequestState.PENDING
