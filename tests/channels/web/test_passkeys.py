"""Passkeys in a real Chromium with its virtual authenticator, and what must not pass for one."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from playwright.async_api import expect

from broker.domain.requests import RequestState
from broker.identity.passkeys import proves
from tests.channels.web.conftest import ANN, BO, Site

expect.set_options(timeout=10_000)


async def tab_with_authenticator(site: Site, browser: Any, person: str = ANN) -> Any:
    """Return a signed-in tab under a name, since passkeys are bound to names, with an authenticator that always says yes."""
    named = site.url.replace("127.0.0.1", "localhost")
    profile = await browser.new_context(base_url=named)
    page = await profile.new_page()
    session = await profile.new_cdp_session(page)
    await session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
    }
    await session.send("WebAuthn.addVirtualAuthenticator", {"options": options | {"automaticPresenceSimulation": True}})
    await page.goto(f"/sign-in/{await site.links.add(person)}")
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url(named + "/")
    return page


async def add_passkey(page: Any, name: str = "Laptop") -> None:
    await page.goto("/account")
    await page.get_by_label("Name of the passkey").fill(name)
    await page.get_by_role("button", name="Add a passkey").click()
    await expect(page.get_by_text("not used yet")).to_be_visible()


async def cookie_of(page: Any) -> str:
    (cookie,) = [cookie for cookie in await page.context.cookies() if cookie["name"] == "broker"]
    return str(cookie["value"])


async def assertion(site: Site, page: Any, request_id: str, digest: str, verdict: str) -> dict[str, str]:
    """Let the authenticator sign a verdict, as the page's script does, and return what the form would carry."""
    signed_in = await site.sessions.find(await cookie_of(page))
    assert signed_in is not None
    script = """async ([path, csrf, digest, verdict]) => {
        const body = new URLSearchParams({csrf, digest, verdict});
        const told = await (await fetch(path, {method: "POST", headers: {accept: "application/json"}, body})).json();
        const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(told.options);
        const made = await navigator.credentials.get({publicKey});
        return [told.nonce, JSON.stringify(made.toJSON())];
    }"""
    nonce, answer = await page.evaluate(script, [f"/r/{request_id}/passkey", signed_in.csrf, digest, verdict])
    return {"csrf": signed_in.csrf, "digest": digest, "verdict": "approve", "nonce": nonce, "answer": answer}


async def send(site: Site, page: Any, request_id: str, form: dict[str, str]) -> int:
    client = site.stranger()
    client.cookies.set("broker", await cookie_of(page))
    host = {"host": site.url.removeprefix("http://").replace("127.0.0.1", "localhost")}
    return (await client.post(f"/r/{request_id}/review", data=form, headers=host)).status_code


async def test_a_critical_request_is_approved_by_a_signature_over_this_very_decision(site: Site, browser: Any) -> None:
    request = await site.park(step_up=True, severity="critical")
    page = await tab_with_authenticator(site, browser)
    await page.goto(f"/r/{request.id}")
    await expect(page.get_by_text("you have none yet")).to_be_visible()
    await add_passkey(page)
    await page.goto(f"/r/{request.id}")
    await page.get_by_role("button", name="Approve with passkey").click()
    await expect(page.get_by_role("heading", name="Approved")).to_be_visible()
    (review,) = (await site.store.requests.get(request.id)).reviews
    assert review.evidence is not None
    decision = {"request": request.id, "digest": request.digest, "verdict": "approve"}
    assert proves(review.evidence, decision)
    for name, other in (("request", "apr_0_x"), ("digest", "sha256:0"), ("verdict", "reject")):
        assert not proves(review.evidence, decision | {name: other})


async def test_an_assertion_for_a_rejection_does_not_approve(site: Site, browser: Any) -> None:
    request = await site.park(step_up=True)
    page = await tab_with_authenticator(site, browser)
    await add_passkey(page)
    assert await send(site, page, request.id, await assertion(site, page, request.id, request.digest, "reject")) == 403
    assert await site.state(request) is RequestState.PENDING


async def test_an_assertion_for_another_request_does_not_approve(site: Site, browser: Any) -> None:
    first, second = await site.park(step_up=True), await site.park("Other", {"n": 2}, step_up=True)
    page = await tab_with_authenticator(site, browser)
    await add_passkey(page)
    signed = await assertion(site, page, second.id, second.digest, "approve")
    assert await send(site, page, first.id, signed | {"digest": first.digest}) == 403
    assert await site.state(first) is RequestState.PENDING


