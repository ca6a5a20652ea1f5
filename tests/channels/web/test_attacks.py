"""What somebody tries who should not get in, or should not get this: each with its answer."""

from __future__ import annotations

import re
from datetime import timedelta

import httpx2
import pytest
from litestar.routes import HTTPRoute

from broker.channels.web.app import web_app
from broker.domain.requests import RequestState
from broker.identity.agents import AgentTokens
from broker.store.open import Store
from tests.channels.web.conftest import ANN, BO, EVE, Site, served


async def test_a_planted_cookie_is_not_the_session_after_signing_in(site: Site) -> None:
    planted = "broker-session-" + "a" * 43
    client = site.stranger()
    client.cookies.set("broker", planted)
    await client.post("/sign-in", data={"code": await site.links.add(ANN)})
    given = client.cookies.get("broker", domain="127.0.0.1")
    assert given not in (None, planted)
    victim = site.stranger()
    victim.cookies.set("broker", planted)
    assert (await victim.get("/")).headers["location"] == "/sign-in"


async def test_signing_in_again_ends_the_session_before(site: Site) -> None:
    client = await site.visitor(ANN)
    before = client.cookies["broker"]
    await client.post("/sign-in", data={"code": await site.links.add(BO)})
    stale = site.stranger()
    stale.cookies.set("broker", before)
    assert (await stale.get("/")).status_code == 303


@pytest.mark.parametrize("token", ["", "0" * 64, "of another session"])
async def test_a_form_without_the_sessions_own_token_is_refused(site: Site, token: str) -> None:
    request = await site.park()
    ann = await site.visitor(ANN)
    if token.startswith("of"):
        token = await site.csrf(await site.visitor(ANN))
    assert (await site.review(ann, request, "approve", csrf=token)).status_code == 403
    assert await site.state(request) is RequestState.PENDING


async def test_every_form_route_refuses_a_signed_in_post_without_its_token(site: Site) -> None:
    ann = await site.visitor(ANN)
    routes = [route for route in web_app(site.parts).routes if isinstance(route, HTTPRoute) and "POST" in route.methods]
    forms = [route.path for route in routes if not route.path.startswith(("/api/", "/v0.1/"))]  # those know programs by a token
    paths = {re.sub(r"{[^}]+}", "apr_0_" + "0" * 26, path) for path in forms}
    answers = {path: (await ann.post(path, data={})).status_code for path in paths - {"/sign-in"}}
    assert len(answers) >= 5
    assert set(answers.values()) == {403}


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://127.0.0.1:1"},
    ],
    ids=str,
)
async def test_what_another_site_sends_is_refused_even_with_the_token(site: Site, headers: dict[str, str]) -> None:
    request = await site.park()
    ann = await site.visitor(ANN)
    form = {"csrf": await site.csrf(ann), "digest": request.digest, "verdict": "approve"}
    assert (await ann.post(f"/r/{request.id}/review", data=form, headers=headers)).status_code == 403
    assert (await site.stranger().post("/sign-in", data={"code": await site.links.add(EVE)}, headers=headers)).status_code == 403
    assert await site.state(request) is RequestState.PENDING


async def test_a_form_of_our_own_page_is_accepted_with_what_browsers_send(site: Site) -> None:
    request = await site.park()
    ann = await site.visitor(ANN)
    form = {"csrf": await site.csrf(ann), "digest": request.digest, "verdict": "approve"}
    headers = {"origin": site.url, "sec-fetch-site": "same-origin"}
    assert (await ann.post(f"/r/{request.id}/review", data=form, headers=headers)).status_code == 303


async def test_looking_decides_nothing_whatever_the_address_says(site: Site) -> None:
    request = await site.park()
    ann = await site.visitor(ANN)
    query = {"verdict": "approve", "csrf": await site.csrf(ann), "digest": request.digest}
    for path in (f"/r/{request.id}", f"/r/{request.id}/review", f"/r/{request.id}/uncover", "/"):
        await ann.get(path, params=query)
    assert await site.state(request) is RequestState.PENDING


async def test_a_name_that_somebody_else_points_here_is_not_served(site: Site) -> None:
    ann = await site.visitor(ANN)
    for host in ("rebound.example", "[::1", "rebound.example@127.0.0.1", "127.0.0.1.rebound.example", ""):
        assert (await ann.get("/", headers={"host": host})).status_code in (400, 403), host


async def test_without_a_session_every_page_leads_to_the_sign_in(site: Site) -> None:
    request = await site.park()
    stranger = site.stranger()
    for path in ("/", f"/r/{request.id}", "/account", "/inbox/list", "/live"):
        answer = await stranger.get(path)
        assert (answer.status_code, answer.headers["location"].split("?")[0]) == (303, "/sign-in")
        assert "Refund" not in answer.text


@pytest.mark.parametrize(
    "after", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/a\nb", "\\\\evil.example", ""]
)
async def test_the_way_back_after_signing_in_stays_here(site: Site, after: str) -> None:
    client = site.stranger()
    answer = await client.post("/sign-in", data={"code": await site.links.add(ANN), "after": after})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_after_signing_in_one_comes_back_to_the_page_that_one_wanted(site: Site) -> None:
    request = await site.park()
    client = site.stranger()
    asked = await client.get(f"/r/{request.id}")
    page = await client.get(asked.headers["location"])
    after = re.search(r'name="after" value="([^"]+)"', page.text)
    assert after is not None
    answer = await client.post("/sign-in", data={"code": await site.links.add(ANN), "after": after[1]})
    assert answer.headers["location"] == f"/r/{request.id}"


