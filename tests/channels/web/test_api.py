from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from broker.domain.requests import RequestState
from broker.identity.agents import AgentTokens
from broker.store.open import Store
from tests.channels.web.conftest import ANN, BO, CY, DANA, EVE, Site, served


async def test_the_api_says_whose_token_it_is(site: Site) -> None:
    answer = await (await site.api(CY)).get("/api/v1/me")
    assert answer.json() == {"person": CY, "groups": ["finance", "security"], "scopes": ["read", "review"]}


async def test_a_list_shows_what_one_may_see_page_by_page(site: Site) -> None:
    mine = [await site.park(f"Refund {number}", {"number": number}) for number in range(5)]
    await site.park("Not for finance", {"x": 1}, asks=(("security", 1),))
    ann = await site.api(ANN)
    seen, cursor = [], ""
    while True:
        page = (await ann.get("/api/v1/requests", params={"limit": 2, "cursor": cursor})).json()
        seen += page["requests"]
        cursor = page["cursor"]
        if not cursor:
            break
    assert [one["id"] for one in seen] == [request.id for request in reversed(mine)]


@pytest.mark.parametrize(("view", "titles"), [("mine", ["For Ann"]), ("asked", ["By Ann"]), ("all", ["For Ann", "By Ann"])])
async def test_a_view_narrows_the_list(site: Site, view: str, titles: list[str]) -> None:
    await site.park("By Ann", {"x": 1}, owner=ANN)
    await site.park("For Ann", {"x": 2})
    answer = await (await site.api(ANN)).get("/api/v1/requests", params={"view": view})
    assert [one["title"] for one in answer.json()["requests"]] == titles


async def test_a_request_is_shown_redacted_with_everything_that_decides(site: Site) -> None:
    request = await site.park(
        arguments={"amount": 5, "card": {"pin": "4929"}}, redact=("$.args.card.*",), rest={"task": {"ttl": 5}}
    )
    found = (await (await site.api(ANN)).get(f"/api/v1/requests/{request.id}")).json()
    assert found["arguments"] == {"amount": 5, "card": {"pin": "[redacted 4 characters]"}}
    assert (found["rest"], found["whole"], found["blocked"]) == ({"task": {"ttl": 5}}, True, "")
    assert found["progress"] == [{"rule": "refund-large", "group": "finance", "have": 0, "need": 1}]
    assert found["request"]["digest"] == request.digest


async def test_an_unchanged_request_is_not_sent_again(site: Site) -> None:
    request = await site.park(asks=(("finance", 2),))
    ann = await site.api(ANN)
    tag = (await ann.get(f"/api/v1/requests/{request.id}")).headers["etag"]
    same = await ann.get(f"/api/v1/requests/{request.id}", headers={"if-none-match": tag})
    assert (same.status_code, same.content) == (304, b"")
    await site.review(await site.visitor(BO), request, "approve")
    assert (await ann.get(f"/api/v1/requests/{request.id}", headers={"if-none-match": tag})).status_code == 200


