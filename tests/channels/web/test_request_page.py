from __future__ import annotations

import html
import re
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from broker.domain.calls import Caller
from broker.domain.events import CallDecided
from broker.domain.requests import Origin, RequestState
from broker.domain.servers import Server, ToolFacts
from broker.store.open import Store
from tests.channels.web.conftest import ANN, BO, CY, DANA, EVE, Policies, Site, served


def text_of(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


async def test_the_page_says_who_calls_what_with_which_arguments_and_why_people_are_asked(site: Site) -> None:
    request = await site.park(client="claude-code", stated="the customer was charged twice", show=("args.customer",))
    page = text_of((await (await site.visitor(ANN)).get(f"/r/{request.id}")).text)
    for told in (
        "Refund 900 EUR to Acme", "billing-bot of Dana Ruiz wants to call refund_create on payments", '"Acme"', "900",
        "refund-large refunds above 500 payments.yaml:12", "0 of 1 of finance", "Ann Lindqvist, Bo Tanaka, Cy Osei",
        "Dana Ruiz stands behind this call", "unverified: the customer was charged twice", "claude-code", request.digest[7:23],
    ):  # fmt: skip
        assert told in page


async def test_an_approval_is_counted_and_the_browser_goes_back_to_the_page(site: Site) -> None:
    request = await site.park()
    ann = await site.visitor(ANN)
    answer = await site.review(ann, request, "approve")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/r/{request.id}")
    assert await site.state(request) is RequestState.APPROVED
    assert "Ann Lindqvist approved" in text_of((await ann.get(f"/r/{request.id}")).text)


async def test_the_review_keeps_the_channel_and_the_digest_of_what_was_shown(site: Site) -> None:
    request = await site.park(asks=(("finance", 2),))
    await site.review(await site.visitor(ANN), request, "approve")
    (review,) = (await site.store.requests.get(request.id)).reviews
    assert (review.reviewer, review.channel, review.digest) == (ANN, "web", request.digest)
    assert review.view.startswith("sha256:")
    assert review.view != request.digest


async def test_a_rejection_needs_a_reason_and_keeps_what_was_typed(site: Site) -> None:
    request = await site.park()
    ann = await site.visitor(ANN)
    refused = await site.review(ann, request, "reject", "   ")
    assert refused.status_code == 422
    assert "Say why: the agent is told the reason." in text_of(refused.text)
    assert await site.state(request) is RequestState.PENDING
    await site.review(ann, request, "reject", "the invoice was credited")
    stored = await site.store.requests.get(request.id)
    assert (stored.state, stored.note) == (RequestState.REJECTED, "the invoice was credited")


async def test_a_reason_that_is_too_long_comes_back_with_the_page(site: Site) -> None:
    request = await site.park()
    refused = await site.review(await site.visitor(ANN), request, "reject", "x" * 2001)
    assert refused.status_code == 422
    assert "x" * 2001 in refused.text
    assert await site.state(request) is RequestState.PENDING


async def test_the_requester_confirms_on_the_page_where_the_policy_leaves_it_to_them(site: Site) -> None:
    theirs, not_theirs = await site.park(caller_confirms=True), await site.park(arguments={"amount": 1})
    dana = await site.visitor(DANA)
    assert "Confirm" in text_of((await dana.get(f"/r/{theirs.id}")).text)
    assert "Confirm" not in text_of((await dana.get(f"/r/{not_theirs.id}")).text)
    ann = await site.visitor(ANN)
    assert (await site.confirm(ann, theirs, "approve")).status_code == 403, "a member of the group reviews; they don't confirm"
    assert (await site.confirm(dana, not_theirs, "approve")).status_code == 403
    assert [await site.state(one) for one in (theirs, not_theirs)] == [RequestState.PENDING] * 2
    assert (await site.confirm(dana, theirs, "approve")).status_code == 303
    assert await site.state(theirs) is RequestState.APPROVED
    told = text_of((await ann.get(f"/r/{theirs.id}")).text)
    assert "Confirmed by the caller's own user (Dana Ruiz), signed in on this page" in told


async def test_the_requester_declines_on_the_page(site: Site) -> None:
    request = await site.park(caller_confirms=True)
    await site.confirm(await site.visitor(DANA), request, "reject")
    assert await site.state(request) is RequestState.REJECTED


async def test_the_one_who_comes_too_late_hears_who_was_first(site: Site) -> None:
    request = await site.park()
    await site.review(await site.visitor(BO), request, "reject", "no")
    late = await site.review(await site.visitor(ANN), request, "approve")
    assert late.status_code == 409
    assert "rejected by Bo Tanaka. Your answer was not counted." in text_of(late.text)
    assert await site.state(request) is RequestState.REJECTED


async def test_two_people_are_needed_for_a_quorum_and_one_person_counts_once(site: Site) -> None:
    request = await site.park(asks=(("finance", 2),))
    ann = await site.visitor(ANN)
    await site.review(ann, request, "approve")
    again = await site.review(ann, request, "approve")
    assert again.status_code == 409
    assert "1 of 2 of finance" in text_of((await ann.get(f"/r/{request.id}")).text)
    assert await site.state(request) is RequestState.PENDING
    await site.review(await site.visitor(BO), request, "approve")
    assert await site.state(request) is RequestState.APPROVED


async def test_a_form_for_other_arguments_is_not_counted(site: Site) -> None:
    request = await site.park()
    stale = await site.review(await site.visitor(ANN), request, "approve", digest="sha256:" + "0" * 64)
    assert stale.status_code == 409
    assert await site.state(request) is RequestState.PENDING


async def test_the_owner_sees_the_request_of_their_agent_and_can_not_review_it(site: Site) -> None:
    request = await site.park(owner=ANN)
    ann = await site.visitor(ANN)
    page = text_of((await ann.get(f"/r/{request.id}")).text)
    assert "somebody else has to review it" in page
    assert 'id="approve"' not in (await ann.get(f"/r/{request.id}")).text
    assert (await site.review(ann, request, "approve")).status_code == 403
    assert await site.state(request) is RequestState.PENDING


async def test_after_the_deadline_nothing_can_be_approved(site: Site) -> None:
    request = await site.park(timeout=timedelta(milliseconds=1))
    late = await site.review(await site.visitor(ANN), request, "approve")
    assert late.status_code == 409
    assert await site.state(request) is not RequestState.APPROVED


async def test_a_request_that_demands_a_passkey_can_be_rejected_and_not_approved(site: Site) -> None:
    request = await site.park(step_up=True)
    ann = await site.visitor(ANN)
    assert "approved with a passkey" in text_of((await ann.get(f"/r/{request.id}")).text)
    assert (await site.review(ann, request, "approve")).status_code == 403
    assert await site.state(request) is RequestState.PENDING
    await site.review(ann, request, "reject", "not today")
    assert await site.state(request) is RequestState.REJECTED


async def test_what_looks_like_a_secret_is_covered_and_must_be_uncovered_before_approving(site: Site) -> None:
    secret = "ghp_" + "a1B2" * 9
    request = await site.park(arguments={"note": f"use {secret}"}, stated=f"I was told to use {secret}")
    ann = await site.visitor(ANN)
    page = (await ann.get(f"/r/{request.id}")).text
    assert secret not in page
    assert 'id="approve"' not in page
    assert (await site.review(ann, request, "approve")).status_code == 422
    path = html.unescape(re.search(r'name="path" value="([^"]+)"', page)[1])  # type: ignore[index]  # the page has it
    answer = await ann.post(f"/r/{request.id}/uncover", data={"csrf": await site.csrf(ann), "path": path})
    assert answer.status_code == 303
    assert secret in (await ann.get(f"/r/{request.id}")).text
    assert secret not in (await (await site.visitor(BO)).get(f"/r/{request.id}")).text
    noted = [entry.event for entry in await site.store.audit.read(0, 100)]
    assert [(event.who, event.fields) for event in noted if getattr(event, "what", "") == "request.uncovered"] == [  # type: ignore[union-attr]
        (ANN, {"request": request.id, "path": path})
    ]
    await site.review(ann, request, "approve")
    assert await site.state(request) is RequestState.APPROVED


async def test_what_a_rule_covers_stays_covered_and_can_be_approved(site: Site) -> None:
    request = await site.park(title="Refund to 4929", arguments={"amount": 5, "card": {"pin": "4929"}}, redact=("$.args.card.*",))
    ann = await site.visitor(ANN)
    page = (await ann.get(f"/r/{request.id}")).text
    assert "4929" not in page
    assert "1 value is covered by the rule" in text_of(page)
    csrf = await site.csrf(ann)
    assert (
        await ann.post(f"/r/{request.id}/uncover", data={"csrf": csrf, "path": "$['args']['card']['pin']"})
    ).status_code == 422
    await site.review(ann, request, "approve")
    assert await site.state(request) is RequestState.APPROVED


async def lost(site: Site) -> str:
    """A request that was started, and whose result nobody knows."""
    request = await site.park()
    await site.review(await site.visitor(ANN), request, "approve")
    soon = timedelta(minutes=1)
    update = site.store.requests.update
    await update(request.id, lambda r, now: r.claimed("broker-1", "n", now, lease=soon, policy=r.policy, definition=""))
    await update(request.id, lambda r, now: r.lost(now))
    return request.id


async def test_a_person_records_what_became_of_a_request_whose_result_was_lost(site: Site) -> None:
    request_id = await lost(site)
    bo = await site.visitor(BO)
    assert "What became of it?" in text_of((await bo.get(f"/r/{request_id}")).text)
    form = {"csrf": await site.csrf(bo), "ran": "yes", "why": "the ledger holds it"}
    assert (await bo.post(f"/r/{request_id}/record", data=form | {"why": ""})).status_code == 422
    assert (await bo.post(f"/r/{request_id}/record", data=form)).status_code == 303
    stored = await site.store.requests.get(request_id)  # type: ignore[arg-type]  # an id
    assert (stored.state, stored.decided_by, stored.note) == (RequestState.COMPLETED, BO, "the ledger holds it")


@pytest.mark.parametrize("person", [EVE])
async def test_somebody_outside_the_groups_finds_nothing_on_any_route(site: Site, person: str) -> None:
    request = await site.park()
    eve = await site.visitor(person)
    csrf = await site.csrf(eve)
    unknown = await eve.get("/r/apr_0_" + "0" * 26)
    assert (await eve.get(f"/r/{request.id}")).status_code == unknown.status_code == 404
    assert text_of((await eve.get(f"/r/{request.id}")).text) == text_of(unknown.text)
    for action, form in (("review", {"verdict": "approve", "digest": request.digest}), ("record", {"ran": "yes", "why": "x"}),
                         ("uncover", {"path": "$['args']['amount']"})):  # fmt: skip
        assert (await eve.post(f"/r/{request.id}/{action}", data=form | {"csrf": csrf})).status_code == 404
    await site.listed(await site.visitor(ANN), "Refund 900")
    for path in ("/", "/?view=all", "/?view=asked", "/inbox/list?view=all"):
        assert "Refund 900" not in (await eve.get(path)).text
    assert await site.state(request) is RequestState.PENDING


async def test_the_timeline_tells_the_whole_story_from_the_audit(site: Site) -> None:
    request = await site.park(asks=(("finance", 2),))
    await site.review(await site.visitor(ANN), request, "approve", "the photos are clear")
    await site.review(await site.visitor(BO), request, "approve")
    soon = timedelta(minutes=1)
    update = site.store.requests.update
    await update(request.id, lambda r, now: r.claimed("broker-1", "n", now, lease=soon, policy=r.policy, definition=""))
    await update(request.id, lambda r, now: r.completed(1, now, b'{"result":{}}', "sha256:1"))
    await update(request.id, lambda r, now: r.delivered(now))
    page = (await (await site.visitor(CY)).get(f"/r/{request.id}")).text
    told = re.findall(r'class="moment-what">([^<]*)<', page)
    assert told == [
        "Asked by billing-bot", "Approved by Ann Lindqvist, in the browser", "Approved by Bo Tanaka, in the browser",
        "Sent to the server", "It ran", "The agent has its answer",
    ]  # fmt: skip
    assert "<q>the photos are clear</q>" in page


async def test_the_owner_sees_it_and_an_asked_group_does(site: Site) -> None:
    request = await site.park(asks=(("security", 1),))
    seen = {person: (await (await site.visitor(person)).get(f"/r/{request.id}")).status_code for person in (ANN, CY, DANA)}
    assert seen == {ANN: 404, CY: 200, DANA: 200}


@pytest.mark.parametrize(("open_world", "told"), [(True, True), (False, False), (None, False)])
async def test_what_the_agent_read_from_outside_shortly_before_is_told(store: Store, open_world: bool | None, told: bool) -> None:
    policies = Policies()
    servers = {"web": Server("web", url="http://127.0.0.1:9", tools={"fetch": ToolFacts(open_world=open_world)})}
    policies.current = msgspec.structs.replace(Policies.current, servers=servers)
    async with served(store, policies=policies) as site:
        caller = Caller(agent="billing-bot", owner=DANA)
        await store.audit.append(
            CallDecided(at=datetime.now(UTC), caller=caller, server="web", tool="fetch", digest="d", effect="allow", policy="p")
        )
        request = await site.park()
        await site.web.bookkeeper.catch_up()
        page = (await (await site.visitor(ANN)).get(f"/r/{request.id}")).text
    assert ("before it asked, the agent read from outside: web → fetch." in page) is told


async def test_what_answers_a_server_stands_beside_what_was_asked(site: Site) -> None:
    earlier, minute = await site.park(), timedelta(minutes=1)
    ann = await site.visitor(ANN)
    await site.review(ann, earlier, "approve")
    store = site.store.requests
    await store.update(earlier.id, lambda held, now: held.claimed("b", "n", now, lease=minute, policy="", definition=""))
    await store.update(earlier.id, lambda held, now: held.completed(1, now, b'{"result": {}}', "sha256:x"))
    origin = Origin(continues=earlier.id, asked={"which": "Which <b>account</b>? Use ghp_" + "a1B2" * 9})
    answers = {"inputResponses": {"which": {"action": "accept", "content": {"name": "ada"}}}}
    request = await site.park(rest=answers, origin=origin)
    raw = (await ann.get(f"/r/{request.id}")).text
    page = text_of(raw)
    assert f'href="/r/{earlier.id}"' in raw and "<b>account" not in raw and "a1B2a1B2" not in raw
    for told in ("Answers what its server asked in an earlier request , unverified: which Which <b>account</b>?", '"ada"'):
        assert told in page