async def test_an_assertion_works_once(site: Site, browser: Any) -> None:
    request = await site.park(step_up=True, asks=(("finance", 2),))
    page = await tab_with_authenticator(site, browser)
    await add_passkey(page)
    signed = await assertion(site, page, request.id, request.digest, "approve")
    assert await send(site, page, request.id, signed) == 303
    assert await send(site, page, request.id, signed) == 403


async def test_an_assertion_made_in_another_session_is_refused(site: Site, browser: Any) -> None:
    request = await site.park(step_up=True)
    page = await tab_with_authenticator(site, browser)
    await add_passkey(page)
    signed = await assertion(site, page, request.id, request.digest, "approve")
    other = await site.visitor(ANN)
    answer = await other.post(f"/r/{request.id}/review", data=signed | {"csrf": await site.csrf(other)})
    assert answer.status_code == 403
    assert await site.state(request) is RequestState.PENDING


async def test_another_persons_passkey_is_refused(site: Site, browser: Any) -> None:
    request = await site.park(step_up=True)
    ann, bo = await tab_with_authenticator(site, browser), await tab_with_authenticator(site, browser, BO)
    await add_passkey(ann)
    await add_passkey(bo)
    bos = await assertion(site, bo, request.id, request.digest, "approve")
    anns = await assertion(site, ann, request.id, request.digest, "approve")
    assert await send(site, ann, request.id, anns | {"answer": bos["answer"]}) == 403
    assert await site.state(request) is RequestState.PENDING


async def test_a_forged_answer_is_refused_whatever_it_is(site: Site, browser: Any) -> None:
    request = await site.park(step_up=True)
    page = await tab_with_authenticator(site, browser)
    await add_passkey(page)
    good = await assertion(site, page, request.id, request.digest, "approve")
    answer = json.loads(good["answer"])
    for forged in ("{", "[]", '"x"', json.dumps({"id": answer["id"]}), json.dumps(answer | {"response": {}}), "[" * 5000):
        fresh = await assertion(site, page, request.id, request.digest, "approve")
        assert await send(site, page, request.id, fresh | {"answer": forged}) == 403, forged[:40]
    signature = answer["response"] | {"signature": answer["response"]["signature"][:-4] + "AAAA"}
    assert await send(site, page, request.id, good | {"answer": json.dumps(answer | {"response": signature})}) == 403
    assert await site.state(request) is RequestState.PENDING


async def test_a_passkey_is_added_soon_after_signing_in_only(site: Site, browser: Any) -> None:
    page = await tab_with_authenticator(site, browser)
    site.ahead[0] = timedelta(minutes=11)
    await page.goto("/account")
    await page.get_by_role("button", name="Add a passkey").click()
    await expect(page.get_by_text("within ten minutes of signing in")).to_be_visible()
    assert await site.parts.passkeys.of(ANN) == []


async def test_a_removed_passkey_approves_nothing(site: Site, browser: Any) -> None:
    request = await site.park(step_up=True)
    page = await tab_with_authenticator(site, browser)
    await add_passkey(page)
    signed = await assertion(site, page, request.id, request.digest, "approve")
    await page.goto("/account")
    await page.get_by_role("button", name="Remove").click()
    await expect(page.get_by_role("region", name="Passkeys").get_by_text("None yet.")).to_be_visible()
    assert await send(site, page, request.id, signed) == 403


async def test_at_a_bare_address_the_page_leads_to_the_name(site: Site, browser: Any) -> None:
    request = await site.park(step_up=True)
    page = await site.tab(browser, ANN)
    await page.goto(f"/r/{request.id}")
    named = site.url.replace("127.0.0.1", "localhost")
    await expect(page.get_by_role("link", name=f"open it at {named}")).to_have_attribute("href", f"{named}/r/{request.id}")


async def test_what_a_rule_wants_typed_has_to_be_typed(site: Site, browser: Any) -> None:
    request = await site.park(type_to_confirm="args.customer")
    ann = await site.visitor(ANN)
    for typed in ("", "acme", "Acme Inc"):
        assert (await site.review(ann, request, "approve", typed=typed)).status_code == 422
    body = {"verdict": "approve", "digest": request.digest}
    assert (await (await site.api(ANN)).post(f"/api/v1/requests/{request.id}/reviews", json=body)).status_code == 422
    page = await site.tab(browser, ANN)
    await page.goto(f"/r/{request.id}")
    await page.get_by_label("Type Acme to confirm").fill("Acme")
    await page.get_by_role("button", name="Approve", exact=True).click()
    await expect(page.get_by_role("heading", name="Approved")).to_be_visible()