async def test_a_verdict_is_counted_once_and_the_second_hears_who_was_first(site: Site) -> None:
    request = await site.park()
    body = {"verdict": "reject", "digest": request.digest, "reason": "credited before"}
    counted = (await (await site.api(ANN)).post(f"/api/v1/requests/{request.id}/reviews", json=body)).json()
    assert (counted["request"]["state"], counted["note"]) == ("rejected", "credited before")
    late = await (await site.api(BO)).post(f"/api/v1/requests/{request.id}/reviews", json=body)
    assert (late.status_code, late.headers["content-type"]) == (409, "application/problem+json")
    assert late.json() == {
        "type": "about:blank", "title": "Too late", "status": 409, "detail": f"the request is already rejected by {ANN}",
        "code": "already_resolved", "request": request.id, "state": "rejected", "by": ANN,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"verdict": "approve", "digest": "sha256:0"}, 409, "wrong_move"),
        ({"verdict": "maybe", "digest": "DIGEST"}, 422, "incomplete"),
        ({"verdict": "reject", "digest": "DIGEST"}, 422, "incomplete"),
        ({"verdict": "approve"}, 400, "http_400"),
        ({"verdict": "approve", "digest": "DIGEST", "extra": 1}, 400, "http_400"),
    ],
    ids=str,
)
async def test_a_body_that_will_not_do_is_told_as_a_problem(site: Site, body: dict[str, str], status: int, code: str) -> None:
    request = await site.park()
    body = {name: request.digest if value == "DIGEST" else value for name, value in body.items()}
    answer = await (await site.api(ANN)).post(f"/api/v1/requests/{request.id}/reviews", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert await site.state(request) is RequestState.PENDING


async def test_what_is_hidden_can_not_be_approved_by_a_token(site: Site) -> None:
    request = await site.park(arguments={"note": "use ghp_" + "a1B2" * 9}, stated="it needs ghp_" + "c3D4" * 9)
    ann = await site.api(ANN)
    found = (await ann.get(f"/api/v1/requests/{request.id}")).json()
    assert not found["whole"]
    assert found["stated"].startswith("it needs [redacted")
    body = {"verdict": "approve", "digest": request.digest}
    answer = await ann.post(f"/api/v1/requests/{request.id}/reviews", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "not_whole")


async def test_a_scope_that_is_missing_is_named(site: Site) -> None:
    request = await site.park()
    reader = await site.api(ANN, "read")
    body = {"verdict": "approve", "digest": request.digest}
    answer = await reader.post(f"/api/v1/requests/{request.id}/reviews", json=body)
    assert (answer.status_code, answer.json()["scope"]) == (403, "review")
    refused = await (await site.api(ANN, "review")).get("/api/v1/requests")
    told = (refused.status_code, refused.headers["www-authenticate"])
    assert told == (403, 'Bearer error="insufficient_scope", scope="read"')


async def test_somebody_outside_the_groups_finds_nothing(site: Site) -> None:
    request = await site.park()
    eve = await site.api(EVE)
    assert (await eve.get("/api/v1/requests")).json() == {"requests": [], "cursor": ""}
    unknown = await eve.get("/api/v1/requests/apr_0_" + "0" * 26)
    hidden = await eve.get(f"/api/v1/requests/{request.id}")
    assert (
        (hidden.status_code, hidden.json()["detail"])
        == (unknown.status_code, unknown.json()["detail"])
        == (404, "there is no such request")
    )
    body = {"verdict": "approve", "digest": request.digest}
    assert (await eve.post(f"/api/v1/requests/{request.id}/reviews", json=body)).status_code == 404
    assert (await eve.post(f"/api/v1/requests/{request.id}/record", json={"ran": True, "why": "x"})).status_code == 404


async def test_a_watcher_hears_what_moves_among_what_it_may_see(site: Site) -> None:
    ann = await site.api(ANN)
    async with ann.stream("GET", "/api/v1/watch") as stream:
        lines = stream.aiter_lines()
        with anyio.fail_after(5):
            while await anext(lines) != ": watching":
                pass
            await site.park("Not for finance", {"x": 1}, asks=(("security", 1),))
            request = await site.park("For finance", {"x": 2})
            told = [json.loads(line.removeprefix("data: ")) async for line in _data(lines, 1)]
            await site.review(await site.visitor(BO), request, "reject", "no")
            told += [json.loads(line.removeprefix("data: ")) async for line in _data(lines, 1)]
    assert [(one["id"], one["state"], one["title"]) for one in told] == [
        (request.id, "pending", "For finance"),
        (request.id, "rejected", "For finance"),
    ]


async def _data(lines, count: int):  # type: ignore[no-untyped-def]  # an iterator of lines
    while count:
        line = await anext(lines)
        if line.startswith("data: "):
            count -= 1
            yield line


async def test_the_api_describes_itself(site: Site) -> None:
    schema = (await site.stranger().get("/api/v1/schema/openapi.json")).json()
    assert set(schema["paths"]) == {
        "/api/v1/me", "/api/v1/batches/reviews", "/api/v1/requests", "/api/v1/requests/{request_id}",
        "/api/v1/requests/{request_id}/reviews",
        "/api/v1/requests/{request_id}/comments", "/api/v1/requests/{request_id}/record", "/api/v1/requests/{request_id}/receipt",
        "/api/v1/watch", "/api/v1/usage", "/api/v1/audit", "/api/v1/stats",
        "/api/v1/servers/{space}/{name}", "/api/v1/servers/{space}/{name}/reviews",
        "/api/v1/servers/{space}/{name}/submit", "/api/v1/servers/{space}/{name}/{move}",
        "/api/validate", "/api/hooks/reviews", "/v0.1/publish", "/v0.1/servers", "/v0.1/servers/{space}/{name}/status",
        "/v0.1/servers/{space}/{name}/versions", "/v0.1/servers/{space}/{name}/versions/{version}",
        "/v0.1/servers/{space}/{name}/versions/{version}/status",
    }  # fmt: skip


async def test_an_address_that_does_not_exist_is_a_problem_too(site: Site) -> None:
    answer = await (await site.api(ANN)).get("/api/v1/nothing")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_an_agent_at_the_peoples_door_is_refused_and_the_audit_says_so_once(store: Store) -> None:
    agents = AgentTokens(store.credentials, clock=lambda: datetime.now(UTC))
    token = await agents.add("mallory", owner=DANA, lasts=timedelta(hours=1))
    async with served(store, callers=agents.authenticate) as site:
        request = await site.park()
        path, form = f"/api/v1/requests/{request.id}/reviews", {"verdict": "approve", "digest": request.digest}
        for credential in (f"Bearer {token}", f"Bearer {token}", f"Bearer {token[:-1]}", ""):
            answer = await site.stranger().post(path, json=form, headers={"authorization": credential})
            told = 'Bearer error="invalid_token"' if credential else "Bearer"
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, told)
        assert await site.state(request) is RequestState.PENDING
    found = [entry.event for entry in await store.audit.read(0, 100) if getattr(entry.event, "what", "") == "agent.refused"]
    assert [(event.who, event.fields) for event in found] == [("mallory", {"path": path})]