async def test_looking_at_a_link_does_not_use_it_up_and_using_it_does(site: Site) -> None:
    link = await site.links.add(ANN)
    for _ in range(3):
        assert "Sign in as Ann Lindqvist" in (await site.stranger().get(f"/sign-in/{link}")).text
    assert (await site.stranger().post("/sign-in", data={"code": link})).status_code == 303
    assert (await site.stranger().post("/sign-in", data={"code": link})).status_code == 401
    assert (await site.stranger().get(f"/sign-in/{link}")).status_code == 401


async def test_a_demo_link_is_refused_to_whom_a_proxy_brings(site: Site) -> None:
    link = await site.links.add(ANN, many=True)
    far = {"x-forwarded-for": "203.0.113.9"}
    assert (await site.stranger().post("/sign-in", data={"code": link}, headers=far)).status_code == 401
    assert (await site.stranger().post("/sign-in", data={"code": link})).status_code == 303


@pytest.mark.parametrize(
    "guess",
    ["apr_0_" + "0" * 26, "apr_9_" + "0" * 26, "../../etc/passwd", "%00", "apr_0_x' OR 1=1", "a" * 3000],
    ids=lambda text: text[:12],
)
async def test_guessed_ids_read_alike(site: Site, guess: str) -> None:
    ann = await site.visitor(ANN)
    answer = await ann.get(f"/r/{guess}")
    assert answer.status_code == 404
    assert guess not in answer.text


async def test_an_agents_token_opens_no_page_and_no_api_for_people(site: Site, store: Store) -> None:
    request = await site.park()
    secret = await AgentTokens(store.credentials, clock=site.parts.clock).add("bot", owner=ANN, lasts=timedelta(days=1))
    agent = httpx2.AsyncClient(base_url=site.url, headers={"authorization": f"Bearer {secret}"}, cookies={"broker": secret})
    async with agent:
        assert (await agent.get(f"/r/{request.id}")).status_code == 303
        assert (
            await agent.post(f"/r/{request.id}/review", data={"verdict": "approve", "digest": request.digest})
        ).status_code == 303
        body = {"verdict": "approve", "digest": request.digest}
        assert (await agent.post(f"/api/v1/requests/{request.id}/reviews", json=body)).status_code == 401
        assert (await agent.get("/api/v1/requests")).status_code == 401
        assert (await agent.post("/sign-in", data={"code": secret})).status_code == 401
    assert await site.state(request) is RequestState.PENDING


async def test_a_persons_token_is_no_cookie_and_a_cookie_is_no_token(site: Site) -> None:
    api = await site.api(ANN)
    as_cookie = site.stranger()
    as_cookie.cookies.set("broker", api.headers["authorization"].removeprefix("Bearer "))
    assert (await as_cookie.get("/")).status_code == 303
    signed_in = await site.visitor(ANN)
    assert (await signed_in.get("/api/v1/requests")).status_code == 401
    as_token = {"authorization": f"Bearer {signed_in.cookies['broker']}"}
    assert (await site.stranger().get("/api/v1/requests", headers=as_token)).status_code == 401


async def test_signing_out_everywhere_closes_the_other_browsers(site: Site) -> None:
    here, there = await site.visitor(ANN), await site.visitor(ANN)
    await here.post("/account/sessions/end", data={"csrf": await site.csrf(here), "session": ""})
    assert [(await client.get("/")).status_code for client in (here, there)] == [303, 303]


async def test_one_can_not_end_another_persons_session(site: Site) -> None:
    ann, bo = await site.visitor(ANN), await site.visitor(BO)
    ((bos, _),) = await site.sessions.all(BO)
    await ann.post("/account/sessions/end", data={"csrf": await site.csrf(ann), "session": bos})
    assert (await bo.get("/")).status_code == 200


async def test_every_answer_forbids_frames_scripts_and_sniffing_the_unrouted_ones_too(site: Site) -> None:
    ann = await site.visitor(ANN)
    answers = [
        await ann.get(path) for path in ("/", "/nowhere", "/static/app.css", "/static/../web/frame.html", "/api/v1/requests")
    ]
    answers.append(await ann.put("/"))
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert (answer.headers["x-frame-options"], answer.headers["x-content-type-options"]) == ("DENY", "nosniff")


async def test_no_page_holds_a_script_or_style_of_its_own(site: Site) -> None:
    request = await site.park()
    ann = await site.visitor(ANN)
    for path in ("/", f"/r/{request.id}", "/account", "/sign-in"):
        page = (await ann.get(path)).text
        assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page) == []


async def test_no_file_outside_the_static_folder_is_served(site: Site) -> None:
    for path in (
        "/static/..%2fweb%2fframe.html",
        "/static/%2e%2e/web/frame.html",
        "/static//etc/passwd",
        "/static/vendor/inter.LICENSE",
    ):
        assert (await site.stranger().get(path)).status_code == 404


async def test_over_https_the_cookie_is_bound_to_the_host_and_to_tls(store: Store) -> None:
    async with served(store, public_url="https://approvals.example.com") as site:
        link = await site.links.add(ANN)
        host = {"host": "approvals.example.com", "origin": "https://approvals.example.com"}
        answer = await site.stranger().post("/sign-in", data={"code": link}, headers=host)
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-broker=broker-session-")
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
        assert answer.headers["strict-transport-security"].startswith("max-age=")


async def test_too_large_a_form_is_refused(site: Site) -> None:
    request = await site.park()
    ann = await site.visitor(ANN)
    assert (await site.review(ann, request, "reject", "x" * 100_000)).status_code == 413
